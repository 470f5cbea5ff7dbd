"""Turn a generator into a certified checkpoint: a training run, a torch module, or weights that others trained.

``gan-serve export RUN --out DIR``, ``gan-serve import SOURCE --out DIR``, and ``export_module`` in Python. Needs the
extra ``gan-serve[train]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if __name__ != "gan_serve.exports":
    raise ImportError("import gan_serve.exports: the folder exports/ of the checkout is installed under that name.")

if TYPE_CHECKING:
    from gan_serve.exports.export import export_module as export_module
    from gan_serve.exports.export import export_run as export_run

__all__ = ["export_module", "export_run"]


def __getattr__(name: str) -> Any:
    # The command line imports this package to register its commands: torch only where it is used.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gan_serve.exports import export

    return getattr(export, name)
