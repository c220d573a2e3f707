"""The audit trail: it tells who did what, shows every change, and holds nothing up."""

import json
import os
import subprocess
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.errors import BadConfig, BadInput
from ddnn.policy import Thresholds
from ddnn.trail import Trail, append, verify
from ddnn_lab.in_process import Fleet
from warm_start import run

ADMIN = "may-write-the-policy"


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A trail of five entries, by two processes one after the other."""
    file = tmp_path / "audit-edge-0.jsonl"
    for count in (2, 3):
        trail = Trail(file, "edge")
        trail.start()
        for number in range(count):
            trail.note("policy", "admin 10.0.0.1", version=number, etag='"ü"')
        trail.close()
        assert (trail.written, trail.dropped) == (count, 0)
    return file


def test_a_trail_goes_on_where_it_ended(file: Path) -> None:
    found = verify(file)
    assert (found.entries, found.problem) == (5, "")
    assert [line["n"] for line in lines(file)] == [1, 2, 3, 4, 5]
    assert found.head == lines(file)[-1]["hash"]
    later = Trail(file, "edge")
    assert later.head == found.head
    later.close()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('"version":1', '"version":7', "line 2: it was changed after it was written"),
        ('"who":"admin 10.0.0.1"', '"who":"admin 10.0.0.2"', "line 1: it was changed after it was written"),
        ('{"at"', '{ "at"', "line 1: it was changed after it was written"),
        ('"n":3', '"n":4', "line 3: it has the number 4; expected 3"),
        ('"version":0', '"version":0,"version":0', "line 1: it was changed"),
        ('"what"', '"whom"', "line 1: it is no entry"),
    ],
)
def test_a_changed_line_is_found(file: Path, old: str, new: str, problem: str) -> None:
    file.write_text(file.read_text().replace(old, new, 1))
    found = verify(file)
    assert problem in found.problem
    assert found.entries == int(problem[5]) - 1


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        ([0, 1, 3, 4], "line 3: it has the number 4; expected 3: lines are missing"),
        ([1, 2, 3, 4], "line 1: it has the number 2; expected 1"),
        ([0, 0, 1, 2, 3, 4], "line 2: it has the number 1; expected 2"),
        ([0, 2, 1, 3, 4], "line 2: it has the number 3"),
    ],
)
def test_lines_that_were_taken_away_added_or_swapped_are_found(file: Path, kept: list[int], problem: str) -> None:
    was = file.read_text().splitlines(keepends=True)
    file.write_text("".join(was[number] for number in kept))
    assert verify(file).problem.startswith(problem)


def test_what_was_cut_off_or_written_anew_shows_by_a_hash_that_was_kept(file: Path, tmp_path: Path) -> None:
    head = verify(file).head
    assert verify(file, head).held
    file.write_text("".join(file.read_text().splitlines(keepends=True)[:3]))
    assert (verify(file).problem, verify(file, head).held) == ("", False)
    append(tmp_path / "anew.jsonl", "edge", "nobody", "policy")
    assert not verify(tmp_path / "anew.jsonl", head).held


def test_half_a_line_of_a_power_cut_is_taken_away_and_any_other_end_is_refused(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"at":"20')
    Trail(file, "edge").close()
    assert file.read_bytes() == whole
    file.write_bytes(whole + b"something else\n")
    with pytest.raises(BadConfig, match="does not end in a line of a trail"):
        Trail(file, "edge")


def test_two_processes_do_not_write_one_trail(file: Path) -> None:
    first = Trail(file, "edge")
    with pytest.raises(BadConfig, match="another process writes there"):
        Trail(file, "edge")
    first.close()
    Trail(file, "edge").close()


def test_refusals_alike_are_one_entry_and_their_kinds_are_bounded(tmp_path: Path) -> None:
    trail = Trail(tmp_path / "audit.jsonl", "edge")
    for number in range(1000):
        trail.refused("UNAUTHORIZED", "10.0.0.9")
        trail.refused("BAD_INPUT", f"10.0.{number // 256}.{number % 256}")
    trail.close()
    entries = lines(tmp_path / "audit.jsonl")
    assert entries[0]["what"] == {"kind": "UNAUTHORIZED", "times": 1000}
    assert sum(entry["what"]["times"] for entry in entries) == 2000
    assert len(entries) == 257
    assert entries[-1]["who"] == "others"


def test_a_disk_that_hangs_holds_nothing_up_and_what_is_lost_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, asked = Event(), Event()

    def hang(_: int) -> None:
        asked.set()
        disk.wait(30)

    monkeypatch.setattr(os, "fsync", hang)
    trail = Trail(tmp_path / "audit.jsonl", "edge")
    trail.start()
    trail.note("start", "system")
    assert asked.wait(30)
    for number in range(3000):
        trail.note("policy", "admin", version=number)  # would hang here, were it written by this thread
    assert trail.dropped == 3000 - 1024
    disk.set()
    trail.close()
    found = verify(tmp_path / "audit.jsonl")
    assert (found.entries, found.problem) == (1025, "")


def test_a_full_disk_loses_entries_and_not_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trail = Trail(tmp_path / "audit.jsonl", "edge")
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        trail.start()
        trail.note("start", "system")
        while not trail.dropped:
            pass
    trail.note("policy", "admin")
    trail.close()
    assert (verify(tmp_path / "audit.jsonl").entries, trail.dropped) == (1, 1)


async def test_the_trail_tells_who_changed_what_and_who_was_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    settings = {"audit_dir": tmp_path, "admin_token": ADMIN, "token": "callers-of-this-one"}
    fleet = Fleet(Bundle.open(tiny_bundle.path), settings=settings, devices=[0])
    fleet.start()
    for app in fleet.switch.apps.values():
        app.state.service.start()
    document = fleet.switch.apps["cloud"].state.service.policy.model_dump(mode="json")
    document["thresholds"] = Thresholds(local=0.125).model_dump()
    async with fleet.client("cloud") as client:
        own = {"authorization": f"Bearer {ADMIN}"}
        assert (await client.put("/v2/policy", json=document, headers={"authorization": "Bearer x"})).status_code == 403
        assert (await client.put("/v2/policy?dry_run=true", json=document, headers=own)).status_code == 200
        changed = (await client.put("/v2/policy", json=document, headers=own)).json()
        assert (await client.post("/v2/policy/rollback", headers=own)).status_code == 200
    edge = fleet.switch.apps["edge"].state.service
    await edge.follower.poll()
    assert (await fleet.post("device-0", {"view": np.zeros((1, 1), np.float32)})).status_code == 401
    status = edge.status()["audit_trail"]
    await fleet.close()
    cloud, below, device = (lines(tmp_path / f"audit-{name}-0.jsonl") for name in ("cloud", "edge", "device"))
    assert [(entry["did"], entry["who"]) for entry in cloud] == [
        ("start", "system"),
        ("policy tried", "admin 127.0.0.1"),
        ("policy", "admin 127.0.0.1"),
        ("policy", "admin 127.0.0.1"),
        ("stop", "system"),
        ("refused", "127.0.0.1"),
    ]
    assert cloud[0]["what"]["bundle"]["fingerprint"] == tiny_bundle.fingerprint
    assert (cloud[2]["what"]["etag"], cloud[2]["what"]["before"]) == (changed["etag"], changed["previous"])
    assert cloud[-1]["what"] == {"kind": "FORBIDDEN", "times": 1}
    assert ("policy", "http://cloud") in [(entry["did"], entry["who"]) for entry in below]
    assert device[-1]["what"] == {"kind": "UNAUTHORIZED", "times": 1}
    assert not [name for name in ("cloud", "edge", "device") if verify(tmp_path / f"audit-{name}-0.jsonl").problem]
    assert status["dropped"] == 0
    assert "callers-of-this-one" not in json.dumps([cloud, below, device])


def test_the_command_says_the_last_hash_or_what_is_wrong(file: Path) -> None:
    def told(*args: str) -> subprocess.CompletedProcess[str]:
        return run("ddnn", "audit", "verify", str(file), *args)

    good = told()
    assert (good.returncode, good.stdout.splitlines()[-1]) == (0, verify(file).head)
    assert told("--holds", "f" * 64).returncode == 1
    file.write_text(file.read_text().replace("10.0.0.1", "10.0.0.2", 1))
    bad = told("--json")
    assert (bad.returncode, json.loads(bad.stdout)["problem"]) == (1, "line 1: it was changed after it was written")
    file.write_bytes(b"")
    empty = told("--json")
    assert (empty.returncode, json.loads(empty.stdout)["problem"][:18]) == (1, "it has no entry; a")
    file.unlink()
    assert told().returncode == 2
    with pytest.raises(BadInput, match="cannot be read"):
        verify(file)
