"""For Markdown: formulas between dollar signs become MathML, which browsers show without a script."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert
from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor

BLOCK = r"\$\$(.+?)\$\$"
INLINE = r"(?<![\w$])\$(?!\s)([^$]+?)(?<!\s)\$(?![\w$])"
BEFORE_ESCAPES = 185  # the priority of backslashes is 180, and of code, which stays as it is, 190


class Formula(InlineProcessor):
    """A formula in a line, or on lines of its own."""

    def __init__(self, pattern: str, md: Markdown, display: str) -> None:
        super().__init__(pattern, md)
        self.display = display

    def handleMatch(self, m: re.Match[str], data: str) -> tuple[Element | str | None, int | None, int | None]:  # noqa: N802
        """Replace the formula, where Markdown changes nothing in it."""
        return self.md.htmlStash.store(convert(m.group(1), display=self.display)), m.start(0), m.end(0)


class Formulas(Extension):
    """The extension."""

    def extendMarkdown(self, md: Markdown) -> None:  # noqa: N802
        """Add both forms."""
        md.inlinePatterns.register(Formula(BLOCK, md, "block"), "formula-block", BEFORE_ESCAPES + 1)
        md.inlinePatterns.register(Formula(INLINE, md, "inline"), "formula", BEFORE_ESCAPES)


def makeExtension(**options: object) -> Formulas:  # noqa: N802
    """Return the extension, as Markdown asks for it."""
    return Formulas(**options)
