"""The command line as a whole: what it registers, how it fails, how quick it is to say so."""

import importlib
import io
import json
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ddnn.bundle import Bundle
from ddnn.fleet.addresses import local_addresses
from ddnn.fleet.processes import LocalFleet
from warm_start import run

pytestmark = pytest.mark.slow

COMMANDS = {
    "cost",
    "doctor",
    "drift",
    "evaluate",
    "export",
    "infer",
    "plan",
    "play",
    "profile",
    "record",
    "search",
    "serve",
    "sign",
    "status",
    "train",
    "tune",
    "up",
    "verify",
    "watch",
}


def ddnn(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `ddnn` as a person would."""
    return run("ddnn", *arguments)


@pytest.fixture(scope="module")
def fleet(tiny_bundle: Bundle) -> Iterator[LocalFleet]:
    """The tiny bundle, up."""
    with LocalFleet(tiny_bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready()
        yield fleet


def devices(fleet: LocalFleet) -> list[str]:
    """Flags that say where the devices of `fleet` and its bundle are."""
    return ["--device", ",".join(fleet.device_urls)]


def urls(fleet: LocalFleet) -> list[str]:
    """Flags that say where all tiers of `fleet` are."""
    return [part for member in fleet.members.values() for part in ("--url", member.url)]


def test_all_commands_are_there() -> None:
    from ddnn.cli.app import app

    assert {command.callback.__name__ for command in app.registered_commands if command.callback} == COMMANDS


def test_help_and_version_load_nothing_heavy() -> None:
    code = (
        "import sys\nsys.argv = ['ddnn', '--version']\nfrom ddnn.cli.app import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('numpy', 'onnxruntime', 'fastapi', 'torch', 'httpx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    version, heavy = done.stdout.splitlines()
    assert version.startswith("ddnn ")
    assert heavy == "[]"


def test_a_damaged_bundle_is_a_sentence_and_exit_code_two(copied_bundle: Path) -> None:
    file = copied_bundle / "edge.onnx"
    file.write_bytes(file.read_bytes()[1:])
    done = ddnn("up", str(copied_bundle), "--base-port", "0", "--once")
    assert done.returncode == 2
    assert done.stderr.startswith("error: edge.onnx: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "code", "says"),
    [
        ("up grocery7 --once", 2, "or one that ships: grocery6 or mnist5k"),
        ("tune grocery6 mnist5k --write", 2, "comes with the package"),
        ("infer {text}", 2, "is no JPEG, PNG or WebP, whatever its name says"),
        ("deploy slice", 2, "--tier"),
        ("deploy watch {out} --host nosuch..host", 2, "expected an IP address, or a name"),
        ("play --base-port 1 --count 1", 1, "No tier answers"),
        ("rollout status --base-port 1", 1, "cannot be reached (connection refused)"),
        ("rollout abort --base-port 1", 2, "needs the admin token"),
    ],
)
def test_what_cannot_be_is_a_sentence_and_the_exit_code_says_whether_other_input_would_mend_it(
    tmp_path: Path, command: str, code: int, says: str
) -> None:
    (tmp_path / "x.jpg").write_text("no photograph")
    done = ddnn(*command.format(text=tmp_path / "x.jpg", out=tmp_path).split())
    assert done.returncode == code, done.stderr
    assert says in " ".join(done.stderr.replace("│", " ").split())
    assert "aiohttp" not in done.stdout + done.stderr
    assert "ssl:default" not in done.stdout + done.stderr


def test_a_wrong_token_is_exit_code_two(fleet: LocalFleet) -> None:
    done = ddnn("rollout", "abort", "--url", fleet.cloud_url, "--admin-token", "not-the-admin-token")
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


@pytest.mark.long
def test_up_once_plays_and_ends_with_zero(tiny_bundle: Bundle) -> None:
    done = ddnn("up", str(tiny_bundle.path), "--base-port", "0", "--count", "5", "--once")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("= 5 events   accuracy ")


def test_play_prints_its_totals_as_json_alone(fleet: LocalFleet, tiny_bundle: Bundle, tmp_path: Path) -> None:
    healthy = tmp_path / "playing"
    lossy = ["--count", "12", "--drop", "0.5", "--jitter-ms", "5", "--rate", "50", "--health-file", str(healthy)]
    done = ddnn("play", str(tiny_bundle.path), *devices(fleet), *lossy, "--json")
    assert done.returncode == 0, done.stderr
    totals = json.loads(done.stdout)
    assert (totals["events"], totals["failed"]) == (12, 0)
    assert totals["raw_bytes_per_event"] < sum(spec.view.bytes for spec in tiny_bundle.topology.devices)
    assert healthy.exists()


def test_infer_answers_a_file_a_golden_event_and_saves_requests(
    fleet: LocalFleet, tiny_bundle: Bundle, tmp_path: Path
) -> None:
    where = ["--bundle", str(tiny_bundle.path), *devices(fleet), "--json"]
    (golden,) = json.loads(ddnn("infer", "--golden", "2", *where).stdout)
    assert golden["class"] in tiny_bundle.manifest.classes
    assert sum(golden["probabilities"]) == pytest.approx(1, abs=1e-4)

    views: dict[str, Any] = {f"X_{n}": tiny_bundle.golden[f"view_{n}"][:3] for n in range(6)}
    np.savez(tmp_path / "events.npz", **views)
    answers = json.loads(ddnn("infer", str(tmp_path / "events.npz"), *where).stdout)
    assert [len(answer["devices"]) for answer in answers] == [6, 6, 6]

    np.savez(tmp_path / "four.npz", **{name: views[name] for name in ("X_0", "X_2", "X_3", "X_5")})
    answers = json.loads(ddnn("infer", str(tmp_path / "four.npz"), *where).stdout)
    assert [answer["devices"][1] or answer["devices"][4] for answer in answers] == [False] * 3
    assert [answer["errors"] for answer in answers] == [{}] * 3
    assert [answer["absent"] for answer in answers] == [dict.fromkeys("14", "absent: it was shown nothing")] * 3
    shown = ddnn("infer", "--golden", "2", *where[:-1]).stdout
    assert f"answer    {golden['class']} {100 * max(golden['probabilities']):.1f} %" in shown
    assert f"{100 * golden['confidence']:.1f} % sure by the policy's criterion" in shown

    photographs = [str(file) for file in sorted((Path(__file__).parents[2] / "photographs").glob("*.jpg"))]
    (answer,) = json.loads(ddnn("infer", *photographs[:2], *where).stdout)
    assert answer["devices"] == [True, True, False, False, False, False]
    assert answer["class"] in tiny_bundle.manifest.classes
    assert "is no JPEG, PNG or WebP" in ddnn("infer", photographs[0], str(tmp_path / "four.npz"), *where).stderr
    assert "--data-binary" in ddnn("infer", photographs[0], "--save", str(tmp_path / "p"), *where[:2]).stderr

    saved = ddnn("infer", "--bundle", str(tiny_bundle.path), "--save", str(tmp_path / "saved")).stdout.split()
    assert [Path(file).name for file in saved] == [f"device-{n}.json" for n in range(6)]


def test_too_few_devices_are_counted(tiny_bundle: Bundle) -> None:
    done = ddnn("infer", "--bundle", str(tiny_bundle.path), "--device", "http://127.0.0.1:1")
    assert done.returncode == 2
    assert done.stderr == "error: 1 --device addresses given; the bundle has 6 devices\n"


def test_an_event_nobody_answers_is_a_sentence(tiny_bundle: Bundle) -> None:
    nowhere = ",".join(["http://127.0.0.1:1"] * 6)
    done = ddnn("infer", "--bundle", str(tiny_bundle.path), "--device", nowhere)
    assert done.returncode == 1
    assert done.stderr == "error: No tier answers. `ddnn up` starts a fleet.\n"
    done = ddnn("play", str(tiny_bundle.path), "--device", nowhere, "--count", "2", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["failed"] == 2


def test_status_and_doctor_agree_that_all_is_well(fleet: LocalFleet, tiny_bundle: Bundle) -> None:
    done = ddnn("status", *urls(fleet), "--json")
    assert done.returncode == 0, done.stderr
    tiers = json.loads(done.stdout)["tiers"]
    assert [tier["status"]["tier"] for tier in tiers] == ["cloud", "edge", *["device"] * 6]
    assert "policy version" in ddnn("status", *urls(fleet)).stdout

    done = ddnn("doctor", str(tiny_bundle.path), *urls(fleet), "--json")
    report = json.loads(done.stdout)
    assert report["ok"], [finding for finding in report["findings"] if finding["verdict"] == "failed"]
    assert done.returncode == 0
    assert all(finding["advice"] or finding["verdict"] == "ok" for finding in report["findings"])
    (answers,) = [finding for finding in report["findings"] if finding["check"] == "answers"]
    assert "12 golden events came back as they are offline" in answers["found"]

    some = [flag for flag in urls(fleet) if flag != fleet.device_urls[2]]
    some = [flag for place, flag in enumerate(some) if some[place : place + 2] != ["--url", "--url"]]
    report = json.loads(ddnn("doctor", str(tiny_bundle.path), *some, "--json").stdout)
    assert report["ok"]
    assert report["findings"][-1]["found"].startswith("not asked: 5 of 6 devices")
    passed = sum(finding["verdict"] == "ok" for finding in report["findings"])
    warnings = len(report["findings"]) - passed
    shown = ddnn("doctor", str(tiny_bundle.path), *some).stdout.splitlines()[-1]
    assert shown == f"{passed} passed, {warnings} warning{'s' if warnings > 1 else ''}"


def test_doctor_names_what_failed_and_what_to_do(copied_bundle: Path) -> None:
    (copied_bundle / "device-1.onnx").unlink()
    done = ddnn("doctor", str(copied_bundle), "--url", "http://127.0.0.1:1", "--json")
    assert done.returncode == 1
    failed = {
        finding["check"]: finding for finding in json.loads(done.stdout)["findings"] if finding["verdict"] == "failed"
    }
    assert "device-1.onnx: is missing" in failed["bundle"]["found"]
    assert "nothing listens there" in failed["http://127.0.0.1:1"]["found"]
    assert all(finding["advice"] for finding in failed.values())


def test_status_of_a_fleet_that_is_not_there_ends_with_one() -> None:
    done = ddnn("status", "--url", "http://127.0.0.1:1")
    assert done.returncode == 1
    assert "ddnn up" in done.stdout


def test_a_fleet_of_another_bundle_is_named_before_it_is_asked(fleet: LocalFleet, tiny_bundle: Bundle) -> None:
    for command, flag in (("infer", "--bundle"), ("play", "its BUNDLE")):
        done = ddnn(command, *devices(fleet))  # the shipped bundle
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: this fleet serves {tiny_bundle.manifest.name} (")
        assert done.stderr.endswith(f"; give {flag}\n")


def test_what_the_system_refuses_is_a_sentence_and_exit_code_two(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = ddnn("infer", "--save", str(tmp_path / "file" / "below"))
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {tmp_path / 'file' / 'below'}: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a full disk to write to")
def test_a_full_disk_is_a_sentence_and_exit_code_two() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "ddnn", "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (2, "error: no space left on device\n")


def test_closed_output_and_a_reader_that_left_are_no_traceback() -> None:
    for redirected in (">&- 2>&-", "| true"):
        command = f"{shlex.quote(sys.executable)} -m ddnn doctor --bundle-only --base-port 0 {redirected}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), redirected


def test_ctrl_c_while_the_command_line_is_loaded_ends_with_130() -> None:
    code = (
        "import sys\n"
        "class Interrupted:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'ddnn.cli':\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupted())\n"
        "from ddnn.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "")


@pytest.mark.long
def test_a_tier_that_hangs_is_told_from_one_that_is_not_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as hung:  # takes connections, answers nothing
        url = f"http://127.0.0.1:{hung.getsockname()[1]}"
        done = ddnn("status", "--url", url)
        assert done.returncode == 1
        assert f"{url}: it is up but does not answer; look at its log" in done.stdout
        assert "ddnn up" not in done.stdout
        assert "start the fleet" not in ddnn("doctor", "--url", url).stdout


def test_what_up_says_to_do_next_works_as_it_is(fleet: LocalFleet, tiny_bundle: Bundle) -> None:
    text = io.StringIO()
    say_where = importlib.import_module("ddnn.cli.run")._say_where  # the package's own name `up` is the function
    say_where(fleet, Console(file=text, width=80), "secret")
    shown = text.getvalue()
    (then,) = [line for line in shown.splitlines() if line.startswith("Then: ")]
    path = shlex.quote(str(tiny_bundle.path))
    assert f"ddnn infer --bundle {path} --base-port" in then
    assert f"ddnn play {path} --base-port" in then
    curl = shown[shown.index("curl ") : shown.index("Then: ")].replace("\\\n", " ")
    assert shlex.split(curl)[3:6] == ["-H", "Authorization: Bearer $DDNN_TOKEN", "-d"]
    assert Path(shlex.split(curl)[6].removeprefix("@")).is_file()


def test_what_may_be_left_out_has_one_pair_of_brackets() -> None:
    assert " infer [OPTIONS] [EVENT.npz | PHOTO]" in ddnn("infer", "--help").stdout


def test_a_named_bundle_says_how_many_tiers_to_look_for(tiny_bundle: Bundle) -> None:
    names = ["cloud", "edge", *(f"device-{n}" for n in range(6))]
    assert list(local_addresses(9000, tiny_bundle.topology)) == names
