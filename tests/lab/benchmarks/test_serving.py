"""The run of all benchmarks starts what there is."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from ddnn.errors import BadInput
from ddnn_lab.benchmarks.serving import COMMANDS, READERS, table


def test_every_benchmark_of_the_run_is_a_module_that_can_be_started() -> None:
    for flag, module, *_ in COMMANDS.values():
        assert flag == "-m"
        found = find_spec(module)
        assert found is not None
        assert found.submodule_search_locations is None or find_spec(f"{module}.__main__")


def test_every_row_of_the_targets_comes_from_a_benchmark_of_the_run() -> None:
    assert set(READERS) <= set(COMMANDS)


def test_the_targets_are_made_of_the_benchmarks_documents(tmp_path: Path) -> None:
    documents: dict[str, dict[str, Any]] = {
        "hotpath": {"tiers": {"cloud": {"of_fastapi": 0.85, "framework_ms": 0.2}}},
        "peers": {"targets": [{"name": "bytes", "wanted": "few", "found": 3.3333, "note": "beside", "met": None}]},
        "scale": {"verdict": {"devices": 64, "flat_or_falling": True, "cost_against_one_device": {"local": None}}},
    }
    for name, file in READERS.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(json.dumps(documents[name]))
    assert [row.split(" | ")[2:4] for row in table(tmp_path).splitlines()[2:]] == [
        ["cloud 0.85×", "**no**"],
        ["cloud 0.20 ms", "yes"],
        ["3.33 (beside)", "—"],
        ["not measured", "yes"],
    ]
    (tmp_path / "scale" / READERS["scale"]).unlink()
    with pytest.raises(BadInput, match="--only scale"):
        table(tmp_path)
