"""The laboratory's commands, which `ddnn` finds by the entry point `ddnn.commands`."""

import typer

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add `ddnn bench`, `ddnn drift` and `ddnn plan`."""
    from ddnn_lab.cli.bench import bench
    from ddnn_lab.cli.drift import drift
    from ddnn_lab.cli.plan import plan

    app.command(rich_help_panel="Measure")(drift)
    app.command(rich_help_panel="Measure")(plan)
    app.add_typer(bench, rich_help_panel="Measure")
