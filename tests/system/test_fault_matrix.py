"""The fault matrix, short: real processes over links, every kind of trouble, every answer judged.

`shared/ddnn_lab/benchmarks/faults.py` lets every trouble befall every tier, and measures how long things take.
"""

from collections.abc import Iterator

import pytest

from ddnn_lab.faults.soaking import Rig

# `make test` has its core over mutual TLS, and that of HTTP.
pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=["stream", "http"])
def rig(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Rig]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DDNN_UPLINK__TRANSPORT", request.param)
        with Rig.of(tmp_path_factory.mktemp("bundles")) as rig:
            yield rig


@pytest.mark.parametrize(
    ("trouble", "target"),
    [
        ("killed", "edge"),
        ("paused", "device-1"),
        ("paused", "cloud"),
        ("refuses", "edge"),
        ("hangs", "device-1"),
        ("garbage", "edge"),
        ("garbage", "device-1"),
        ("nonsense", "cloud"),
        ("error 500", "edge"),
        ("slow", "cloud"),
        ("flaps", "cloud"),
        ("cut up", "cloud"),
        ("cut down", "edge"),
        ("56 kbit/s", "device-1"),
        ("other bundle", "cloud"),
        ("clock +1 h", "edge"),
        ("disk full", "device-1"),
    ],
)
def test_no_request_is_lost_and_no_answer_is_silently_worse(rig: Rig, trouble: str, target: str) -> None:
    verdict = rig.trial(trouble, target)
    assert not verdict.lost
    assert not verdict.wrong
    assert verdict.asked


def test_a_silent_cloud_is_held_off_by_its_circuit(rig: Rig) -> None:
    verdict = rig.trial("hangs", "cloud", opens=True)
    assert not verdict.faults
    assert set(verdict.reasons) <= {"timeout", "deadline", "unreachable", "circuit_open"}


def test_nothing_is_left_behind(rig: Rig) -> None:
    assert not rig.leaks()
