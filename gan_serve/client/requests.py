"""What a client asks, for ``Client`` and ``AsyncClient`` alike. Nothing here touches the network.

A conversation with a server is a Python generator: it yields a ``Call``, is sent what was read from the answer (or has
its error thrown in), and returns the result. Who drives it does the network, in a thread or in an event loop.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import quote

import numpy as np
import numpy.typing as npt

from gan_serve.client.responses import (
    NDJSON,
    Damaged,
    Drawn,
    Frame,
    check_type,
    read_arrays,
    read_bytes,
    read_frame,
    read_images,
    read_object,
    same_checkpoint,
)
from gan_serve.errors import (
    BodyTooLarge,
    InvalidLatents,
    InvalidOption,
    ServerError,
    TooManyImages,
    UnknownLabel,
    UnknownModel,
    shorten,
)
from gan_serve.images.pixels import UInt8Array
from gan_serve.images.receipt import RECEIPT_KEY, GeneratedImage
from gan_serve.sampling.latents import FloatArray, check_latents, check_truncation
from gan_serve.sampling.request import ConditionOptions, Label, SampleOptions, WalkOptions, as_list
from gan_serve.sampling.result import Output, check_output
from gan_serve.sampling.seeds import Seeds, choose_seeds, format_seeds, parse_seeds
from gan_serve.sampling.walks import check_frame_range, check_walk, walk_length

if TYPE_CHECKING:
    import httpx

Kind = Literal["sample", "condition", "interpolate"]
Fields = dict[str, Any]
Result = TypeVar("Result")

# Of 256 images of 28x28, encoding and reading take 13 ms as npz; with receipts 68 ms as JSON, 81 ms as zip.
_ANSWERS: dict[Output, tuple[str, Callable[..., Drawn]]] = {"pil": ("json", read_images), "numpy": ("npz", read_arrays)}


@dataclass(frozen=True)
class Call:
    """A request that may be repeated without harm, and how to read its answer."""

    method: str
    path: str
    read: Callable[[httpx.Response], Any]
    fields: Fields | None = None

    def options(self) -> dict[str, Any]:
        """What ``build_request`` of an httpx client takes."""
        if self.fields is None:
            return {"method": self.method, "url": self.path}
        body = json.dumps(self.fields, default=_plain).encode()
        return {
            "method": self.method,
            "url": self.path,
            "content": body,
            "headers": {"Content-Type": "application/json"},
        }


Conversation = Generator[Call, Any, Result]


class Limits(dict[str, int]):
    """How many images of each model a server draws for one request, as far as it had to say."""


@dataclass(frozen=True, eq=False)
class Drawing:
    """``count`` images to ask for, at once or in parts.

    shared: the fields that are the same for any part. own: those of the images of a part. rows: how many images the
    answer has for each of ``count``; None where only the server knows. first: the number of the first frame of a walk.
    """

    path: str
    shared: Fields
    count: int
    own: Callable[[slice], Fields]
    rows: int | None = 1
    first: int = 0

    @property
    def whole(self) -> slice:
        """All of it as one part."""
        return slice(0, self.count)

    def fields(self, part: slice, **more: Any) -> Fields:
        """The body of the request for a part."""
        return {name: value for name, value in (self.shared | self.own(part) | more).items() if value is not None}

    def call(self, output: Output, part: slice) -> Call:
        """The request for a part."""
        format, read = _ANSWERS[output]
        count = None if self.rows is None else self.rows * (part.stop - part.start)
        return Call("POST", self.path, functools.partial(read, count), self.fields(part, format=format))


def generate(
    limits: Limits, model: str, n: int | None, output: Output, options: SampleOptions
) -> Conversation[list[GeneratedImage] | UInt8Array]:
    """``Client.generate``."""
    check_output(output)
    drawing = _sample(model, n, **options)
    # The class of latents without a label follows from their place, which a part would count anew.
    by_place = options.get("latents") is not None and options.get("label") is None
    drawn = yield from _in_parts(limits, drawing, output, by_place=by_place)
    return drawn.images


def condition(
    limits: Limits, model: str, n: int | None, output: Output, options: ConditionOptions
) -> Conversation[dict[str, list[GeneratedImage]] | dict[str, UInt8Array]]:
    """``Client.condition``: one request or, where that is too large, one or more for each label."""
    check_output(output)
    drawing = _condition(model, n, **options)
    try:
        drawn: Drawn = yield drawing.call(output, drawing.whole)
    except (TooManyImages, BodyTooLarge):
        labels = drawing.shared["labels"] or (yield describe(model, "class_names"))["class_names"]
        rows = []
        for label in labels:
            row = replace(drawing, shared=drawing.shared | {"labels": [label]}, rows=1)
            rows.append((yield from _in_parts(limits, row, output)))
        drawn = Drawn.joined(rows)
    if drawn.labels is None:
        raise Damaged("its images have no labels")
    return drawn.by_label()


def interpolate(
    limits: Limits, model: str, seeds: Seeds, output: Output, options: WalkOptions
) -> Conversation[list[GeneratedImage] | UInt8Array]:
    """``Client.interpolate``."""
    check_output(output)
    drawn = yield from _in_parts(limits, _walk(model, seeds, **options), output)
    return drawn.images


def download(kind: Kind, model: str, path: str | Path | None, options: Fields) -> Conversation[bytes]:
    """``Client.download``, but for writing the file."""
    makers: dict[str, Callable[..., Drawing]] = {"sample": _sample, "condition": _condition, "interpolate": _walk}
    if kind not in makers:
        raise InvalidOption.unknown("kind of download", kind, makers)
    options = options | {"model": model}
    look = {name: options.pop(name) for name in ("format", "columns", "fps") if name in options}
    if path is not None:
        look.setdefault("format", Path(path).suffix.removeprefix(".").lower() or None)
    if look.get("format") == "ndjson":
        raise InvalidOption("ndjson is a stream and no file.", "Use iter_frames.")
    drawing = makers[kind](**options)
    content: bytes = yield Call("POST", drawing.path, read_bytes, drawing.fields(drawing.whole, **look))
    return content


def models() -> Conversation[list[Fields]]:
    """``Client.models``."""
    answer = yield Call("GET", "/models", functools.partial(read_object, ["models"]))
    models: list[Fields] = answer["models"]
    return models


def model(name: str) -> Conversation[Fields]:
    """``Client.model``."""
    try:
        described: Fields = yield describe(name, "name")
    except ServerError as error:
        if error.code == "not_found":  # a name with a slash is another path
            raise _no_such_model(name) from None
        raise
    return described


def describe(name: str, *needed: str) -> Call:
    """The question what a model is; the answer has the fields that are ``needed``."""
    if _check_model(name) in ("", ".", ".."):  # paths that mean something else
        raise _no_such_model(name)
    return Call("GET", f"/models/{quote(name, safe='')}", functools.partial(read_object, needed))


class Walking:
    """A walk that is streamed, and where it stands: after a cut, ``call`` asks for what is missing."""

    def __init__(self, model: str, seeds: Seeds, options: WalkOptions) -> None:
        self._drawing = _walk(model, seeds, **options)
        self._seen = 0
        self._at_once = self._drawing.count  # frames to ask for in one request
        self._digest = ""

    @property
    def done(self) -> bool:
        """Whether every frame was read."""
        return self._seen == self._drawing.count

    def call(self) -> Call:
        """The request for the next frames."""
        part = slice(self._seen, min(self._seen + self._at_once, self._drawing.count))
        fields = self._drawing.fields(part, format="ndjson")
        return Call("POST", self._drawing.path, functools.partial(check_type, NDJSON), fields)

    def read(self, line: bytes) -> Frame:
        """The next frame from the next line of an answer; a line of nothing is the answer's end.

        Raises:
            Damaged: it is not that frame. GanServeError: as the server says, or another checkpoint draws now.
        """
        if not line:
            raise Damaged("it ends before its last frame")
        frame = read_frame(line)
        if frame.number != self._drawing.first + self._seen:
            raise Damaged(f"frame {frame.number} came in place of {self._drawing.first + self._seen}")
        digest = frame.image.info[RECEIPT_KEY]["digest"]
        same_checkpoint(self._digest or digest, digest)
        self._digest = digest
        self._seen += 1
        return frame

    def ask_for_less(self) -> bool:
        """Ask for half as many frames at once from now on, where the server streams no more; False for one frame."""
        asked = min(self._at_once, self._drawing.count - self._seen)
        self._at_once = max(1, asked // 2)
        return asked > 1


def _in_parts(limits: Limits, drawing: Drawing, output: Output, *, by_place: bool = False) -> Conversation[Drawn]:
    """Ask for all of a drawing, in as many requests as the server's limits make it."""
    model, count = drawing.shared["model"], drawing.count
    size = min(count, limits.get(model, count))
    parts: list[Drawn] = []
    start = 0
    while start < count:
        if by_place and size < count:
            drawing, by_place = (yield from _label_by_place(drawing)), False
        stop = min(start + size, count)
        try:
            parts.append((yield drawing.call(output, slice(start, stop))))
            start = stop
        except TooManyImages:
            if size == 1:
                raise
            size = limits[model] = yield from _fewer(size)
        except BodyTooLarge:  # of latents, or of seeds that do not follow each other
            if size == 1:
                raise
            size //= 2
    return Drawn.joined(parts)


def _fewer(images: int) -> Conversation[int]:
    """How many images to ask for where so many are refused: as many as the server says it draws, or else half."""
    answer = yield Call("GET", "/models", functools.partial(read_object, []))
    limits = answer.get("limits")
    most = limits.get("max_images") if isinstance(limits, dict) else None
    return most if isinstance(most, int) and 1 <= most < images else images // 2


def _label_by_place(drawing: Drawing) -> Conversation[Drawing]:
    """A drawing of latents without a label, with the classes that they have when all are drawn at once."""
    c_dim = (yield describe(drawing.shared["model"], "c_dim"))["c_dim"]
    if not c_dim:
        return drawing
    own = drawing.own
    return replace(
        drawing, own=lambda part: own(part) | {"label": [place % c_dim for place in range(part.start, part.stop)]}
    )


def _sample(
    model: str,
    n: int | None = None,
    *,
    seed: int | None = None,
    seeds: Seeds | None = None,
    latents: npt.ArrayLike | None = None,
    label: Any = None,
    truncation: float = 1.0,
) -> Drawing:
    shared: Fields = {"model": _check_model(model), "truncation": check_truncation(truncation)}
    count, keys = _keys(n, seed, seeds, latents)
    one_each = _label_list(label)
    if one_each is None:
        shared["label"] = None if label is None else _label(label)
        return Drawing("/sample", shared, count, keys)
    if len(one_each) != count:
        raise UnknownLabel(
            f"There are {len(one_each)} labels for {count} images.", "Give one label, or one for each image."
        )
    return Drawing("/sample", shared, count, lambda part: keys(part) | {"label": one_each[part]})


def _condition(
    model: str,
    n: int | None = None,
    *,
    seed: int | None = None,
    seeds: Seeds | None = None,
    latents: npt.ArrayLike | None = None,
    labels: Any = None,
    truncation: float = 1.0,
) -> Drawing:
    shared: Fields = {"model": _check_model(model), "truncation": check_truncation(truncation)}
    count, keys = _keys(n, seed, seeds, latents)
    several = _label_list(labels)
    if several is None and labels is not None:
        several = [_label(labels)]
    shared["labels"] = several
    return Drawing("/condition", shared, count, keys, rows=None if several is None else len(several))


def _walk(
    model: str,
    seeds: Seeds,
    *,
    steps: int = 16,
    method: str = "slerp",
    loop: bool = False,
    label: Any = None,
    truncation: float = 1.0,
    start: int = 0,
    stop: int | None = None,
) -> Drawing:
    shared: Fields = {"model": _check_model(model), "truncation": check_truncation(truncation)}
    keys = parse_seeds(seeds)
    check_walk(len(keys), steps, method, loop)
    if _label_list(label) is not None:
        raise UnknownLabel("A walk has one label.", "Give one class name or index.")
    length = walk_length(len(keys), int(steps), bool(loop))
    first, end = check_frame_range(start, stop, length)
    shared |= {"seeds": format_seeds(keys), "steps": int(steps), "method": method, "loop": bool(loop)}
    shared["label"] = None if label is None else _label(label)

    def frames(part: slice) -> Fields:
        asked = {"start": first + part.start, "stop": first + part.stop}
        return {} if asked == {"start": 0, "stop": length} else asked

    return Drawing("/interpolate", shared, end - first, frames, first=first)


def _keys(
    n: int | None, seed: int | None, seeds: Seeds | None, latents: npt.ArrayLike | None
) -> tuple[int, Callable[[slice], Fields]]:
    """How many latents are meant, and the fields of a part of them.

    Seeds that nobody names are drawn here and not by the server, so that every request may be repeated.
    """
    if latents is None:
        chosen = choose_seeds(n, seed, seeds)
        return len(chosen), lambda part: {"seeds": format_seeds(chosen[part])}
    if not (n is None and seed is None and seeds is None):
        raise InvalidOption("Both latents and seeds were given.", "Give one of them.")
    given = _latents(latents)
    return len(given), lambda part: {"latents": given[part].tolist()}


def _latents(latents: npt.ArrayLike) -> FloatArray:
    """Latents as float32 [N, z_dim]; which z_dim is right, the server knows."""
    try:
        shape = np.shape(latents)
        return check_latents(latents, shape[1] if len(shape) == 2 else 0)
    except (InvalidLatents, TypeError, ValueError, RuntimeError) as error:
        message = error.message if isinstance(error, InvalidLatents) else "latents are not an array of numbers."
        raise InvalidLatents(message, "Give finite float32 [N, z_dim]; client.model(name) tells z_dim.") from None


def _label_list(label: Any) -> list[Label] | None:
    """Labels where there are several, None where it is one or none."""
    several = as_list(label)
    return None if several is None else [_label(each) for each in several]


def _label(label: Any) -> Label:
    """A label as JSON has it. Which names and indices there are, the server knows."""
    if isinstance(label, str) and _can_be_name(label):
        return label
    if isinstance(label, int | np.integer) and not isinstance(label, bool) and int(label).bit_length() < 64:
        return int(label)
    raise UnknownLabel(f"{shorten(label)} is no label.", "Give a class name or index; client.model(name) lists them.")


def _check_model(model: str) -> str:
    if not isinstance(model, str) or not _can_be_name(model):
        raise _no_such_model(model)
    return model


def _no_such_model(name: object) -> UnknownModel:
    return UnknownModel(f"The server has no model {shorten(name)}.", "client.models() lists those that it has.")


def _can_be_name(text: str) -> bool:
    """Whether a server would read ``text`` as a name at all: it is not long, and has no half of a surrogate pair."""
    return len(text) <= 200 and text.encode(errors="replace").decode() == text


def _plain(value: object) -> object:
    """A number of NumPy's as JSON has it."""
    if isinstance(value, np.generic):
        return value.item()
    raise InvalidOption(f"{shorten(value)} cannot be sent.", "Give a text or a number.")
