"""Find models in the package, on disk and on the Hugging Face Hub."""

from __future__ import annotations

import os
from typing import TypedDict

from gan_serve._version import __version__

# huggingface_hub reads this when it is imported. Without it, requests also name the version of torch and the program
# that started this process, for which it fetches a list of such programs from the Hub once a day.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


class _Library(TypedDict):
    library_name: str
    library_version: str


LIBRARY = _Library(library_name="gan-serve", library_version=__version__)  # what the header User-Agent says
