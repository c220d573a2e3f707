"""The laboratory's commands, which `ddnn` finds by the entry point `ddnn.commands`."""

import typer

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add `ddnn bench` and `ddnn drift`."""
    from ddnn_lab.cli.bench import bench
    from ddnn_lab.cli.drift import drift

    app.command(rich_help_panel="Measure")(drift)
    app.add_typer(bench, rich_help_panel="Measure")
