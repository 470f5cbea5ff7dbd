"""Bundle the page into few files: style sheets and the theme in the document, all modules in one script.

The page also works with its separate modules. So that they can be joined without a parser, they have only named imports
and exports, each on a line of its own, and no circular imports.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import NamedTuple

IMPORT = re.compile(r'^import \{([^}]*)\} from "\./([\w-]+\.js)";\n', re.MULTILINE)
EXPORT = re.compile(r"^export (?=(?:async )?(?:function\*?|class|const) ([\w$]+))", re.MULTILINE)
REEXPORT = re.compile(r"^export \{ ([\w, ]+) \};\n", re.MULTILINE)
ICON = "icon.svg"
STYLE = re.compile(r'^ *<link rel="stylesheet" href="web/([\w-]+\.css)" />\n', re.MULTILINE)
SCRIPT = re.compile(r'^ *<script src="web/([\w-]+\.js)"></script>\n', re.MULTILINE)


class Document(NamedTuple):
    """A document with its icon, styles and plain scripts inside, and their hashes for a Content-Security-Policy."""

    html: str
    scripts: tuple[str, ...]
    styles: tuple[str, ...]


def bundle(folder: Path, entry: str, *, exported: bool = False) -> str:
    """Return a module and all that it imports as one script that may be a module or, on ``file://``, a plain script.

    Each module becomes a function that returns its exports, after the modules that it imports. With ``exported``, the
    script is a module with the exports of ``entry``.

    Raises:
        ValueError: an import is circular, or has a form that cannot be joined.
    """
    order: list[str] = []
    codes: dict[str, str] = {}

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ValueError(f"{' -> '.join((*path, name))} is a circular import")
        if name in codes:
            return
        code = (folder / name).read_text("utf-8")
        for _, imported in IMPORT.findall(code):
            visit(imported, (*path, name))
        codes[name] = _as_function(name, code)
        order.append(name)

    visit(entry, ())
    if exported:
        names = ", ".join(_exports((folder / entry).read_text("utf-8")))
        return "".join([*(codes[name] for name in order), f"export const {{ {names} }} = {_variable(entry)};\n"])
    return "".join(["(() => {\n", *(codes[name] for name in order), "})();\n"])


def _as_function(name: str, code: str) -> str:
    def bind(match: re.Match[str]) -> str:
        names = " ".join(match[1].split()).replace(" as ", ": ").rstrip(", ")
        return f"const {{ {names} }} = {_variable(match[2])};\n"

    exported = _exports(code)
    body = EXPORT.sub("", REEXPORT.sub("", IMPORT.sub(bind, code))).replace("\nexport {};\n", "\n")
    if left := re.search(r"^(?:import|export)\b.*", body, re.MULTILINE):
        raise ValueError(f"{name} has a form that cannot be joined: {left[0]}")
    body = re.sub(
        r"/\*\*.*?\*/\n?|^ *// [^\n]*\n", "", body, flags=re.DOTALL | re.MULTILINE
    )  # comments on their own lines
    body = re.sub(r"^ +", "", body, flags=re.MULTILINE) if "`\n" not in body else body
    return f"const {_variable(name)} = (() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})();\n"


def _exports(code: str) -> list[str]:
    listed = [name for names in REEXPORT.findall(code) for name in names.split(", ")]
    return [*EXPORT.findall(code), *listed]


def _variable(name: str) -> str:
    return f"m_{name.removesuffix('.js').replace('-', '_')}"


def inlined(folder: Path, page: str) -> Document:
    """Return a document of ``folder`` with its style sheets and scripts inside; modules stay where they are."""
    html = (folder / page).read_text("utf-8")
    styles = "".join((folder / name).read_text("utf-8") for name in STYLE.findall(html))
    styles = re.sub(r"/\*.*?\*/\n?|^ +", "", styles, flags=re.DOTALL | re.MULTILINE)
    scripts = "".join((folder / name).read_text("utf-8") for name in SCRIPT.findall(html))
    icon = base64.b64encode((folder / ICON).read_bytes()).decode()
    html = html.replace(f'href="web/{ICON}"', f'href="data:image/svg+xml;base64,{icon}"')
    html = STYLE.sub("", SCRIPT.sub("", html))
    html = re.sub(r"<!--.*?-->\n?|^ +", "", html, flags=re.DOTALL | re.MULTILINE)
    html = html.replace("</head>", f"<style>{styles}</style>\n<script>{scripts}</script>\n</head>", 1)
    return Document(html, (content_hash(scripts),), (content_hash(styles),))


def content_hash(text: str) -> str:
    """Return the hash of a script or style sheet, as a Content-Security-Policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
