"""A tier as a process: what it loads, what it weighs, and how it ends when it cannot start."""

import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from ddnn.bundle import Bundle
from ddnn.fleet.processes import LocalFleet
from real_fleet import Sensors
from warm_start import run

MOST_RESIDENT = 150 << 20
NOT_SERVED = re.compile(r"/(torch|onnx|onnxscript|sklearn|scipy|mlxtend|pandas|matplotlib)/")


def serve(*args: str, **env: str) -> subprocess.CompletedProcess[str]:
    """`ddnn serve` that is expected to end by itself."""
    return run("ddnn", "serve", *args, env=env)


def check_refused(ended: subprocess.CompletedProcess[str], *words: str) -> None:
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1, ended.stderr
    for word in words:
        assert word in ended.stderr


def test_a_served_tier_loads_no_torch_and_stays_small(served: LocalFleet, sensors: Sensors) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LocalFleet, "popen", subprocess.Popen)  # what a tier imports by itself
        for name in ("device-0", "edge", "cloud"):
            served.terminate(name)
            served.start(name)
    served.wait_until_ready(seconds=120)
    sensors.until_whole()
    for row in range(50):
        sensors.see(slice(row, row + 1))
    sensors.see(slice(0, 256))
    for name in served.members:
        process = psutil.Process(served.pid(name))
        mapped = [each.path for each in process.memory_maps()]
        assert any("onnxruntime" in path for path in mapped)
        assert not [path for path in mapped if NOT_SERVED.search(path)]
        assert process.memory_info().rss < MOST_RESIDENT, name


def test_served_answers_are_those_of_the_golden_events(sensors: Sensors, every_exit: Bundle) -> None:
    answers = sensors.see(slice(None), max_exit="local")
    assert [answer.label for answer in answers] == every_exit.golden["local_scores"][:, 0].argmax(axis=-1).tolist()
    answers = sensors.see(slice(None), threshold=0.0)
    assert [answer.label for answer in answers] == every_exit.golden["cloud_scores"].argmax(axis=-1).tolist()


@pytest.mark.parametrize("tier", ["device", "edge", "cloud"])
def test_importing_a_tier_loads_nothing_of_training(tier: str) -> None:
    script = (
        f"import sys, ddnn_{tier}.app\n"
        "print(sorted({'torch', 'onnx', 'sklearn', 'scipy', 'mlxtend'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout.strip() == "[]"


def test_a_port_in_use_is_a_sentence_and_exit_code_2() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        check_refused(serve("cloud", "--port", str(port)), f"127.0.0.1:{port}", "free port")


@pytest.mark.parametrize(
    ("tier", "file"),
    [
        ("device", "manifest.json"),
        ("device", "device-0.onnx"),
        ("cloud", "golden.npz"),
    ],
)
def test_a_damaged_bundle_is_a_sentence_that_names_the_file_and_exit_code_2(
    tier: str, file: str, copied_bundle: Path
) -> None:
    content = bytearray((copied_bundle / file).read_bytes())
    content[len(content) // 2] ^= 0x01
    (copied_bundle / file).write_bytes(content)
    check_refused(serve(tier, "--bundle", str(copied_bundle), "--port", "0"), f"error: {file}: ")


def test_a_section_that_answers_otherwise_than_torch_did_is_refused(copied_bundle: Path) -> None:
    """Sealed again, so every byte verifies: only the self-test can tell."""
    shutil.copyfile(copied_bundle / "device-0.onnx", copied_bundle / "device-1.onnx")
    bundle = Bundle.open(copied_bundle)
    manifest = Bundle.seal(copied_bundle, bundle.manifest)
    bundle.policy.model_copy(update={"bundle": manifest.fingerprint}).write(copied_bundle)
    assert not np.array_equal(bundle.golden["device_scores"][:, 0], bundle.golden["device_scores"][:, 1])
    check_refused(
        serve("device", "--bundle", str(copied_bundle), "--index", "1"), "error: device-1.onnx: ", "golden event"
    )


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"DDNN_COLOUR": "red"}, ("DDNN_COLOUR", "is not a setting")),
        ({"DDNN_INDEX": "6"}, ("DDNN_INDEX is 6", "expected 0 to 5")),
        ({"DDNN_HOST": "no.such.host.invalid"}, ("no.such.host.invalid",)),
    ],
)
def test_an_impossible_setting_is_a_sentence_and_exit_code_2(env: dict[str, str], words: tuple[str, ...]) -> None:
    check_refused(serve("device", **{"DDNN_PORT": "0", **env}), *words)
