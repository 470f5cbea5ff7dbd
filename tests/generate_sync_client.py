"""Generate gan_serve/client/sync_client.py from async_client.py: `python tests/generate_sync_client.py` writes it.

The replacements are those of httpcore and elasticsearch-py (unasync): words that asyncio has and synchronous code has
not. tests/test_client.py fails while the file is not what this program writes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

CLIENT = Path(__file__).parents[1] / "gan_serve" / "client"
HEAD = '"""The synchronous client. Do not edit: tests/generate_sync_client.py writes it from ``async_client.py``."""\n'
REPLACEMENTS = [
    (r'\A""".*"""\n', HEAD),
    (r"    Calls may run at the same time;", "    Threads may share a client;"),
    (r"^import asyncio\n", "import threading\n"),
    (r"asyncio\.to_thread\((\w+), ", r"\1("),
    (r"asyncio\.Semaphore", "threading.Semaphore"),
    (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"import AsyncGenerator, Awaitable, Callable", "import Callable, Generator"),
    (r"\bAsyncClient\b", "Client"),
    (r"\bAsyncRetrying\b", "Retrying"),
    (r"\basync (def|with|for)\b", r"\1"),
    (r"\bawait ", ""),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
    (r"\ba(close|closing|read|next|iter_bytes)\b", r"\1"),
    (r"\b_async_read\b", "_read"),
    (r"\b_open_async_http\b", "_open_http"),
]


def generate() -> str:
    """Return the text of sync_client.py."""
    source = (CLIENT / "async_client.py").read_text()
    for pattern, replacement in REPLACEMENTS:
        source, count = re.subn(pattern, replacement, source, flags=re.MULTILINE)
        assert count, f"async_client.py has no {pattern}"
    for command in (["check", "--fix", "--select", "I"], ["format"]):
        words = [sys.executable, "-m", "ruff", *command, "--quiet", "--stdin-filename", str(CLIENT / "sync_client.py")]
        source = subprocess.run([*words, "-"], input=source, capture_output=True, text=True, check=True).stdout
    return source


if __name__ == "__main__":
    (CLIENT / "sync_client.py").write_text(generate())
