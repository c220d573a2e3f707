"""`ddnn federate flower`: the rounds of `ddnn federate serve` as an app of Flower, which carries them."""

import json
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from typer import Argument
from typer.main import get_group

from ddnn.cli.federate import federate
from ddnn.errors import BadInput

__all__ = ["flower", "server_app"]

_ROUNDS: Final = '''"""The parts of a federated training that Flower starts: the server of its rounds, and a site."""

import ddnn.cli.flower
import ddnn.training.federated.on_flower

server = ddnn.cli.flower.server_app()
client = ddnn.training.federated.on_flower.client_app()
'''


def flower(
    folder: Annotated[Path, Argument(metavar="DIR", help="Folder to make, which `flwr run` takes.")],
    words: Annotated[
        list[str], Argument(metavar="-- DATA OPTIONS", help="Those of `ddnn federate serve`, after two dashes.")
    ],
) -> None:
    """Write a federated training as an app of Flower, whose SuperLink and SuperNodes carry its rounds.

    Example: `ddnn federate flower app -- public.npz --out shelf --sites 3 --rounds 20`

    Then it is `flower-superlink`, for each site `flower-supernode --node-config 'data="shop.npz" name="shop-3"'`, and
    `flwr run app`. Files are where the SuperLink, or a SuperNode, has been started.
    """
    from ddnn.pages import render

    get_group(federate).commands["serve"].make_context("ddnn federate serve", list(words))
    if folder.exists():
        raise BadInput(f"{folder} is there; expected the name of a folder to make")
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text(render("flower.toml.jinja", {"serve": json.dumps(shlex.join(words))}))
    (folder / "rounds.py").write_text(_ROUNDS)
    typer.echo(f"{folder} is made; `flwr run {shlex.quote(str(folder))}` begins its rounds", err=True)


def server_app() -> Any:
    """Flower's ServerApp of a federated training; raise `BadInput` where Flower is not installed."""
    from ddnn.extensions import needed_for

    with needed_for("a federation on Flower", extra="flower"):
        from flwr.serverapp import ServerApp

    def rounds(grid: Any, context: Any) -> None:
        from ddnn.cli.app import main

        # As if it were said on the command line: the manifest tells how a bundle was made.
        sys.argv = ["ddnn", "federate", "serve", *shlex.split(str(context.run_config["serve"]))]
        try:
            main(grid)
        except SystemExit as end:
            if end.code:  # the sentence is in the log; Flower has to know that the run has failed
                raise RuntimeError(f"ddnn federate serve has ended with exit code {end.code}") from None

    server = ServerApp()
    server.main()(rounds)
    return server
