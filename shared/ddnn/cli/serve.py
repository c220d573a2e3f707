"""`ddnn serve`: run one tier."""

import importlib
import logging
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = ["serve"]


def serve(
    tier: Annotated[Literal["device", "edge", "cloud"], typer.Argument(help="Which kind of tier.")],
    bundle: Annotated[Path | None, typer.Option(help="Folder of the bundle; the shipped one by default.")] = None,
    index: Annotated[int | None, typer.Option(help="Which device, or which edge, this is.")] = None,
    upstream: Annotated[
        list[str] | None, typer.Option(help="Address of the tier above; again for a second one to fall back to.")
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to bind.")] = None,
    max_batch: Annotated[int | None, typer.Option(help="Most events in one run of a section.")] = None,
    max_delay_ms: Annotated[
        float | None, typer.Option(help="How long a free section waits for more events, in milliseconds; 0 by default.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
) -> None:
    """Serve one tier until SIGTERM; every setting also comes as DDNN_… from the environment.

    Example: ddnn serve device --index 3 --upstream http://127.0.0.1:8001 --port 8013
    """
    from ddnn.errors import BadConfig
    from ddnn.serving.server import serve_app
    from ddnn.settings import Settings

    settings = Settings.load(
        bundle=bundle,
        index=index,
        upstream=tuple(upstream) if upstream else None,
        host=host,
        port=port,
        max_section_batch=max_batch,
        max_delay_ms=max_delay_ms,
        log_level=log_level,
    )
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        module = importlib.import_module(f"ddnn_{tier}.app")
    except ModuleNotFoundError as error:
        raise BadConfig(f"the {tier} tier is not installed here ({error}); expected the package ddnn_{tier}") from error
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # while starting; and when uvicorn raises it again, drained
    serve_app(module.create_app(settings), settings)
