"""A refused request, and what its response says. The supervisor imports it, which needs no FastAPI."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel

from gan_serve.errors import GanServeError


class ErrorDetail(BaseModel):
    """An error: a code for programs, a message and a hint for people."""

    code: str
    message: str
    hint: str = ""

    @classmethod
    def of(cls, error: GanServeError) -> Self:
        """Return the code, message and hint of ``error``."""
        return cls(code=error.code, message=error.message, hint=error.hint)


class RequestError(Exception):
    """A request that is refused before sampling, for a reason that has no class in ``gan_serve.errors``."""

    def __init__(self, status: int, code: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.detail = ErrorDetail(code=code, message=message, hint=hint)
