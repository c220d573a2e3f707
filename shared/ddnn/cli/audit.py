"""`ddnn audit`: who did what to a tier, and whether that was changed afterwards."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ddnn.cli.options import Json, note, print_json

__all__ = ["audit"]

audit = typer.Typer(
    name="audit",
    help="""The audit trail of a tier: verify.

    Example: `ddnn audit verify audit-edge-0.jsonl`
    """,
    no_args_is_help=True,
)


@audit.callback()
def _root() -> None:
    """Make the one command a command of the group."""


@audit.command()
def verify(
    file: Annotated[Path, Argument(metavar="FILE", help="Audit trail of a tier, or of an authority.")],
    holds: Annotated[str, Option(metavar="HASH", help="Hash of a line that was known before; it must be there.")] = "",
    as_json: Json = False,
) -> None:
    """Check that no line of an audit trail was changed, added or taken away, and say the hash of the last.

    Exit code 1 where one was, and where there is none at all. What was cut off at the end shows by a hash that you
    kept: `--holds`.

    Example: `ddnn audit verify audit-edge-0.jsonl`
    """
    from ddnn.trail import verify as follow

    found = follow(file, holds)
    missing = "" if found.held else f"no line has the hash {holds[:12]}: the file was cut or replaced"
    problem = found.problem or missing
    if as_json:
        print_json({**asdict(found), "problem": problem})
    elif problem:
        note(f"{file}: {problem}; {found.entries} entries before it are whole")
    else:
        times = f", {found.began} to {found.ended}" if found.entries else ""
        typer.echo(f"{file}: {found.entries} entries{times}\n{found.head}")
    if problem:
        raise typer.Exit(1)
