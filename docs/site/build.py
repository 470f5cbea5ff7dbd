"""Write the pages of the documentation site to build/docs, for Zensical: `make docs`.

python docs/site/build.py [--demo]

The sources are the documents of the repository; their links are made to fit the site. A document that a page links to
becomes a page, another file is copied. `--demo`: the pages link to demo/, where the Makefile puts the live demo.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import tomllib
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from notebooks import notebook_page
from reference import command_line_page, http_page, javascript_page, recipes_table

ROOT = Path(__file__).resolve().parents[2]
SITE = Path("docs/site")
OUT = ROOT / "build" / "docs"
CONFIG = ROOT / "build" / "zensical.toml"
PARTS = re.compile(
    r"(^[ \t]*```.*?^[ \t]*```[ \t]*$|`[^`\n]*`)", re.MULTILINE | re.DOTALL
)  # code, in which nothing is a link
LINK = re.compile(r"(\]\(\s*)([^)\s>]+)(\s*\))")  # the text of a link may have code in it
ELSEWHERE = re.compile(r"[a-z][a-z+.-]*:|#|//", re.IGNORECASE)
FRONT_MATTER = re.compile(r"\A---\n.*?\n---\n", re.DOTALL)
DEMO = re.compile(r"<!-- demo -->\n(.*?)<!-- end of demo -->\n", re.DOTALL)


class Pages:
    """The documents of the site: where each file of the repository lies in it, and which are still to be written."""

    def __init__(self, demo: bool) -> None:
        self.demo = demo
        self.written: dict[str, str] = {}  # page -> its text
        self.places: dict[str, str] = {}  # file of the repository -> file of the site
        self.waiting: list[str] = []

    def place(self, source: str) -> str:
        """Return the file of the site for a file of the repository, which is written if it is not there yet."""
        if source not in self.places:
            path = PurePosixPath(source)
            self.places[source] = _place(path)
            self.waiting.append(source)
        return self.places[source]

    def write_all(self) -> None:
        """Write the documents that wait, and those that they link to."""
        while self.waiting:
            source = self.waiting.pop()
            target = OUT / self.places[source]
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.endswith(".md"):
                self.write(self.places[source], (ROOT / source).read_text(), source)
            elif source.endswith(".ipynb"):
                self.write(self.places[source], notebook_page(ROOT / source, target.with_suffix("")), source)
            else:
                shutil.copyfile(ROOT / source, target)

    def write(self, page: str, text: str, source: str) -> None:
        """Write a page whose links are relative to ``source``."""
        if source.startswith("gan_serve/"):
            text = FRONT_MATTER.sub("", text)  # of a model card, for the Hub
        text = DEMO.sub(r"\1" if self.demo else "", text)
        pieces = PARTS.split(text)
        pieces[::2] = [LINK.sub(lambda found: self._link(found, page, source), piece) for piece in pieces[::2]]
        self.written[page] = "".join(pieces)
        (OUT / page).parent.mkdir(parents=True, exist_ok=True)
        (OUT / page).write_text(self.written[page])

    def _link(self, found: re.Match[str], page: str, source: str) -> str:
        before, link, after = found.groups()
        path, _, anchor = link.partition("#")
        if ELSEWHERE.match(link) or source.endswith(".ipynb") or path.startswith("demo/"):
            return found.group()
        target = (ROOT / source).parent.joinpath(unquote(path)).resolve()
        if not target.exists() and (OUT / path).exists():
            return found.group()  # a page that is generated
        if target.is_dir():  # the site has no page for a folder, so its first document
            documents = [target / "README.md", *sorted(target.glob("*.md")), *sorted(target.glob("*.ipynb"))]
            target = next((document for document in documents if document.is_file()), target)
        if not target.is_file():
            raise SystemExit(f"{source}: {link} leads to no file")
        place = self.place(target.relative_to(ROOT).as_posix())
        return before + os.path.relpath(place, PurePosixPath(page).parent) + (f"#{anchor}" if anchor else "") + after


def _place(path: PurePosixPath) -> str:
    """Return the place of a file: docs/ and the pages of the site at the top, other folders as they are."""
    if path.suffix == ".ipynb":
        path = path.with_suffix(".md")
    for folder in (SITE / "pages", SITE, Path("docs")):
        if path.is_relative_to(folder.as_posix()):
            return path.relative_to(folder.as_posix()).as_posix()
    if path.parent.parent.name == "checkpoints" and path.name == "README.md":
        return f"cards/{path.parent.name}.md"
    if path.suffix == ".md":
        return f"project/{path.as_posix().lower()}"
    return f"files/{path}"


TYPES = Path("gan_serve/service/web/gan-serve.d.ts")
OF_THE_ENGINE = ('"web.md"', '"reference/javascript.md"')  # pages that need `gan-serve export-web` in this checkout
TOP_LEVEL = ("CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md")


def write_site(*, demo: bool) -> int:
    """Write the configuration and all pages; return how many there are."""
    pages = Pages(demo)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    lines = (ROOT / SITE / "zensical.toml").read_text().splitlines(keepends=True)
    engine = (ROOT / TYPES).is_file()
    CONFIG.write_text("".join(line for line in lines if engine or not any(page in line for page in OF_THE_ENGINE)))
    # First, because other pages link to them. Their links are relative to the folder of the hand-written pages.
    pages.write("reference/http.md", http_page(), "docs/site/pages/http.md")
    pages.write("reference/command-line.md", command_line_page(), "docs/site/pages/command-line.md")
    if (ROOT / TYPES).is_file():
        text = javascript_page((ROOT / TYPES).read_text())
        pages.write("reference/javascript.md", text, "docs/site/pages/javascript.md")
    for path in sorted((ROOT / SITE / "assets").iterdir()):
        pages.place(path.relative_to(ROOT).as_posix())
    sources = [*(ROOT / SITE / "pages").rglob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "docs").glob("*.ipynb")]
    sources += [*(ROOT / "docs" / "learn").glob("*.ipynb"), *map(ROOT.joinpath, TOP_LEVEL)]
    for path in sorted(sources):
        pages.place(path.relative_to(ROOT).as_posix())
    pages.write_all()
    recipes = OUT / "choose-a-recipe.md"
    recipes.write_text(recipes.read_text().replace("<!-- recipes -->\n", recipes_table()))
    write_llms()
    return len(pages.written)


def write_llms() -> None:
    """Write llms.txt (https://llmstxt.org): the pages of the navigation with a line each; and all texts in one file."""
    project = tomllib.loads(CONFIG.read_text())["project"]
    lines = [f"# {project['site_name']}", "", f"> {project['site_description']}", ""]
    full = []
    for title, page in in_order(navigation(CONFIG)):
        if page is None:
            lines += ["", f"## {title}", ""]
            continue
        text = (OUT / page).read_text()
        full.append(text)
        lines.append(f"- [{title}]({page.removesuffix('index.md').replace('.md', '/') or './'}){_gist(text)}")
    lines += ["", "## Everything", "", "- [All of these pages as Markdown](llms-full.txt)", ""]
    (OUT / "llms.txt").write_text("\n".join(lines))
    (OUT / "llms-full.txt").write_text("\n\n".join(full))


def navigation(config: Path) -> list[dict[str, object]]:
    """Return the navigation of a configuration file."""
    return tomllib.loads(config.read_text())["project"]["nav"]


def in_order(nav: list[dict[str, object]]) -> list[tuple[str, str | None]]:
    """Return titles and pages in order; a group has no page."""
    flat: list[tuple[str, str | None]] = []
    for entry in nav:
        for title, below in entry.items():
            if isinstance(below, str):
                flat.append((title, below))
            elif isinstance(below, list):
                flat += [(title, None), *in_order(below)]
    return flat


def _gist(text: str) -> str:
    """Return the first sentence of the first paragraph, after a colon; nothing if the page begins otherwise."""
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if not line.startswith(("#", "<", "!", "|", "```", ":::", "---"))]
        if lines and len(lines) == len([line for line in block.splitlines() if not line.startswith("#")]):
            sentence = re.split(r"(?<=[.:])\s", " ".join(lines))[0]
            return ": " + re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", sentence).rstrip(":")
    return ""


def main() -> None:
    """Write the pages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", action="store_true", help="link to the live demo in demo/")
    print(f"Wrote {write_site(demo=parser.parse_args().demo)} pages to {OUT}")


if __name__ == "__main__":
    main()
