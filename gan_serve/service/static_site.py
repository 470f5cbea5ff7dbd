"""The explorer page as files for any static host, with checkpoints and an engine in place of the server."""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from importlib.metadata import distribution
from pathlib import Path
from typing import NamedTuple

from gan_serve._version import __version__
from gan_serve.atomic_files import check_new_directory, directory_atomically
from gan_serve.checkpoint.config import (
    CONFIG_FILE,
    LATENT_SPACE_FILE,
    PRECISION_FILES,
    AnyConfig,
    TranslatorConfig,
)
from gan_serve.checkpoint.files import read_config_file, read_verified
from gan_serve.errors import InvalidOption
from gan_serve.generator import Generator
from gan_serve.hub.resolve import resolve
from gan_serve.images.animation import encode_animation
from gan_serve.service.bundle import Document, bundle, content_hash, inlined
from gan_serve.service.page import FIRST_FRAME, FOLDER, PAGE, SCRIPT, data_url, small_webp
from gan_serve.service.served_model import ServedModel
from gan_serve.service.settings import Settings
from gan_serve.service.web_runtime import GIF, LICENCES, MODULE, PACKAGES, WASM, web_runtime
from gan_serve.translation.translator import Translator

ENTRY, WORKER, ENGINE, TYPES = "local-main.js", "local-worker.js", "gan-serve.js", "gan-serve.d.ts"
OFFLINE = "service-worker.js"
CARD = "README.md"
# Only these files of a checkpoint are copied: a browser would run an HTML page or a script as one of the site's own.
INERT = (".onnx", ".json", ".md", ".png")
MOST_IMAGES = 1024
KEYS, FRAMES = 6, (16, 8, 4, 2)  # of the first animation: its keys, and the frames from one to the next
MOST_ANIMATION = 26_000  # bytes of it: the page and its script stay below 60 KB, compressed
SOURCE = 'const VERSION = "source";'
_PACKAGES = " and ".join(f"{package} {version}" for package, (version, _) in PACKAGES.items())
FALLBACK = "Everything it does is also there over HTTP: see /docs.json."
NEVER_SENT = "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'"


class _Model(NamedTuple):
    """A checkpoint of the page: loaded, so that its golden sample is verified, and its files by name."""

    loaded: Generator | Translator
    config: AnyConfig
    files: dict[str, bytes]


def export_web(
    models: Sequence[str | Path], out: str | Path, *, single_file: bool = False, runtime: Path | None = None
) -> Path:
    """Write the explorer page for checkpoints, whose images are computed in the browser, into a new directory.

    Args:
        models: names, directories or repositories on the Hub; the page opens on the first generator, else on the first.
        out: the new directory.
        single_file: write all of it into one ``index.html``, which also opens from a disk.
        runtime: a folder with onnxruntime-web and gifenc; None to get them with ``npm pack``.

    Returns:
        The new directory.

    Raises:
        InvalidOption: no models, two of the same name, or a missing package. CannotWrite: the directory exists, or
            writing fails. Others: as for ``Generator.from_pretrained``.
    """
    out = Path(out)
    check_new_directory(out)
    if not models:
        raise InvalidOption("There is no model to export.", "Name one or more.")
    loaded = [_read_model(model) for model in models]
    names = [model.config.name for model in loaded]
    if len(set(names)) != len(names):
        raise InvalidOption(f"Two models have the same name: {', '.join(names)}.", "Export each once.")
    engine = web_runtime(runtime)
    files = _single_file(loaded, engine) if single_file else _site(loaded, engine)
    with directory_atomically(out) as folder:
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)
    return out


def engine_module() -> str:
    """Return ``gan-serve.js`` as one module."""
    return bundle(FOLDER, ENGINE, exported=True).replace(SOURCE, f"const VERSION = {json.dumps(__version__)};")


def _read_model(model: str | Path) -> _Model:
    directory = resolve(model, files=lambda config: [name for name in config.files if name.endswith(INERT)])
    config, content = read_config_file(directory)
    names = [name for name in config.files if name.endswith(INERT)]
    files = {CONFIG_FILE: content} | {name: read_verified(directory, config, name) for name in names}
    kind = Translator if isinstance(config, TranslatorConfig) else Generator
    return _Model(kind(directory, device="cpu"), config, files)


def _site(models: list[_Model], engine: dict[str, bytes]) -> dict[str, str | bytes]:
    """Return the files of a site."""
    script = bundle(FOLDER, ENTRY)
    version = hashlib.sha256(script.encode()).hexdigest()[:16]
    tag = f'<script type="module" src="page.js?{version}"></script>'
    document = _document(models, tag, _about(models))
    policy = (
        f"default-src 'none'; script-src 'self' {' '.join(document.scripts)}; style-src {' '.join(document.styles)}; "
        f"connect-src 'self'; worker-src 'self'; {NEVER_SENT}"
    )
    files: dict[str, str | bytes] = {
        "index.html": _with_policy(document.html, policy),
        "page.js": script,
        "engine/worker.js": _worker(),
        f"engine/{ENGINE}": engine_module(),
        f"engine/{TYPES}": (FOLDER / TYPES).read_text("utf-8"),
        f"engine/{MODULE}": engine[MODULE],
        f"engine/{WASM}.gz": gzip.compress(engine[WASM], 9, mtime=0),
        f"engine/{GIF}": engine[GIF],
        **{f"engine/LICENSE-{package}.txt": licence for package, licence in LICENCES.items()},
        **{f"models/{model.config.name}/{name}": data for model in models for name, data in model.files.items()},
    }
    files[OFFLINE] = _service_worker(files)
    return files | _about_files(models)


def _single_file(models: list[_Model], engine: dict[str, bytes]) -> dict[str, str | bytes]:
    """Return the page as one document, and what stands beside it for a host."""
    script = bundle(FOLDER, ENTRY)
    tag = f'<script type="module">{script}</script>'
    needed = {CONFIG_FILE, LATENT_SPACE_FILE, *PRECISION_FILES.values()}
    inside = {
        "engine/worker.js": _plain_worker(engine).encode(),
        f"engine/{WASM}": engine[WASM],
        **{
            f"models/{model.config.name}/{name}": data
            for model in models
            for name, data in model.files.items()
            if name in needed
        },
    }
    parts = "".join(
        f'<script type="text/plain" data-file="{html.escape(name)}">'
        f"{base64.b64encode(gzip.compress(data, 9, mtime=0)).decode()}</script>\n"
        for name, data in inside.items()
    )
    document = _document(models, tag, _about(models, with_cards=True) + parts, is_single_file=True)
    policy = (
        f"default-src 'none'; script-src 'wasm-unsafe-eval' blob: {content_hash(script)} {' '.join(document.scripts)}; "
        f"style-src {' '.join(document.styles)}; worker-src blob:; {NEVER_SENT}"
    )
    return {"index.html": _with_policy(document.html, policy), **_about_files(models)}


def _worker() -> str:
    return bundle(FOLDER, WORKER).replace(SOURCE, f"const VERSION = {json.dumps(__version__)};")


def _plain_worker(engine: dict[str, bytes]) -> str:
    """Return the worker with its packages as a script that is no module: pages from a disk may start no other."""
    packages = _as_global("ort", engine[MODULE].decode()) + _as_global("gifenc", engine[GIF].decode())
    return f"{packages}{_worker()}".replace("import.meta.url", "location.href")


def _as_global(name: str, module: str) -> str:
    """Return a module whose exports stand at its end as a script that gives them to a global variable."""
    code, _, names = module.rpartition("export{")
    pairs = (pair.split(" as ") for pair in names.partition("}")[0].split(","))
    return (
        f"(() => {{\n{code}globalThis.{name} = {{ {', '.join(f'{key}: {value}' for value, key in pairs)} }};\n}})();\n"
    )


def _document(models: list[_Model], script: str, about: str, *, is_single_file: bool = False) -> Document:
    settings = Settings.read(precision="fp32", device="cpu")
    served = [
        ServedModel(each.config.name, each.config.name, each.loaded.directory, settings, each.config) for each in models
    ]
    chosen_here = {"precision", "device", "digest"}  # by the browser
    data = {
        "models": [each.info().model_dump(mode="json", exclude_none=True, exclude=chosen_here) for each in served],
        "details": {
            each.name: each.details().model_dump(mode="json", exclude_none=True, exclude=chosen_here) for each in served
        },
        "limits": {"max_images": MOST_IMAGES},
        "is_single_file": is_single_file,
    }
    document = inlined(FOLDER, PAGE)
    text = document.html.replace(f'<script type="module" src="web/{SCRIPT}"></script>', script)
    embedded = json.dumps(data).replace("<", "\\u003c")
    text = text.replace('id="embedded">null', f'id="embedded">{embedded}')
    generators = (each.loaded for each in models if isinstance(each.loaded, Generator))
    if generator := next(generators, None):
        text = text.replace(FIRST_FRAME, _first_frame(generator))
    text = text.replace(FALLBACK, "")
    return document._replace(html=text.replace("</main>", f"{about}</main>", 1))


def _first_frame(generator: Generator) -> str:
    """Return an animation that plays while the engine loads, and the still image of those who want no motion."""
    size = generator.img_resolution * max(1, 576 // generator.img_resolution)
    still = data_url("webp", small_webp(generator.sample(seeds=0).pixels[0]))
    animation = _animation(generator)
    moving = data_url("webp", animation) if animation else still
    return (
        f'<picture><source media="(prefers-reduced-motion: reduce)" srcset="{still}" />'
        f'<img id="first-frame" alt="" width="{size}" height="{size}" src="{moving}" /></picture>'
    )


def _animation(generator: Generator) -> bytes:
    """Return a walk of a second from key to key as WebP, with as many frames as fit; empty where too few do."""
    classes = generator.c_dim or 1
    for steps in FRAMES:
        walk = generator.sample_walk([key * classes for key in range(KEYS)], steps=steps, loop=True)
        animation = encode_animation(walk.pixels, "webp", fps=steps)
        if len(animation) <= MOST_ANIMATION:
            return animation
    return b""


def _with_policy(document: str, policy: str) -> str:
    tag = f'<meta http-equiv="Content-Security-Policy" content="{policy}" />'
    return document.replace('<meta charset="utf-8" />', f'<meta charset="utf-8" />\n{tag}', 1)


def _about(models: Iterable[_Model], *, with_cards: bool = False) -> str:
    """Return the part of the page with the licence and the card of each model."""
    rows = []
    for model in models:
        name, licence = html.escape(model.config.name), html.escape(model.config.license)
        if with_cards:
            card = html.escape(model.files.get(CARD, b"").decode("utf-8", "replace"))
            rows.append(f"<details><summary>{name}: licence {licence}</summary><pre>{card}</pre></details>")
        else:
            link = f'<a href="models/{name}/{CARD}">card</a>' if CARD in model.files else "no card"
            rows.append(f"<p>{name}: licence {licence}, {link}</p>")
    programs = (
        f"gan-serve {__version__}, licence {distribution('gan-serve').metadata['License-Expression']}; "
        f"{_PACKAGES}, licence MIT. Images are computed in this browser; nothing is sent."
    )
    if with_cards:
        texts = "".join(
            f"<details><summary>{package}: licence MIT</summary><pre>{html.escape(licence)}</pre></details>"
            for package, licence in LICENCES.items()
        )
        programs += f"</p>{texts}<p>"
    return (
        '<section class="contact about" aria-labelledby="about-title"><h2 id="about-title">Models and licences</h2>'
        f'{"".join(rows)}<p class="hint">{programs}</p></section>\n'
    )


def _about_files(models: Sequence[_Model]) -> dict[str, str | bytes]:
    """Return README.md, with the front matter of a static Space on the Hugging Face Hub, and the licence."""
    licences = {model.config.license for model in models}
    rows = "\n".join(f"- {model.config.name}: {model.config.license}" for model in models)
    readme = f"""\
---
title: gan-serve explorer
emoji: 🎲
colorFrom: indigo
colorTo: gray
sdk: static
app_file: index.html
pinned: false
license: {licences.pop() if len(licences) == 1 else "other"}
---

# gan-serve explorer

`gan-serve export-web` wrote these files. Any static host can serve them. Images are computed in the browser.

Licences of the models:

{rows}

gan-serve {__version__} has the licence in LICENSE; {_PACKAGES} have the MIT licence.
"""
    licence = distribution("gan-serve").read_text("licenses/LICENSE")
    return {"README.md": readme, **({"LICENSE": licence} if licence else {})}


def _service_worker(files: dict[str, str | bytes]) -> str:
    digest = hashlib.sha256()
    for name, content in files.items():
        digest.update(f"{name}\n".encode() + (content.encode() if isinstance(content, str) else content))
    pictures = ("samples.png", "truncation.png", "neighbours.png", ".d.ts")
    names = ["./", *(name for name in files if not name.endswith(pictures))]
    script = (FOLDER / OFFLINE).read_text("utf-8")
    return script.replace(SOURCE, f'const VERSION = "{digest.hexdigest()[:16]}";').replace(
        "const FILES = [];", f"const FILES = {json.dumps(names)};"
    )
