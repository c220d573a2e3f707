"""Commands whose output is not UTF-8, or closed: what they say changes, and nothing else."""

import os
import subprocess
import sys

import pytest

from ddnn.fleet.processes import LocalFleet
from warm_start import run

UP = ("up", "--once", "--count", "2", "--base-port", "0")


@pytest.mark.parametrize(
    "encoding", ["ascii", "utf-8", *(pytest.param(each, marks=pytest.mark.long) for each in ("latin-1", "cp1252"))]
)
@pytest.mark.parametrize("command", ["status", "play", "infer", "doctor", "policy show"])
def test_a_command_says_what_it_can_in_any_encoding(served: LocalFleet, encoding: str, command: str) -> None:
    where = ["--base-port", str(served.members["cloud"].port)]
    if command in ("play", "infer"):
        where = [part for url in served.device_urls for part in ("--device", url)]
    elif command != "policy show":
        # Golden events are not asked: other tests give the fleet policies that the bundle does not have.
        asked = [name for name in served.members if command != "doctor" or not name.startswith("device")]
        where = [part for name in asked for part in ("--url", served.members[name].url)]
    extra = ["--bundle", str(served.bundle.path)] if command == "infer" else []
    extra = [str(served.bundle.path), "--count", "2"] if command == "play" else extra
    extra = [str(served.bundle.path)] if command == "doctor" else extra
    ended = run("ddnn", *command.split(), *extra, *where, text=False, env={"PYTHONIOENCODING": encoding})
    assert (ended.returncode, ended.stderr) == (0, b""), ended.stdout.decode(encoding)
    assert ended.stdout
    if command == "play":
        seen = {"utf-8": "●●●●●●".encode()}.get(encoding, b"######")
        assert seen in ended.stdout


@pytest.mark.long
@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_fleet_comes_up_plays_and_ends_in_any_encoding(encoding: str) -> None:
    ended = run("ddnn", *UP, text=False, env={"PYTHONIOENCODING": encoding})
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"######" in ended.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_a_closed_output_is_no_error(served: LocalFleet, closed: str) -> None:
    devices = " ".join(f"--device {url}" for url in served.device_urls)
    command = f"{sys.executable} -m ddnn infer --bundle {served.bundle.path} {devices} {closed}"
    env = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    ended = subprocess.run(["sh", "-c", command], env=env, capture_output=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_a_path_that_is_no_text_is_named_all_the_same() -> None:
    ended = run("ddnn", "doctor", os.fsdecode(b"/nowhere/\xff"), "--bundle-only")
    assert "Traceback" not in ended.stderr + ended.stdout
    assert "/nowhere/?" in ended.stderr + ended.stdout
