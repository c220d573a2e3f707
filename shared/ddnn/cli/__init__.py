"""The command line: `ddnn.cli.app` holds the commands."""
