"""The command line: one function a command; what is heavy is imported when the command runs."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import entry_points

import typer

from ddnn.cli.ask import infer, play
from ddnn.cli.audit import audit
from ddnn.cli.check import doctor, status
from ddnn.cli.cost import cost
from ddnn.cli.deploy import deploy
from ddnn.cli.doubts import doubts
from ddnn.cli.encoding import prepare_output
from ddnn.cli.export import export
from ddnn.cli.federate import federate
from ddnn.cli.flower import flower
from ddnn.cli.identity import identity
from ddnn.cli.measure import evaluate, profile, record
from ddnn.cli.policy import policy
from ddnn.cli.rollout import rollout
from ddnn.cli.run import serve, up
from ddnn.cli.search import search
from ddnn.cli.signing import sign, verify
from ddnn.cli.split import split
from ddnn.cli.train import train
from ddnn.cli.tune import tune
from ddnn.cli.watch import watch
from ddnn.errors import DDNNError

__all__ = ["app", "main"]

app = typer.Typer(
    name="ddnn",
    help="One neural network, cut in three, served from the sensor to the data centre.",
    epilog="Start with `ddnn up`: a fleet of eight processes answers real digits on this machine.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_PANELS: dict[str, tuple[Callable[..., object], ...]] = {
    "Run a fleet": (up, status, infer, watch, doctor),
    "Make a network": (train, search, cost, evaluate, record, profile, tune),
    "The parts of a fleet": (serve, play, export),
    "Keep it safe": (sign, verify),
}
for _panel, _commands in _PANELS.items():
    for _command in _commands:
        app.command(rich_help_panel=_panel)(_command)
federate.command()(flower)
app.add_typer(federate, rich_help_panel="Make a network")
app.add_typer(split, rich_help_panel="Make a network")
app.add_typer(policy, rich_help_panel="Run a fleet")
app.add_typer(rollout, rich_help_panel="Run a fleet")
app.add_typer(doubts, rich_help_panel="Run a fleet")
app.add_typer(deploy, rich_help_panel="The parts of a fleet")
app.add_typer(identity, rich_help_panel="Keep it safe")
app.add_typer(audit, rich_help_panel="Keep it safe")
for _plugin in entry_points(group="ddnn.commands"):  # an extra's commands, such as the laboratory's `ddnn bench`
    with suppress(ModuleNotFoundError):  # an image that holds one tier alone
        _plugin.load()(app)


def _print_version(asked: bool) -> None:
    if asked:
        from ddnn import __version__

        typer.echo(f"ddnn {__version__}")
        raise typer.Exit


_VERSION = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version and end.")


@app.callback()
def _root(version: bool = _VERSION) -> None:
    pass


def main(carrier: object = None) -> None:
    """Run the command line; an error, ours or of the system (exit code 2), becomes one sentence; Ctrl-C is 130.

    `carrier` is what carries the parcels of `ddnn federate serve`, where it does not listen itself.
    """
    prepare_output()
    try:
        try:
            app(obj=carrier)
        finally:
            sys.stdout.flush()  # else what cannot be written is found out when it is too late to say so
    except DDNNError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:  # the reader has seen enough
        _forget_output()
        sys.exit(1)
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        print(f"error: {where}{(error.strerror or str(error) or type(error).__name__).lower()}", file=sys.stderr)
        _forget_output()
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _forget_output() -> None:
    """Point stdout at nothing when it takes nothing, so that its last flush says nothing."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
