"""Turn a generator into a certified checkpoint: a training run, a torch module, or weights that others trained.

``gan-serve export RUN --out DIR``, ``gan-serve import SOURCE --out DIR``, and ``export_module`` in Python. Needs the
extra ``gan-serve[train]``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gan_serve.lazy_names import import_on_use as _import_on_use

if __name__ != "gan_serve.exports":
    raise ImportError("import gan_serve.exports: the folder exports/ of the checkout is installed under that name.")

if TYPE_CHECKING:
    from gan_serve.exports.export import export_module, export_run

__all__ = ["export_module", "export_run"]

# The command line imports this package to register its commands: torch only where it is used.
__getattr__ = _import_on_use(__name__, dict.fromkeys(__all__, "export"))
