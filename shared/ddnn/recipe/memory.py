"""What trials came to, kept in a file: a search that was stopped goes on, and nothing is tried twice."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ddnn.data import Dataset
from ddnn.training import Config

__all__ = ["Memory", "key_of"]


class Memory:
    """Trials by their keys, each a line of JSON.

    Args:
        file: Where they are kept; None keeps them nowhere.
    """

    def __init__(self, file: Path | None) -> None:
        self._file = file
        lines = file.read_text("utf-8").splitlines(keepends=True) if file and file.is_file() else []
        # A line that was not written to its end is as if it had not been tried.
        self._known = {found["key"]: found for found in map(json.loads, (line for line in lines if line[-1] == "\n"))}
        if file and lines and lines[-1][-1] != "\n":
            file.write_text("".join(lines[:-1]), "utf-8")

    def get(self, key: str) -> Mapping[str, Any] | None:
        """What a trial came to before."""
        return self._known.get(key)

    def keep(self, found: Mapping[str, Any]) -> None:
        """Add a trial under its `key`."""
        self._known[found["key"]] = found
        if self._file:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(found) + "\n")


def key_of(config: Config, seed: int, data: Dataset) -> str:
    """Of a trial: what is tried, by which chance, on which events under which split."""
    told = [config.model_dump(mode="json"), seed, data.fingerprint, len(data), data.split.tolist()]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
