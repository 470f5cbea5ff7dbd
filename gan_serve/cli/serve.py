"""``gan-serve serve`` and ``reload``."""

from __future__ import annotations

import click

from gan_serve.cli.options import DEVICE_HELP, PRECISION_HELP
from gan_serve.terminal import echo


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port to listen on.")
@click.option(
    "--model",
    "models",
    multiple=True,
    help="A name, a directory or org/name on the Hub; may be repeated. All models of the package if not given.",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Processes that sample; one for each core, up to 8, if not given."
)
@click.option("--lazy", is_flag=True, help="Load each model at its first request, not at the start.")
@click.option(
    "--memory",
    type=click.IntRange(0),
    help="Megabytes for the models of a worker; others are unloaded. No limit if not given.",
)
@click.option("--precision", help=f"{PRECISION_HELP} fp32 if not given.")
@click.option("--device", help=f"{DEVICE_HELP} auto if not given.")
@click.option("--open", "open_page", is_flag=True, help="Open the page in a browser when the server is ready.")
def serve(
    host: str,
    port: int,
    models: tuple[str, ...],
    workers: int | None,
    lazy: bool,
    memory: int | None,
    precision: str | None,
    device: str | None,
    open_page: bool,
) -> None:
    """Serve models over HTTP, with a page to explore them.

    Options that are not given, and all other settings, come from environment variables: GAN_SERVE_PRECISION,
    GAN_SERVE_API_KEY, GAN_SERVE_MAX_IMAGES and others; docs/serving.md lists them.
    """
    from gan_serve.service.server import serve as run
    from gan_serve.service.settings import Settings

    settings = Settings.read(precision=precision, device=device, workers=workers, lazy=lazy or None, memory=memory)
    run(host=host, port=port, models=models, settings=settings, open_page=open_page)


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="The port of the server.")
def reload(port: int) -> None:
    """Reload the models and API keys of a running server.

    No request is dropped.
    """
    from gan_serve.service.reload import reload as run

    echo(f"Process {run(port)} replaces its workers.")
