"""Pages of the site that the code describes: HTTP from its OpenAPI document, the commands from their help, recipes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any

import click

from gan_serve.cli import cli
from gan_serve.service.app import create_app
from gan_serve.service.models import Models
from gan_serve.service.settings import Settings
from gan_serve.training.recipes import recipes

HTTP = """\
# HTTP reference

The endpoints of `gan-serve serve`, from its OpenAPI document.
A running server has the document at `/docs.json` and a page to try requests at `/docs`.
[Serving](../../serving.md) explains formats, limits and errors.
"""
JAVASCRIPT = """\
# JavaScript reference

The types of `gan-serve.js`, the engine of `gan-serve export-web`.
[In the browser](../../web.md) shows how to use it.
"""
COMMANDS = """\
# Command line reference

Every command prints this text with `--help`.
"""


def http_page() -> str:
    """Return the endpoints, their fields and responses."""
    models, settings = Models(), Settings()
    models.load(settings)
    document = create_app(models, settings).openapi()
    parts = [HTTP]
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            parts += _operation(f"{method.upper()} {path}", operation, document)
    return "\n\n".join(parts) + "\n"


def _operation(title: str, operation: Mapping[str, Any], document: Mapping[str, Any]) -> Iterator[str]:
    yield f"## `{title}`"
    yield operation.get("description") or operation.get("summary", "")
    parameters = [
        (f"`{p['name']}` ({p['in']})", _type(p.get("schema", {})), _meaning(p)) for p in operation.get("parameters", ())
    ]
    if parameters:
        yield _table(("parameter", "type", "meaning"), parameters)
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = _resolved(content["schema"], document)
        required = schema.get("required", ())
        fields = [
            (f"`{name}`", _type(field), _default(field, name in required), _meaning(field))
            for name, field in schema.get("properties", {}).items()
        ]
        yield f"Body: `{kind}`."
        yield _table(("field", "type", "default", "meaning"), fields)
        for example in [*(one["value"] for one in content.get("examples", {}).values()), *schema.get("examples", ())][
            :1
        ]:
            yield f"```json\n{json.dumps(example, indent=2)}\n```"
    responses = [
        (status, ", ".join(f"`{kind}`" for kind in response.get("content", {})), response.get("description", ""))
        for status, response in operation.get("responses", {}).items()
    ]
    yield _table(("status", "content", "meaning"), responses)


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return document["components"]["schemas"][name] if name else schema


def _type(schema: Mapping[str, Any]) -> str:
    """Return a schema in a few words, such as "integer, 1 to 256" or "array of string"."""
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(dict.fromkeys(_type(option) for option in options if option.get("type") != "null"))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("$ref", "").rpartition("/")[2] or schema.get("type", "any")
    if kind == "array":
        return f"array of {_type(schema.get('items', {}))}"
    least, most = schema.get("minimum", schema.get("exclusiveMinimum")), schema.get("maximum")
    if kind == "integer":  # OpenAPI has its limits as 0.0
        least, most = (None if limit is None else int(limit) for limit in (least, most))
    limits = f"{least} to {most}" if None not in (least, most) else f"from {least}" if least is not None else ""
    return f"{kind}, {limits}" if limits else kind


def _default(field: Mapping[str, Any], required: bool) -> str:
    if required:
        return "required"
    return f"`{json.dumps(field['default'])}`" if field.get("default") is not None else ""


def _meaning(field: Mapping[str, Any]) -> str:
    return field.get("description", "")


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(
        "| " + " | ".join(" ".join(cell.split()).replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def command_line_page() -> str:
    """Return the help of every command."""
    for group in entry_points(group="gan_serve.commands"):
        group.load()(cli)
    context = click.Context(cli, info_name="gan-serve", **cli.context_settings)
    parts = [COMMANDS]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        if command is not None and not command.hidden:
            inner = click.Context(command, info_name=name, parent=context, max_content_width=100)
            parts.append(f"## `gan-serve {name}`\n\n```text\n{command.get_help(inner)}\n```")
    return "\n\n".join(parts) + "\n"


def recipes_table() -> str:
    """Return a table of the recipes, the lessons after the others."""
    found = sorted(recipes().values(), key=lambda recipe: (recipe.name.startswith("lesson-"), recipe.name))
    return _table(("recipe", "what", "needs"), [(f"`{one.name}`", one.title, one.needs) for one in found]) + "\n"


def javascript_page(types: str) -> str:
    """Return the declarations of ``gan-serve.d.ts``, a heading each."""
    parts = [JAVASCRIPT]
    for block in re.split(r"\n(?=(?:/\*\*[^\n]*\n)?export )", types):
        if found := re.search(r"^export (?:class|interface|type|const) (\w+)", block, re.MULTILINE):
            parts.append(f"## {found[1]}\n\n```ts\n{block.strip()}\n```")
    return "\n\n".join(parts) + "\n"
