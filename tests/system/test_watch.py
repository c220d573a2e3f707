"""`ddnn watch` beside a real fleet: folders that fill are events, a line each."""

import json
import subprocess
import sys
from pathlib import Path

from ddnn.fleet.processes import LocalFleet
from photographs import jpeg, put
from warm_start import POPEN, run

COUNT = 3


def test_folders_that_fill_are_answered_line_by_line(served: LocalFleet, tmp_path: Path) -> None:
    folders = [tmp_path / f"camera-{index}" for index in range(6)]
    for folder in folders:
        folder.mkdir()
    command = [sys.executable, "-m", "ddnn", "watch", *map(str, folders), "--device", ",".join(served.device_urls)]
    command += ["--json", "--count", str(COUNT), "--rate", "2", "--site", "door", "--deadline-ms", "5000"]
    process = POPEN(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for number in range(600):
        for index, folder in enumerate(folders):
            put(folder, f"{number}.jpg", jpeg(index))
        try:
            process.wait(timeout=0.1)
            break
        except subprocess.TimeoutExpired:
            continue
    out, err = process.communicate(timeout=10)
    assert process.returncode == 0, err
    *events, totals = map(json.loads, out.splitlines())
    assert len(events) == COUNT
    assert all(event["event"].startswith("door-") for event in events)
    assert any(event["views"] == [True] * 6 for event in events)
    assert {event["class"] for event in events} <= set("0123456789")
    assert totals["events"] >= COUNT
    assert totals["failed"] == 0
    assert totals["surplus"] > 0, "ten a second came, two a second were asked for"


def test_a_flag_that_does_not_fit_is_a_sentence(tmp_path: Path) -> None:
    done = run("ddnn", "watch", str(tmp_path), "--device", "http://a,http://b")
    assert done.returncode == 2
    assert done.stderr == "error: 1 sources for 2 devices; expected one each\n"
