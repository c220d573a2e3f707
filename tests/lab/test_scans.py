"""What `python -m ddnn_lab.benchmarks.scan` sends, and what it says of a fleet that holds."""

import json
from pathlib import Path
from random import Random

import pytest
import typer

from ddnn.bundle import shipped_bundle
from ddnn.errors import BadInput
from ddnn.stream.asks import AskReader
from ddnn.stream.frames import Cut, Up
from ddnn_lab.benchmarks import scan
from ddnn_lab.scans.held import Held
from ddnn_lab.scans.scanners import SCANNERS, Scanner
from ddnn_lab.scans.spoil import spoiled
from ddnn_lab.scans.streams import WAYS, right_frames

URLS = {name: "https://127.0.0.1:1" for name in ("cloud", "edge", *(f"device-{n}" for n in range(6)))}


def test_bytes_are_spoiled_by_chance_that_can_be_repeated() -> None:
    whole = bytes(range(256))
    found = [spoiled(whole, Random(seed)) for seed in range(200)]
    assert found == [spoiled(whole, Random(seed)) for seed in range(200)]
    assert sum(each == whole for each in found) < 20
    assert {len(each) < len(whole) for each in found} == {True, False}
    assert spoiled(b"", Random(0)) is not None


@pytest.mark.parametrize("tier", ["edge", "cloud"])
def test_streams_are_right_or_wrong_as_their_way_says(tier: str, tmp_path: Path) -> None:
    """Read as a tier reads them: a reader raises nothing but `BadInput`."""
    held, outcome = Held(tmp_path, shipped_bundle(), URLS, "", ""), dict.fromkeys(WAYS, 0)
    for way, write in WAYS.items():
        for seed in range(20):
            chance, cut, reader = Random(seed), Cut(1 << 23), AskReader(4096)
            try:
                for kind, payload in cut.feed(b"".join(write(right_frames(held, tier, chance), chance))):
                    if kind & 15 == Up.DESCRIBE:
                        reader.describe(payload)
                    elif kind & 15 == Up.ASK:
                        reader.read(kind, payload)
            except BadInput:
                outcome[way] += 1
    assert {way for way, refused in outcome.items() if not refused} >= {"right", "pings", "cancelled", "reports"}
    assert all(outcome[way] for way in ("bytes spoiled", "one frame spoiled", "oversized", "noise"))


@pytest.mark.slow
@pytest.mark.long
def test_a_fleet_holds_and_the_page_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "")
    monkeypatch.setattr(scan, "_ALONE_S", 1.0)
    monkeypatch.setitem(
        SCANNERS, "sslyze", Scanner("none", ("edge",), lambda held, tier, seconds: [], "", "pip install none")
    )
    with pytest.raises(typer.Exit) as ended:
        scan.main(out=tmp_path, minutes=0.2, rate=5.0, only="bodies,streams,handshakes,sslyze")
    assert ended.value.exit_code == 0
    rows = json.loads((tmp_path / "scan.json").read_text())["rows"]
    assert [row["faults"] for row in rows if not row["skipped"]] == [[]] * 8
    assert all(row["honest"]["answered"] == row["honest"]["events"] > 0 for row in rows if not row["skipped"])
    assert {row["scan"]: row["back"]["answered"] > 0 for row in rows if row["scan"] == "streams"} == {"streams": True}
    page = (tmp_path / "scan.md").read_text()
    assert "| streams | edge |" in page
    assert "sslyze: skipped, as none is not installed: `pip install none`" in page
