"""The rule for names of classes: the same when training data are read and when a checkpoint is."""

from __future__ import annotations

import re
import unicodedata

MAX_LENGTH = 200
# Controls of the writing direction, which can make a terminal show other text than there is.
DIRECTIONS = re.compile("[\u202a-\u202e\u2066-\u2069]")


def is_printable(text: str) -> bool:
    """Return whether all characters can be shown: printable Unicode, or format characters that join or style others.

    >>> is_printable("می\u200cخواهم"), is_printable("two\\nlines")
    (True, False)
    """
    return all(
        char.isprintable() or (unicodedata.category(char) == "Cf" and not DIRECTIONS.match(char)) for char in text
    )


def clean_class_name(text: str) -> str:
    """Return ``text`` in normal form C, with any white space as one space, and without controls of the direction.

    >>> clean_class_name(" green\\u00a0\\n apple ")
    'green apple'

    Raises:
        ValueError: it is empty, longer than ``MAX_LENGTH``, or has characters that cannot be shown.
    """
    name = " ".join(DIRECTIONS.sub("", unicodedata.normalize("NFC", text.removeprefix("\ufeff"))).split())
    if not name:
        raise ValueError("it is empty")
    if len(name) > MAX_LENGTH:
        raise ValueError(f"it has {len(name)} characters")
    if not is_printable(name):
        raise ValueError("it has characters that cannot be shown")
    return name
