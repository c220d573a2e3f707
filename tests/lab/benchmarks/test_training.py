"""Training measured beside another checkout, which is this one."""

import json
from pathlib import Path

import pytest

import ddnn
from ddnn.errors import BadInput
from ddnn_lab.benchmarks.training import main

ROOT = Path(ddnn.__file__).parents[2]


@pytest.mark.long
def test_two_checkouts_are_measured_by_turns(tmp_path: Path) -> None:
    tiny = tmp_path / "tiny.toml"
    tiny.write_text("[network.device]\nfilters = [4]\n[training]\nbatch = 256\n")
    main("synthetic", ROOT, tmp_path, config=[str(tiny)], epochs=1, events=100, rounds=1, busy=1)
    found = json.loads((tmp_path / "training.json").read_text())
    assert [row["given"] for row in found["rows"]] == ["torch's default", "one"]
    one = found["rows"][1]
    assert one["now"]["threads"] == [1]
    assert one["now"]["score"] == one["before"]["score"]
    assert "| one |" in (tmp_path / "training.md").read_text()


def test_a_folder_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a checkout of ddnn"):
        main("synthetic", tmp_path, tmp_path)
