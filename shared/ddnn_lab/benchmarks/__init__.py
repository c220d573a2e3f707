"""Benchmarks, each a command: `python -m ddnn_lab.benchmarks.serving --help`."""

__all__: list[str] = []
