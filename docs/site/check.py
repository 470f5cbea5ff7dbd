"""Check a built site: every link and anchor leads somewhere, every picture is one and has words for it.

python docs/site/check.py FOLDER
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from PIL import Image

NOT_CHECKED = ("404.html",)  # its links begin at the root of the host


class Page(HTMLParser):
    """The anchors, links and pictures of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.pictures: list[tuple[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Collect what the tag has."""
        found = dict(attrs)
        self.anchors |= {found[key] or "" for key in ("id", "name") if key in found}
        if tag == "img":
            self.pictures.append((found.get("src") or "", found.get("alt")))
        address = found.get("href") if tag in ("a", "link") else found.get("src") if tag in ("script", "img") else None
        if address:
            self.links.append(address)


def problems(site: Path) -> list[str]:
    """Return what is wrong with the pages in ``site``, a line each."""
    # The demo is a page of its own, which its own tests check.
    files = [file for file in sorted(site.rglob("*.html")) if file.relative_to(site).parts[0] != "demo"]
    pages = {file.resolve(): Page(file.read_text()) for file in files if file.name not in NOT_CHECKED}
    found = []
    for file, page in pages.items():
        where = file.relative_to(site.resolve())
        found += [f"{where}: {link} {wrong}" for link in page.links if (wrong := _wrong_link(file, link, pages))]
        for source, alt in page.pictures:
            if alt is None:
                found.append(f"{where}: the picture {source[:60]} has no alt")
            if wrong := _wrong_picture(file, source):
                found.append(f"{where}: the picture {source[:60]} {wrong}")
    return found


def _wrong_link(file: Path, link: str, pages: dict[Path, Page]) -> str:
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return ""
    target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
    target = target / "index.html" if target.is_dir() else target
    if not target.is_file():
        return "leads to no file"
    if parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
        return "leads to no heading"
    return ""


def _wrong_picture(file: Path, source: str) -> str:
    if source.startswith("data:") or source.endswith(".svg"):
        return ""
    if urlsplit(source).netloc:
        return "is on another host"
    try:
        with Image.open(file.parent / unquote(source)) as picture:
            picture.verify()
    except OSError as error:
        return f"cannot be read: {error}"
    return ""


def main() -> None:
    """Print the problems of a site; end with status 1 if there are any."""
    site = Path(sys.argv[1])
    found = problems(site)
    print("\n".join(found) or f"{site}: links, anchors and pictures are right")
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
