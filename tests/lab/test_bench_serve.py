"""`ddnn bench serve`, as a person meets it."""

import json
import sys
from pathlib import Path

import pytest

from ddnn.bundle import Bundle
from ddnn.cli.app import main
from ddnn_lab.load.sweep import COLUMNS, cells

pytestmark = pytest.mark.slow


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ddnn", "bench", "serve", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.mark.long
def test_a_quick_study_starts_a_fleet_and_leaves_a_report(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_bundle: Bundle
) -> None:
    words = (str(tiny_bundle.path), "--quick", "--threshold", "0", "--out", str(tmp_path / "load"), "--json")
    assert run(monkeypatch, *words, "--link", "edge-cloud=2ms,10mbit") == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found == json.loads((tmp_path / "load" / "results.json").read_text())
    assert found["links"] == {"edge-cloud": "2ms,10000kbit"}
    assert [point["arrivals"]["clients"] for point in found["points"]] == [1, 4]
    assert all(point["answered"] and not point["errors"] for point in found["points"])
    for point in found["points"]:
        assert point["exit_share"] == {"cloud": 1.0}
        assert set(point["cpu_s"]) == {"client", "cloud", "edge", *(f"device-{n}" for n in range(6))}
        assert point["memory_bytes"]["cloud"] > 1 << 20
        assert min(point["passed_per_event"]["edge-cloud"].values()) > 0
        assert len(cells(point)) == len(COLUMNS)
    assert "1 at once: goodput" in captured.err
    report = (tmp_path / "load" / "report.md").read_text()
    assert "| 4 at once |" in report
    assert "edge-cloud bytes up / down" in report
    assert (tmp_path / "load" / "closed.png").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--rate", "a,b"), "--rate is 'a,b'; expected numbers such as 50,100,200"),
        (("--closed", "1.5"), "--closed is '1.5'; expected whole numbers such as 1,4,16"),
        (("--rate", "-1"), "the rate is -1"),
        (("--max-exit", "top"), "--max-exit is 'top'; expected one of device, local, edge, cloud"),
        (("--link", "cable=1ms"), "link is 'cable=1ms'"),
        (("--link", "edge-cloud=fast"), "'fast' is no part of one"),
        (("--fleet", "http://127.0.0.1:1"), "--fleet names 1 addresses; the bundle has 6 devices"),
        (("--fleet", ",".join(["http://127.0.0.1:1"] * 6)), "none of the addresses of --fleet answers"),
        (("--fleet", "http://127.0.0.1:1", "--link", "edge-cloud=1ms"), "without --fleet"),
    ],
)
def test_bad_input_is_a_sentence_and_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    assert run(monkeypatch, *words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert captured.err.count("\n") == 1
    assert sentence in captured.err
