"""ddnn: one neural network, cut in three, served from the sensor to the data centre."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("ddnn")
except PackageNotFoundError:  # run from a source tree that was not installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
