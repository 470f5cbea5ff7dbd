"""``POST /translate``: pictures as JSON with base64, or as a form with files; translated in batches with others."""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
import math
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, NamedTuple, TypeVar

from fastapi import FastAPI, Request
from pydantic import Field
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from gan_serve.errors import InvalidImage, InvalidRequest, TooManyImages, nearest, shorten
from gan_serve.service import openapi
from gan_serve.service.batching import Batcher
from gan_serve.service.json_body import check_not_compressed, is_json, media_type, parse_json, read_body
from gan_serve.service.middleware import LOG_FIELDS
from gan_serve.service.models import Models
from gan_serve.service.request_error import RequestError
from gan_serve.service.responses import RECEIPT_SIZE, Encoded, respond
from gan_serve.service.schemas import ModelName, RequestBody
from gan_serve.service.settings import Settings
from gan_serve.service.tracing import STAGES
from gan_serve.translation.inputs import FITS, Picture, check_fit, picture_size, read_picture
from gan_serve.translation.result import FORMATS, TranslationRequest, Translations, check_format, encode_translations
from gan_serve.translation.translator import Translator

MAX_UPLOADS = 64  # pictures in one request
MAX_ITEMS = 1000  # brackets, braces or commas in a JSON body
MAX_FIELD = 1000  # bytes of a field of a form that is no file
PARSED_AT_ONCE = 2**16  # bytes of a form
MAX_WORK = 1e12  # operations of one request: some ten seconds of a thread
Result = TypeVar("Result")
_FEWER = "Send fewer or smaller images."
FORM = "multipart/form-data"


class TranslateRequest(RequestBody):
    """Pictures to translate."""

    model: ModelName = Field(default=None, description="the name of a translator")
    images: Annotated[list[str], Field(min_length=1)] = Field(
        description="a list of files in base64, 1 to 64: PNG, JPEG, WebP, GIF or BMP"
    )
    fit: str = Field(default="crop", description="crop or exact", json_schema_extra={"enum": list(FITS)})
    format: str = Field(
        default="png", description=f"one of {', '.join(FORMATS)}", json_schema_extra={"enum": list(FORMATS)}
    )


class Uploaded(NamedTuple):
    """A request for a translation, of either form."""

    model: str | None
    files: list[bytes]
    fit: str
    format: str


class Translating:
    """Decodes uploads, translates them through the batcher, and responds."""

    def __init__(self, batcher: Batcher, settings: Settings) -> None:
        self.batcher = batcher
        self.settings = settings
        self._decoder = ThreadPoolExecutor(1, "decode")  # one, because a picture takes up to 300 MB while it is decoded

    async def respond(self, request: Request, models: Models) -> Response:
        """Return the translations in the format asked for.

        Raises:
            InvalidRequest, RequestError: the body cannot be read. BodyTooLarge: it is larger than the server reads.
            UnknownModel, CheckpointError: the model cannot be used. InvalidImage: a picture cannot be read, or is
            larger than allowed. TooManyImages: too many, or too large an output. TooManyRequests: the queue is full.
        """
        uploaded = await _read_upload(request)
        model = models.find(uploaded.model).name
        request.scope[LOG_FIELDS] = {"model": model, "format": uploaded.format, "images": len(uploaded.files)}
        if len(uploaded.files) > MAX_UPLOADS:
            raise TooManyImages(
                f"{len(uploaded.files)} images are more than the {MAX_UPLOADS} that this server takes in one request.",
                "Split them over several requests.",
            )
        check_fit(uploaded.fit)
        check_format(uploaded.format)
        translator = await models.get_translator(model)
        wanted = await self._decoded(uploaded, translator)
        size = self._check_output([image.shape[:2] for image in wanted.inputs], uploaded.format, translator)
        _check_work(translator.work(wanted))
        release = self.batcher.reserve(len(wanted), size)
        encoding = functools.partial(_encoded, format=uploaded.format)
        stages = request.scope.get(STAGES)
        sampling = self.batcher.submit(translator, wanted, encoding, format=uploaded.format, stages=stages)
        return await respond(request, sampling, release, watched=True)  # one image may take seconds

    async def _decoded(self, uploaded: Uploaded, translator: Translator) -> TranslationRequest:
        """Return the pictures of an upload, decoded and fitted in a thread."""
        release = self.batcher.reserve(len(uploaded.files), sum(map(len, uploaded.files)))
        abandoned = threading.Event()  # a thread cannot be cancelled
        pictures = self._pictures(uploaded, translator, abandoned)
        decode = functools.partial(translator.request, pictures, fit=uploaded.fit)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._decoder, decode)
        finally:
            abandoned.set()
            release()

    def _pictures(self, uploaded: Uploaded, translator: Translator, abandoned: threading.Event) -> Iterator[Picture]:
        """Check the sizes of all pictures, then decode them one by one: all may be large."""
        sizes = [_named(place, uploaded, picture_size) for place in range(len(uploaded.files))]
        pixels = sum(width * height for width, height in sizes)
        if pixels > self.settings.max_pixels and len(sizes) > 1:
            raise TooManyImages(
                f"The pictures have {pixels:,} pixels; this server decodes up to {self.settings.max_pixels:,}.", _FEWER
            )
        if translator.any_size:
            self._check_output(sizes, uploaded.format, translator)
        for place in range(len(sizes)):
            if abandoned.is_set():
                return
            yield _named(place, uploaded, read_picture)

    def _check_output(self, inputs: Sequence[tuple[int, ...]], format: str, translator: Translator) -> int:
        """Return the bytes that a response may have at most; raise ``TooManyImages`` beyond the server's limits.

        ``inputs``: the sizes of two axes of each.
        """
        area = translator.scale**2
        pixels = sum(map(math.prod, inputs)) * area
        held = 3 * pixels  # an output, its file, and in a sheet its input
        if format == "png" and len(inputs) > 1:  # all cells of a sheet have the size of the largest
            longest = [max(sides) for sides in zip(*inputs, strict=True)]
            held = max(held, 2 * len(inputs) * math.prod(longest) * area)
        size = (held * translator.img_channels + len(inputs) * 3 * RECEIPT_SIZE) * 4 // 3
        limits = ((pixels, self.settings.max_pixels, "pixels"), (size, self.settings.max_response, "bytes"))
        for value, most, unit in limits:
            if value > most:
                raise TooManyImages(
                    f"The outputs would have up to {value:,} {unit}; this server sends up to {most:,}.", _FEWER
                )
        return size


def _check_work(work: float) -> None:
    if work > MAX_WORK:
        told = f"The images take {work / 1e9:,.0f} billion operations; this server does up to {MAX_WORK / 1e9:,.0f}."
        raise TooManyImages(told, _FEWER)


def add_translation(app: FastAPI, models: Models, translating: Translating) -> None:
    """Add the endpoint."""
    schema = TranslateRequest.model_json_schema()
    form = schema | {
        "properties": schema["properties"]
        | {
            "images": {
                "type": "array",
                "items": {"type": "string", "format": "binary"},
                "minItems": 1,
                "description": "files",
            }
        }
    }
    body = {
        "required": True,
        "content": {"application/json": {"schema": schema}, FORM: {"schema": form}},
    }

    @app.post("/translate", response_class=Response, responses=openapi.TRANSLATED, openapi_extra={"requestBody": body})
    async def translate(request: Request) -> Response:
        """Translate pictures: JSON with files in base64, or a form with files. A PNG of several is a sheet."""
        return await translating.respond(request, models)


async def _read_upload(request: Request) -> Uploaded:
    content = await read_body(request)
    check_not_compressed(request)
    if media_type(request) == FORM:
        return await _read_form(request, content)
    if not is_json(request):
        raise RequestError(
            415, "unsupported_media_type", "The body is neither JSON nor a form.", f"Send application/json or {FORM}."
        )
    if content.count(b"[") + content.count(b"{") > MAX_ITEMS or content.count(b",") > MAX_ITEMS:
        raise InvalidRequest("The body has more fields or items than any request.", f"Send up to {MAX_UPLOADS} images.")
    body = parse_json(content, TranslateRequest)
    files = []
    for place, text in enumerate(body.images):
        try:
            files.append(base64.b64decode(text.partition("base64,")[2] or text, validate=True))  # also of a data URL
        except (binascii.Error, ValueError):
            raise InvalidImage(f"Image {place} is not base64.", "Encode the bytes of the file in base64.") from None
    return Uploaded(body.model, files, body.fit, body.format)


async def _read_form(request: Request, content: bytes) -> Uploaded:
    async def stream() -> AsyncGenerator[bytes, None]:
        for start in range(0, len(content), PARSED_AT_ONCE):
            yield content[start : start + PARSED_AT_ONCE]
            await asyncio.sleep(0)  # others have their turn: 4 MB take up to 20 ms

    try:
        parser = MultiPartParser(
            request.headers, stream(), max_files=MAX_UPLOADS + 1, max_fields=8, max_part_size=MAX_FIELD
        )
        parser.spool_max_size = len(content)  # files stay in memory, where the whole body is already
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = str(getattr(error, "message", error))[:100]
        message = f"The form cannot be read: {reason}"
        raise RequestError(400, "bad_request", message, "Send multipart/form-data.") from None
    values: dict[str, Any] = {}
    try:
        for key, value in form.multi_items():
            if isinstance(value, UploadFile):
                if key not in ("images", "image"):
                    raise InvalidRequest(f"There is no field {shorten(key)} for files.", "Send files as images.")
                values.setdefault("images", []).append(await value.read())
            elif key not in ("model", "fit", "format"):
                hint = nearest(key[:200], TranslateRequest.model_fields) or "There are: model, images, fit, format."
                raise InvalidRequest(f"There is no field {shorten(key)}.", hint)
            else:
                values[key] = value
    finally:
        await form.close()
    if "images" not in values:
        raise InvalidRequest("The field images is missing.", "A form has model and files called images.")
    return Uploaded(values.get("model"), values["images"], values.get("fit", "crop"), values.get("format", "png"))


def _named(place: int, uploaded: Uploaded, read: Callable[[bytes], Result]) -> Result:
    """Return what ``read`` returns for a file; an error names its place if there are several."""
    try:
        return read(uploaded.files[place])
    except InvalidImage as error:
        if len(uploaded.files) == 1:
            raise
        raise InvalidImage(f"Image {place}: {error.message}", error.hint) from None


def _encoded(translations: Translations, *, format: str) -> Encoded:
    headers = {"X-Gan-Serve-Digest": translations.digest}
    if len(translations) == 1:
        headers["X-Gan-Serve-Receipt"] = translations.receipt(0).as_json()
    return Encoded(encode_translations(translations, format), FORMATS[format].media_type, headers)
