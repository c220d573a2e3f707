"""The command line: `ddnn.cli.app` holds the commands, each in a module of its own."""

__all__: list[str] = []
