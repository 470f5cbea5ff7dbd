"""Endpoints that take a body of JSON: what a request must be before its fields are looked at.

FastAPI documents these routes from their signatures. Its way to call them, with dependencies and a body that is parsed
twice, takes 0.1 ms of the 2.6 that a request takes in all; this one reads, checks and calls.
"""

from __future__ import annotations

import typing
from typing import Any

from fastapi import Request
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from gan_serve.errors import BodyTooLarge, InvalidRequest

CLIENT_GONE = 499  # nginx's number, for the log: nobody is there to read it
_OBJECT = 'For example {"model": "fashion-dcgan", "n": 4}.'


class BodyRoute(APIRoute):
    """A route whose endpoint is ``async def(body: MODEL, request: Request) -> Response``; any other is FastAPI's."""

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; errors go to the handlers of the app."""
        if self.body_field is None or scope["method"] not in (self.methods or ()):
            await super().handle(scope, receive, send)
            return
        request = Request(scope, receive, send)
        try:
            content = await _read(request, scope["app"].state.max_body)
        except ClientDisconnect:
            await Response(status_code=CLIENT_GONE)(scope, receive, send)
            return
        response = await self.endpoint(body=_parse(content, self._model(), request), request=request)
        await response(scope, receive, send)

    def _model(self) -> type[BaseModel]:
        if not hasattr(self, "_body_model"):
            self._body_model: type[BaseModel] = typing.get_type_hints(self.endpoint)["body"]
        return self._body_model


async def _read(request: Request, most: int) -> bytes:
    """The body, refused before it is read whole where it has more than ``most`` bytes."""
    too_large = BodyTooLarge(f"This server reads bodies of up to {most:,} bytes.", "Send fewer latents at a time.")
    if int(request.headers.get("content-length", 0)) > most:
        raise too_large
    parts, size = [], 0
    async for part in request.stream():
        parts.append(part)
        size += len(part)
        if size > most:
            raise too_large
    return b"".join(parts)


def _parse(content: bytes, model: type[BaseModel], request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        raise HTTPException(415)
    try:
        return model.model_validate_json(content)
    except ValidationError as error:  # the fields of an object are explained in ``schemas``
        if error.errors(include_url=False)[0]["type"] == "json_invalid":
            raise HTTPException(400) from None
        raise InvalidRequest("The body is not a JSON object.", _OBJECT) from None
