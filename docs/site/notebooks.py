"""A notebook as a page of the site."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path
from typing import Any


def notebook_page(path: Path, folder: Path) -> str:
    """Return a notebook as Markdown with its stored outputs, whose pictures are written to ``folder``."""
    parts = []
    for cell in json.loads(path.read_text())["cells"]:
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(text)
            continue
        parts.append(f"```python\n{text}\n```")
        for number, output in enumerate(cell["outputs"]):
            parts.append(_output(output, f"{cell['id']}-{number}", folder))
    parts.append(f"From the notebook [`{path.name}`]({path.name}), which the tests run.")
    shutil.copyfile(path, folder.parent / path.name)
    return "\n\n".join(parts) + "\n"


def _output(output: dict[str, Any], name: str, folder: Path) -> str:
    data = output.get("data", {"text/plain": output.get("text", [])})
    for kind in ("image/png", "image/webp", "image/gif"):
        if kind in data:
            folder.mkdir(parents=True, exist_ok=True)
            picture = folder / f"{name}.{kind.partition('/')[2]}"
            picture.write_bytes(base64.b64decode("".join(data[kind])))
            return f"![Output of the cell above]({folder.name}/{picture.name})"
    return f"```{{ .text .output }}\n{''.join(data['text/plain']).rstrip()}\n```"
