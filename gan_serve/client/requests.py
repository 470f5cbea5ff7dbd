"""The requests of a client: arguments are checked and become calls of the HTTP API. Nothing here uses the network."""

from __future__ import annotations

import base64
import functools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from gan_serve.checkpoint.config import MAX_DIRECTIONS
from gan_serve.client.responses import (
    ReceivedImages,
    read_arrays,
    read_images,
    read_latents,
    read_object,
)
from gan_serve.errors import (
    InvalidLatents,
    InvalidOption,
    UnknownLabel,
    UnknownModel,
    shorten,
)
from gan_serve.sampling.labels import Label, as_list
from gan_serve.sampling.latents import FloatArray, check_latents, check_offsets
from gan_serve.sampling.mixing import CROSSOVER, make_mix
from gan_serve.sampling.result import Output
from gan_serve.sampling.seeds import Seeds, format_seeds, parse_seeds
from gan_serve.sampling.seeds_and_latents import Keys, choose_keys, numbers_of_keys, parse_keys, unpack_latent
from gan_serve.sampling.truncation import check_truncation
from gan_serve.sampling.walks import make_walk
from gan_serve.translation.inputs import check_fit, encoded_pictures

if TYPE_CHECKING:
    import httpx

Fields = dict[str, Any]

# For 256 images of 28x28, encoding and reading take 13 ms as npz; with receipts 68 ms as JSON, 81 ms as zip.
_READERS: dict[Output, tuple[str, Callable[..., ReceivedImages]]] = {
    "pil": ("json", read_images),
    "numpy": ("npz", read_arrays),
}


@dataclass(frozen=True)
class Call:
    """A request that is safe to repeat, and the function that reads its response."""

    method: str
    path: str
    read: Callable[[httpx.Response], Any]
    fields: Fields | None = None

    def options(self) -> dict[str, Any]:
        """Return the arguments for ``build_request`` of an httpx client."""
        if self.fields is None:
            return {"method": self.method, "url": self.path}
        body = json.dumps(self.fields, default=_to_json).encode()
        headers = {"Content-Type": "application/json"}
        return {"method": self.method, "url": self.path, "content": body, "headers": headers}


@dataclass(frozen=True, eq=False)
class ImageRequest:
    """A request for images that can be sent in parts.

    Args:
        path: the endpoint.
        shared: the fields that are equal in all parts.
        count: the number of latents or frames, which ``part`` slices count.
        own: the fields of the latents or frames of a part.
        rows: the number of images in the response for each of ``count``; None if only the server knows it.
        first: the number of the first frame of a walk.
        numbers: for latents without labels, a number for each; its class is the number modulo c_dim.
    """

    path: str
    shared: Fields
    count: int
    own: Callable[[slice], Fields]
    rows: int | None = 1
    first: int = 0
    numbers: Sequence[int] | None = None

    @property
    def whole(self) -> slice:
        """The slice of all images."""
        return slice(0, self.count)

    def fields(self, part: slice, **more: Any) -> Fields:
        """Return the body of the request for a part."""
        return {name: value for name, value in (self.shared | self.own(part) | more).items() if value is not None}

    def call(self, output: Output, part: slice) -> Call:
        """Return the request for a part."""
        format, read = _READERS[output]
        count = None if self.rows is None else self.rows * (part.stop - part.start)
        return Call("POST", self.path, functools.partial(read, count), self.fields(part, format=format))


def sample_images(
    model: str | None,
    n: int | None = None,
    *,
    seed: int | None = None,
    seeds: Keys | None = None,
    latents: npt.ArrayLike | None = None,
    offsets: npt.ArrayLike | None = None,
    label: Any = None,
    truncation: float = 1.0,
) -> ImageRequest:
    """Return the request of ``Client.generate``, with its arguments checked as far as the client can."""
    shared: Fields = {"model": _check_model(model), "truncation": check_truncation(truncation)}
    seeds = list(seeds) if isinstance(seeds, Iterator) else seeds  # it is read twice
    count, own = _with_offsets(_latent_fields(n, seed, seeds, latents), offsets)
    one_each = _label_list(label)
    if one_each is None:
        shared["label"] = None if label is None else _label(label)
        numbers = None if label is not None else _class_numbers(count, seeds, latents)
        return ImageRequest("/sample", shared, count, own, numbers=numbers)
    if len(one_each) != count:
        raise UnknownLabel(
            f"There are {len(one_each)} labels for {count} images.", "Give one label, or one for each image."
        )
    return ImageRequest("/sample", shared, count, lambda part: own(part) | {"label": one_each[part]})


def condition_images(
    model: str | None,
    n: int | None = None,
    *,
    seed: int | None = None,
    seeds: Keys | None = None,
    latents: npt.ArrayLike | None = None,
    offsets: npt.ArrayLike | None = None,
    labels: Any = None,
    truncation: float = 1.0,
) -> ImageRequest:
    """Return the request of ``Client.condition``, with its arguments checked as far as the client can."""
    shared: Fields = {"model": _check_model(model), "truncation": check_truncation(truncation)}
    count, own = _with_offsets(_latent_fields(n, seed, seeds, latents), offsets)
    several = _label_list(labels)
    if several is None and labels is not None:
        several = [_label(labels)]
    shared["labels"] = several
    return ImageRequest("/condition", shared, count, own, rows=None if several is None else len(several))


def translate_pictures(model: str | None, images: Any = None, *, fit: str = "crop") -> ImageRequest:
    """Return the request of ``Client.translate``. Files are sent as they are, Pillow images and arrays as PNG."""
    check_fit(fit)
    files = [base64.b64encode(content).decode() for content in encoded_pictures(_given("images", images))]
    return ImageRequest(
        "/translate", {"model": _check_model(model), "fit": fit}, len(files), lambda part: {"images": files[part]}
    )


def project_pictures(model: str | None, images: Any = None, *, label: Any = None, fit: str = "crop") -> list[Call]:
    """Return the requests of ``Client.project``, one for each picture."""
    check_fit(fit)
    files = encoded_pictures(_given("images", images))
    several = _label_list(label)
    labels = [None if label is None else _label(label)] * len(files) if several is None else several
    if len(labels) != len(files):
        raise UnknownLabel(
            f"There are {len(labels)} labels for {len(files)} pictures.", "Give one label, or one for each picture."
        )
    bodies = (
        {"model": _check_model(model), "image": base64.b64encode(file).decode(), "label": each, "fit": fit}
        for file, each in zip(files, labels, strict=True)
    )
    return [
        Call("POST", "/project", read_latents, {name: value for name, value in body.items() if value is not None})
        for body in bodies
    ]


def walk_frames(
    model: str | None,
    seeds: Keys | None = None,
    steps: int = 16,
    *,
    method: str = "slerp",
    loop: bool = False,
    label: Any = None,
    truncation: float = 1.0,
    start: int = 0,
    stop: int | None = None,
) -> ImageRequest:
    """Return the request of ``Client.interpolate``, with its arguments checked as far as the client can."""
    walk = make_walk(_given("seeds", seeds), steps=steps, method=method, loop=loop, start=start, stop=stop)
    shared: Fields = {"model": _check_model(model), "truncation": check_truncation(truncation)}
    several = _label_list(label)
    if several is not None and len(several) != len(walk.seeds):
        raise UnknownLabel(
            f"There are {len(several)} labels for {len(walk.seeds)} keys.", "Give one label, or one for each key."
        )
    shared |= {"seeds": _as_fields(walk.seeds), "steps": walk.steps, "method": walk.method, "loop": walk.loop}
    shared["label"] = several or (None if label is None else _label(label))
    frames = walk.frames

    def own(part: slice) -> Fields:
        wanted = frames[part]
        return {} if len(wanted) == walk.total else {"start": wanted.start, "stop": wanted.stop}

    return ImageRequest("/interpolate", shared, len(frames), own, first=frames.start)


def mix_images(
    model: str | None,
    coarse: Seeds | None = None,
    fine: Seeds | None = None,
    *,
    crossover: int = CROSSOVER,
    label: Any = None,
    truncation: float = 1.0,
) -> ImageRequest:
    """Return the request of ``Client.mix``, with its arguments checked as far as the client can."""
    rows, columns = parse_seeds(_given("coarse", coarse)), parse_seeds(_given("fine", fine))
    _, mix, _ = make_mix(rows, columns, crossover)
    if _label_list(label) is not None:
        raise UnknownLabel("A mix has one label.", "Give one class name or index.")
    shared: Fields = {
        "model": _check_model(model),
        "truncation": check_truncation(truncation),
        "coarse": format_seeds(rows),
        "crossover": mix.crossover,
        "label": None if label is None else _label(label),
    }

    def own(part: slice) -> Fields:
        return {"fine": format_seeds(columns[part])}

    return ImageRequest("/mix", shared, len(columns), own, rows=len(rows))


def describe(name: str, *fields: str) -> Call:
    """Return the request for the description of a model, which must have these fields."""
    if _check_model(name) in ("", ".", ".."):  # paths with another meaning
        raise no_such_model(name)
    return Call("GET", f"/models/{quote(name, safe='')}", functools.partial(read_object, fields))


def _latent_fields(
    n: int | None, seed: int | None, seeds: Keys | None, latents: npt.ArrayLike | None
) -> tuple[int, Callable[[slice], Fields]]:
    """Return the number of latents, and the function that gives the fields for a part of them.

    The client chooses random seeds itself, so that every request is safe to repeat.
    """
    if latents is None:
        chosen = choose_keys(n, seed, seeds)
        return len(chosen), lambda part: {"seeds": _as_fields(chosen[part])}
    if not (n is None and seed is None and seeds is None):
        raise InvalidOption("Both latents and seeds were given.", "Give one of them.")
    given = _latents(latents)
    return len(given), lambda part: {"latents": given[part].tolist()}


def _class_numbers(count: int, seeds: Keys | None, latents: npt.ArrayLike | None) -> Sequence[int] | None:
    """Return ``numbers`` of an ``ImageRequest`` without labels; None for seeds alone, whose class is the server's."""
    if latents is not None:
        return range(count)
    keys: Sequence[int | str] = [] if seeds is None or isinstance(seeds, str) else parse_keys(seeds)
    if not any(isinstance(key, str) for key in keys):
        return None
    return numbers_of_keys(keys)


def _as_fields(keys: Sequence[int | str]) -> str | list[Any]:
    """Return keys as the field ``seeds``: as text, or as a list if there are latents among them."""
    seeds = [key for key in keys if isinstance(key, int)]
    if len(seeds) == len(keys):
        return format_seeds(seeds)
    return [unpack_latent(key).tolist() if isinstance(key, str) else key for key in keys]


def _with_offsets(
    latents: tuple[int, Callable[[slice], Fields]], offsets: npt.ArrayLike | None
) -> tuple[int, Callable[[slice], Fields]]:
    """Add the offsets of a part to its fields: the same for all images, or those of its rows."""
    if offsets is None:
        return latents
    count, own = latents
    rows = check_offsets(offsets, count, MAX_DIRECTIONS)  # the server knows how many there are
    return count, lambda part: own(part) | {"offsets": rows[part].tolist()}


def _latents(latents: npt.ArrayLike) -> FloatArray:
    """Return latents as float32 [N, z_dim]; the server checks z_dim."""
    try:
        shape = np.shape(latents)
        return check_latents(latents, shape[1] if len(shape) == 2 else 0)
    except (InvalidLatents, TypeError, ValueError, RuntimeError) as error:
        message = error.message if isinstance(error, InvalidLatents) else "latents are not an array of numbers."
        raise InvalidLatents(message, "Give finite float32 [N, z_dim]; client.model(name) has z_dim.") from None


def _label_list(label: Any) -> list[Label] | None:
    """Return several labels as a list; None for a single one or none."""
    several = as_list(label)
    return None if several is None else [_label(each) for each in several]


def _label(label: Any) -> Label:
    """Return a label as JSON represents it; the server checks whether the model has it."""
    if isinstance(label, str) and _is_valid_name(label):
        return label
    if isinstance(label, int | np.integer) and not isinstance(label, bool) and int(label).bit_length() < 64:
        return int(label)
    raise UnknownLabel(
        f"{shorten(label)} is not a label.", "Give a class name or index; client.model(name) lists them."
    )


def _given(name: str, value: Any) -> Any:
    """Return an argument that is required, but follows the optional ``model``."""
    if value is None:
        raise TypeError(f"The argument {name} is missing.")
    return value


def _check_model(model: str | None) -> str | None:
    if model is None:  # the server has one model only, or refuses the request
        return None
    if not isinstance(model, str) or not _is_valid_name(model):
        raise no_such_model(model)
    return model


def no_such_model(name: object) -> UnknownModel:
    """Return the error for a model that the server does not have."""
    return UnknownModel(f"The server has no model {shorten(name)}.", "client.models() lists its models.")


def _is_valid_name(text: str) -> bool:
    """Return True for text that a server accepts as a name: at most 200 characters, without unpaired surrogates."""
    return len(text) <= 200 and text.encode(errors="replace").decode() == text


def _to_json(value: object) -> object:
    """Return a NumPy number as JSON represents it."""
    if isinstance(value, np.generic):
        return value.item()
    raise InvalidOption(f"{shorten(value)} cannot be sent.", "Give text or a number.")
