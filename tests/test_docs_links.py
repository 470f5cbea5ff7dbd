"""Every relative link of the documents and the model cards leads to a file that is in the checkout."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("gan_serve/checkpoints/*/README.md"))
)
CODE = re.compile(r"^```.*?^```|`[^`\n]*`", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(\s*<?([^)\s>]+)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:|#|//", re.IGNORECASE)  # an address, or a heading of the same document


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_files(document):
    text = CODE.sub("code", (ROOT / document).read_text())
    targets = {unquote(link.partition("#")[0]) for link in LINK.findall(text) if not ELSEWHERE.match(link)}
    folder = (ROOT / document).parent
    assert not [target for target in sorted(targets) if not (folder / target).resolve().is_relative_to(ROOT)]
    assert not [target for target in sorted(targets) if not (folder / target).exists()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_to_headings(document):
    text = CODE.sub("code", (ROOT / document).read_text())
    links = [unquote(link) for link in LINK.findall(text) if not re.match("[a-z]+:", link)]
    wrong = []
    for link in links:
        name, _, anchor = link.partition("#")
        target = (ROOT / document).parent / name if name else ROOT / document
        if anchor and target.suffix == ".md" and anchor not in _anchors(target.read_text()):
            wrong.append(link)
    assert not wrong


def _anchors(text):
    """Return the anchors that GitHub gives to the headings of a document."""
    headings = HEADING.findall(re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
