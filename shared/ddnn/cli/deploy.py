"""`ddnn deploy`: what runs a fleet elsewhere."""

import shlex
from typing import Annotated

import typer
from typer import Option

from ddnn.cli import options

__all__ = ["deploy"]

deploy = typer.Typer(
    name="deploy",
    help="""Write what runs a fleet elsewhere: a file for `docker compose`.

    Example: `ddnn deploy compose runs/mine > docker-compose.yml`
    """,
    no_args_is_help=True,
)


@deploy.callback()
def _root() -> None:
    pass


@deploy.command()
def compose(
    bundle: options.BundleArgument = None,
    base_port: Annotated[
        int, Option(min=1, max=65535, help="Port of the cloud on this machine; others follow.")
    ] = 8000,
) -> None:
    """Print a compose file with the tiers that a bundle's network has, each a container.

    The images are built of the folder of the sources, here or DDNN_SOURCE. CLOUD_PORT, EDGE_PORT, DEVICE_0_PORT … give
    other ports without a new file, DDNN_BUNDLE_DIR another folder of the bundle, which user 10001 must be able to read.

    Example: ddnn deploy compose runs/mine --base-port 9000 > docker-compose.yml
    """
    from ddnn.fleet.compose import compose_file

    given = [*([str(bundle)] if bundle else []), *(["--base-port", str(base_port)] if base_port != 8000 else [])]
    command = shlex.join(["ddnn", "deploy", "compose", *given])
    typer.echo(compose_file(bundle, base_port=base_port, command=command), nl=False)
