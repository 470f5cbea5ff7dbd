"""Print text. Names, labels and errors may come from untrusted files and must not control the terminal."""

from __future__ import annotations

import re
import sys

# Controls of terminals (C0, C1, DEL) except tab and new line, and controls of the writing direction.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def escape(text: str) -> str:
    """Return ``text`` with escapes in place of characters that control a terminal; new lines and tabs stay.

    >>> escape("\\x1b[31mred")
    '\\\\x1b[31mred'
    """
    return _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def bar_pace() -> dict[str, float]:
    """Return arguments of tqdm: a state of the bar every tenth of a second on a terminal, every 30 s in a log file."""
    return {} if sys.stderr.isatty() else {"mininterval": 30.0, "maxinterval": 30.0}


def echo(message: object, *, err: bool = False) -> None:
    """Print a message, escaped, to standard output or standard error."""
    print(escape(str(message)), file=sys.stderr if err else sys.stdout, flush=True)
