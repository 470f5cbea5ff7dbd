"""Read the pictures that are to be translated, and fit them to a translator."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from gan_serve.checkpoint.config import TranslatorConfig
from gan_serve.errors import InvalidImage, InvalidOption
from gan_serve.images.pixels import BROKEN, UInt8Array, crop_and_resize, from_pil, on_white, to_pil
from gan_serve.images.png import encode_png
from gan_serve.regular_files import read_regular

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MAX_FILE_BYTES = 2**26
MAX_PIXELS = 2**24  # of a picture that is decoded: 64 MB as RGBA
MAX_SCANS = 64  # of a progressive JPEG, each of which goes through all pixels
FITS = ("crop", "exact")


class Picture(NamedTuple):
    """A picture as pixels uint8 [H, W, C], C of 1 or 3, with ``sha256:...`` of its size and pixels."""

    pixels: UInt8Array
    digest: str

    @classmethod
    def of(cls, pixels: UInt8Array) -> Picture:
        """Return the picture with these pixels."""
        shape = "x".join(map(str, pixels.shape))
        digest = hashlib.sha256(f"{shape}\n".encode())
        digest.update(np.ascontiguousarray(pixels).data)
        return cls(pixels, f"sha256:{digest.hexdigest()}")


def read_pictures(images: Any) -> list[Picture]:
    """Read one picture or several, each in one of the forms of ``read_picture``.

    Raises:
        InvalidImage: there are none, or one cannot be read; the message says which.
    """
    found = _listed(images)
    pictures = []
    for place, image in enumerate(found):
        try:
            pictures.append(read_picture(image))
        except InvalidImage as error:
            if len(found) == 1:
                raise
            raise InvalidImage(f"Image {place}: {error.message}", error.hint) from error
    return pictures


def encoded_pictures(images: Any) -> list[bytes]:
    """Return pictures as the bytes of files: files as they are, Pillow images and arrays as PNG of the same pixels.

    Raises:
        InvalidImage: see ``read_pictures``.
    """
    return [
        _read_file(image)
        if isinstance(image, str | Path)
        else bytes(image)
        if isinstance(image, bytes | bytearray | memoryview)
        else encode_png(read_picture(image).pixels)
        for image in _listed(images)
    ]


def read_picture(image: Any) -> Picture:
    """Read a picture.

    A file or a Pillow image is rotated by its EXIF orientation, transparency becomes white, 16 bits become 8, and gray
    stays gray.

    Args:
        image: a path, the bytes of a file (PNG, JPEG, WebP, GIF, BMP), a Pillow image, or an array uint8 [H, W] or
            [H, W, C] with C of 1, 3 or 4.

    Raises:
        InvalidImage: it is none of these, damaged, animated, empty, or has more than ``MAX_PIXELS`` pixels, as its
            header states before it is decoded.
    """
    if isinstance(image, np.ndarray):
        return _from_array(image)
    if isinstance(image, Image.Image):
        return _decode(image, type(image).__name__)
    if isinstance(image, str | Path):
        return _from_bytes(_read_file(image), str(image))
    if isinstance(image, bytes | bytearray | memoryview):
        return _from_bytes(bytes(image), "The upload")
    raise InvalidImage(
        f"{type(image).__name__} is not an image.", "Give a Pillow image, an array uint8, a path or bytes."
    )


def picture_size(content: bytes) -> tuple[int, int]:
    """Return the width and height in the header of a file, which is not decoded; see ``read_picture``."""
    with _opened(content, "The upload") as image:
        return image.size


def _listed(images: Any) -> list[Any]:
    """Return one image or several as a list."""
    one_array = isinstance(images, np.ndarray) and images.ndim <= 3
    single = one_array or isinstance(images, str | Path | bytes | bytearray | memoryview | Image.Image)
    if not single and not isinstance(images, Iterable):
        raise InvalidImage(
            f"{type(images).__name__} is not an image.", "Give Pillow images, arrays uint8, paths or bytes."
        )
    found = [images] if single else list(images)
    if not found:
        raise InvalidImage("There are no images.", "Give one or more.")
    return found


def fit_picture(picture: Picture, config: TranslatorConfig, fit: str = "crop") -> UInt8Array:
    """Return the pixels that go into a translator, uint8 [H, W, in_channels].

    A translator of ``any_size`` takes the picture as it is. For others the largest square is cut from the middle and
    resized with Lanczos, as training images were; ``fit="exact"`` refuses other sizes. Colour becomes gray by ITU-R 601
    luma where the translator takes gray, and gray the same value in all channels where it takes colour.

    Raises:
        InvalidOption: ``fit`` is none of ``FITS``. InvalidImage: another size with ``exact``.
    """
    side = None if config.any_size else config.in_resolution
    return fit_to(picture, side, config.in_channels, config.name, fit)


def fit_to(picture: Picture, side: int | None, into: int, model: str, fit: str = "crop") -> UInt8Array:
    """Return the pixels of a picture as a model takes them, uint8 [H, W, C]; see ``fit_picture``.

    Args:
        picture: the picture.
        side: the width and height that the model takes; None for any.
        into: the channels that it takes, 1 or 3.
        model: its name, for the error.
        fit: ``crop`` or ``exact``.
    """
    check_fit(fit)
    height, width, channels = picture.pixels.shape
    resized = side is not None and (height, width) != (side, side)
    if resized and fit == "exact":
        raise InvalidImage(
            f"The image has {width}x{height} pixels; {model} takes {side}x{side}.",
            'fit="crop" cuts the largest square from the middle and resizes it.',
        )
    if not resized and channels == into:
        return picture.pixels
    image = to_pil(picture.pixels).convert("L" if into == 1 else "RGB")
    return from_pil(crop_and_resize(image, side) if resized and side is not None else image)


def check_fit(fit: str) -> None:
    """Raise ``InvalidOption`` unless ``fit`` is one of ``FITS``."""
    if fit not in FITS:
        raise InvalidOption.unknown("fit", fit, FITS)


def _read_file(path: str | Path) -> bytes:
    try:
        return read_regular(Path(path), MAX_FILE_BYTES)
    except OSError as error:
        raise InvalidImage(
            f"{path} cannot be read: {error.strerror or error}.", "Give the path of an image."
        ) from error
    except ValueError as error:
        raise InvalidImage(f"{str(path)[:100]!r} is not the path of an image.", "Give the path of an image.") from error


def _from_array(array: Any) -> Picture:
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise InvalidImage(
            f"The array is {array.dtype} {list(array.shape)}.", "Give uint8 [H, W] or [H, W, C] with C of 1, 3 or 4."
        )
    _check_size(array.shape[1], array.shape[0], "The array")
    if array.ndim == 3 and array.shape[2] == 4:
        return Picture.of(on_white(Image.fromarray(array)))
    return Picture.of(np.ascontiguousarray(array.reshape(*array.shape[:2], -1)))


def _from_bytes(content: bytes, name: str) -> Picture:
    with _opened(content, name) as image:
        if image.format == "JPEG" and content.count(b"\xff\xda") > MAX_SCANS:
            raise InvalidImage(f"{name} is a JPEG of more than {MAX_SCANS} scans.", "Save it again.")
        return _decode(image, name)


@contextlib.contextmanager
def _opened(content: bytes, name: str) -> Iterator[Image.Image]:
    """Open a file; errors of Pillow, here and while it is decoded, become ``InvalidImage``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damaged metadata; _check_size refuses large images
        try:
            with Image.open(io.BytesIO(content), formats=FORMATS) as image:
                yield image
        except UnidentifiedImageError as error:
            raise InvalidImage(
                f"{name} is not an image of a supported format.", f"Give {', '.join(FORMATS)}."
            ) from error
        except Image.DecompressionBombError:
            raise InvalidImage(
                f"{name} claims more pixels than at most {MAX_PIXELS:,} that are read.", "Give a smaller image."
            ) from None
        except BROKEN as error:
            reason = " ".join(str(error).split())[:100] or type(error).__name__
            raise InvalidImage(
                f"{name} cannot be decoded: {reason}.", "The file may be damaged; save it again."
            ) from error


def _decode(image: Image.Image, name: str) -> Picture:
    _check_size(image.width, image.height, name)
    if getattr(image, "is_animated", False):
        raise InvalidImage(f"{name} is an animation.", "Give a single frame.")
    image.load()  # the EXIF data of a PNG may follow its pixels
    if image.getexif().get(ExifTags.Base.Orientation, 1) != 1:  # exif_transpose would copy any image
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        return Picture.of((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)[..., None])
    if image.mode in ("I", "F"):
        raise InvalidImage(f"{name} has pixels of 32 bits, of no known range.", "Save it with 8 or 16 bits.")
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return Picture.of(from_pil(image))
    if image.mode == "1":
        return Picture.of(from_pil(image.convert("L")))
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return Picture.of(from_pil(image.convert("RGB")))
    return Picture.of(on_white(image))


def _check_size(width: int, height: int, name: str) -> None:
    if not width or not height:
        raise InvalidImage(f"{name} has no pixels.", "Give an image of one pixel or more.")
    if width * height > MAX_PIXELS:
        raise InvalidImage(
            f"{name} has {width}x{height} pixels; at most {MAX_PIXELS:,} are read.", "Give a smaller image."
        )
