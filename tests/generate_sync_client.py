"""Generate the synchronous client from the one for asyncio: `python tests/generate_sync_client.py` writes it.

The replacements are those of httpcore and elasticsearch-py (unasync): words that asyncio has and synchronous code has
not. tests/test_client_interface.py fails while a file is not what this program writes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "gan_serve" / "client"
SOURCES = {f"sync_{part}.py": f"async_{part}.py" for part in ("client", "pictures", "sender")}
HEAD = '"""``{}`` without asyncio. Do not edit: tests/generate_sync_client.py writes this file."""\n'
REPLACEMENTS = [
    (r"    Calls may run at the same time;", "    Threads may share a client;"),
    (r"^import asyncio\n", "import threading\n"),
    (r"asyncio\.to_thread\((\w+), ", r"\1("),
    (r"asyncio\.Semaphore", "threading.Semaphore"),
    (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"import AsyncGenerator, Awaitable, Callable", "import Callable, Generator"),
    (r"import AsyncGenerator$", "import Generator"),
    (r"\bAsync(Client|Pictures|Sender|Retrying)\b", r"\1"),
    (r"\basync_(pictures|sender)\b", r"sync_\1"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\ba(close|closing|read|next|iter_bytes)\b", r"\1"),
    (r"\b_async_read\b", "_read"),
    (r"\b_open_async_http\b", "_open_http"),
]


def generate() -> dict[str, str]:
    """Return the texts of the synchronous files by name."""
    unused = {pattern for pattern, _ in REPLACEMENTS}
    texts = {}
    for name, asynchronous in SOURCES.items():
        _, _, body = (CLIENT / asynchronous).read_text().partition("\n")
        for pattern, replacement in REPLACEMENTS:
            body, count = re.subn(pattern, replacement, body, flags=re.MULTILINE)
            unused -= {pattern} if count else set()
        texts[name] = _formatted(HEAD.format(asynchronous) + body, CLIENT / name)
    assert not unused, f"the files for asyncio have no {unused}"
    return texts


def _formatted(source: str, path: Path) -> str:
    for command in (["check", "--fix", "--select", "I,F401"], ["format"]):
        words = [sys.executable, "-m", "ruff", *command, "--quiet", "--stdin-filename", str(path), "-"]
        source = subprocess.run(words, input=source, capture_output=True, text=True, check=True).stdout
    return source


if __name__ == "__main__":
    for name, text in generate().items():
        (CLIENT / name).write_text(text)
