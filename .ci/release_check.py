"""Check that the tree is ready to be released as a tag: ``python .ci/release_check.py v1.2.0``.

It compares the tag with the version, and asks for a dated section in CHANGELOG.md and for the project's URLs.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def problems(tag: str, root: Path = ROOT) -> list[str]:
    """Return the reasons why the tree in ``root`` cannot be released as ``tag``, one sentence each."""
    found = []
    version = re.search(r'__version__ = "(.+)"', (root / "gan_serve" / "_version.py").read_text())
    if version is None or tag != f"v{version[1]}":
        found.append(
            f"The tag is {tag!r}, the version {version and version[1]!r}: the tag must be v followed by the version."
        )
    changes = (root / "CHANGELOG.md").read_text()
    if not re.search(rf"^## \[{re.escape(tag.removeprefix('v'))}\] - \d{{4}}-\d\d-\d\d$", changes, re.MULTILINE):
        found.append(f"CHANGELOG.md has no section '## [{tag.removeprefix('v')}] - YYYY-MM-DD'.")
    urls = tomllib.loads((root / "pyproject.toml").read_text())["project"].get("urls", {})
    for name in ("Homepage", "Repository", "Changelog"):
        if not str(urls.get(name, "")).startswith("https://"):
            found.append(f"pyproject.toml has no [project.urls] {name}.")
    return found


if __name__ == "__main__":
    if len(sys.argv) != 2 or not sys.argv[1]:
        sys.exit("Usage: python .ci/release_check.py v1.2.0")
    told = problems(sys.argv[1])
    print("\n".join(told) or f"Ready to be released as {sys.argv[1]}.")
    sys.exit(bool(told))
