"""``POST /translate``: pictures as JSON with base64, or as a form with files; translated in batches with others."""

from __future__ import annotations

import asyncio
import base64
import binascii
import functools
from typing import Annotated, Any, NamedTuple

from fastapi import FastAPI, Request
from pydantic import Field
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from gan_serve.errors import InvalidImage, InvalidRequest, TooManyImages, nearest, shorten
from gan_serve.service import openapi
from gan_serve.service.batching import Batcher
from gan_serve.service.error_responses import RequestError
from gan_serve.service.json_body import check_not_compressed, is_json, media_type, parse_json, read_body
from gan_serve.service.middleware import LOG_FIELDS
from gan_serve.service.models import Models
from gan_serve.service.responses import RECEIPT_SIZE, Encoded, respond
from gan_serve.service.schemas import Name, RequestBody
from gan_serve.service.settings import Settings
from gan_serve.service.tracing import STAGES
from gan_serve.translation.inputs import FITS, Picture, check_fit, read_picture
from gan_serve.translation.result import FORMATS, TranslationRequest, Translations, check_format, encode_translations
from gan_serve.translation.translator import Translator

MAX_UPLOADS = 64  # pictures in one request
MAX_ITEMS = 1000  # brackets, braces or commas in a JSON body
MAX_FIELD = 1000  # bytes of a field of a form that is no file
MAX_WORK = 1e12  # operations of one request: some ten seconds of a thread
FORM = "multipart/form-data"
DECODERS = 2  # pictures that are decoded at a time: each takes up to 64 MB


class TranslateRequest(RequestBody):
    """Pictures to translate."""

    model: Name = Field(description="the name of a translator")
    images: Annotated[list[str], Field(min_length=1)] = Field(
        description="a list of files in base64, 1 to 64: PNG, JPEG, WebP, GIF or BMP"
    )
    fit: str = Field(default="crop", description="crop or exact", json_schema_extra={"enum": list(FITS)})
    format: str = Field(
        default="png", description=f"one of {', '.join(FORMATS)}", json_schema_extra={"enum": list(FORMATS)}
    )


class Uploaded(NamedTuple):
    """A request for a translation, of either form."""

    model: str
    files: list[bytes]
    fit: str
    format: str


class Translating:
    """Decodes uploads, translates them through the batcher, and responds."""

    def __init__(self, batcher: Batcher, settings: Settings) -> None:
        self.batcher = batcher
        self.settings = settings
        self._decoding = asyncio.Semaphore(DECODERS)

    async def respond(self, request: Request, models: Models) -> Response:
        """Return the translations in the format asked for.

        Raises:
            InvalidRequest, RequestError: the body cannot be read. BodyTooLarge: it is larger than the server reads.
            UnknownModel, CheckpointError: the model cannot be used. InvalidImage: a picture cannot be read, or is
            larger than allowed. TooManyImages: too many, or too large an output. TooManyRequests: the queue is full.
        """
        uploaded = await _read_upload(request, self.settings.max_body)
        request.scope[LOG_FIELDS] = {
            "model": uploaded.model, "format": uploaded.format, "images": len(uploaded.files)
        }  # fmt: skip
        if len(uploaded.files) > MAX_UPLOADS:
            raise TooManyImages(
                f"{len(uploaded.files)} images are more than the {MAX_UPLOADS} that this server takes in one request.",
                "Split them over several requests.",
            )
        check_fit(uploaded.fit)
        check_format(uploaded.format)
        translator = await models.get_translator(uploaded.model)
        self.batcher.check_room(len(uploaded.files))  # before the work of decoding
        async with self._decoding:
            wanted = await asyncio.to_thread(_decode, uploaded, translator)
        size = self._check_output(wanted, translator)
        release = self.batcher.reserve(len(wanted), size)
        encoding = functools.partial(_encoded, format=uploaded.format)
        stages = request.scope.get(STAGES)
        sampling = self.batcher.submit(translator, wanted, encoding, format=uploaded.format, stages=stages)
        return await respond(request, sampling, release, watched=True)  # one image may take seconds

    def _check_output(self, wanted: TranslationRequest, translator: Translator) -> int:
        """Return the bytes that a response may have at most; raise ``TooManyImages`` beyond the server's limits."""
        pixels = sum(image.shape[0] * image.shape[1] for image in wanted.inputs) * translator.scale**2
        size = (pixels * translator.img_channels * 3 + len(wanted) * 3 * RECEIPT_SIZE) * 4 // 3  # sheets hold inputs
        limits = ((pixels, self.settings.max_pixels, "pixels"), (size, self.settings.max_response, "bytes"))
        hint = "Send fewer or smaller images."
        for value, most, unit in limits:
            if value > most:
                raise TooManyImages(
                    f"The outputs would have up to {value:,} {unit}; this server sends up to {most:,}.", hint
                )
        if (work := translator.work(wanted)) > MAX_WORK:
            told = (
                f"The images take {work / 1e9:,.0f} billion operations; this server does up to {MAX_WORK / 1e9:,.0f}."
            )
            raise TooManyImages(told, hint)
        return size


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


async def _read_upload(request: Request, most: int) -> Uploaded:
    content = await read_body(request, most)
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
    async def stream() -> Any:
        yield content

    try:
        parser = MultiPartParser(
            request.headers, stream(), max_files=MAX_UPLOADS + 1, max_fields=8, max_part_size=MAX_FIELD
        )
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
    if "model" not in values or "images" not in values:
        missing = "model" if "model" not in values else "images"
        raise InvalidRequest(f"The field {missing} is missing.", "A form has model and files called images.")
    return Uploaded(values["model"], values["images"], values.get("fit", "crop"), values.get("format", "png"))


def _decode(uploaded: Uploaded, translator: Translator) -> TranslationRequest:
    pictures: list[Picture] = []
    for place, content in enumerate(uploaded.files):
        try:
            pictures.append(read_picture(content))
        except InvalidImage as error:
            if len(uploaded.files) == 1:
                raise
            raise InvalidImage(f"Image {place}: {error.message}", error.hint) from None
    return translator.request(pictures, fit=uploaded.fit)


def _encoded(translations: Translations, *, format: str) -> Encoded:
    headers = {"X-Gan-Serve-Digest": translations.digest}
    if len(translations) == 1:
        headers["X-Gan-Serve-Receipt"] = translations.receipt(0).as_json()
    return Encoded(encode_translations(translations, format), FORMATS[format].media_type, headers)
