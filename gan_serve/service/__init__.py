"""The HTTP service: ``gan-serve serve``, or ``bentoml serve gan_serve.service:GanService``."""

from __future__ import annotations


def __getattr__(name: str) -> object:
    # BentoML takes a second to import, and only the server needs it.
    if name == "GanService":
        from gan_serve.service.bento import GanService

        return GanService
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
