"""The fault matrix over mutual TLS: the core of it, judged as without."""

from collections.abc import Iterator

import pytest

from ddnn_lab.faults.soaking import Rig


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    site = tmp_path_factory.mktemp("site")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(site / "authority.pem"))
        with Rig.of(tmp_path_factory.mktemp("bundles"), identity=site) as rig:
            yield rig


@pytest.mark.parametrize(
    ("trouble", "target"),
    [
        ("killed", "edge"),
        ("paused", "cloud"),
        ("hangs", "device-1"),
        ("garbage", "edge"),
        pytest.param("nonsense", "cloud", marks=pytest.mark.long),
        ("slow", "cloud"),
        pytest.param("flaps", "cloud", marks=pytest.mark.long),
        ("cut up", "cloud"),
        pytest.param("cut down", "edge", marks=pytest.mark.long),
        ("clock +1 h", "edge"),
    ],
)
def test_no_request_is_lost_and_no_answer_is_silently_worse_over_mutual_tls(
    rig: Rig, trouble: str, target: str
) -> None:
    verdict = rig.trial(trouble, target)
    assert not verdict.lost
    assert not verdict.wrong
    assert verdict.asked


def test_nothing_is_left_behind(rig: Rig) -> None:
    assert not rig.leaks()
