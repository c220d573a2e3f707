"""Golden events through a fleet whose tiers are well, but joined wrongly."""

import io
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest
from rich.console import Console

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.fleet.diagnostics import Finding, check_answers, check_fleet, smoke_test
from ddnn.fleet.processes import LocalFleet
from ddnn.fleet.status import TierStatus, print_statuses, read_statuses

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def fleet(tiny_bundle: Bundle) -> Iterator[LocalFleet]:
    with LocalFleet(tiny_bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready()
        yield fleet


def statuses(fleet: LocalFleet, **instead: str) -> list[TierStatus]:
    urls = {name: member.url for name, member in fleet.members.items()}
    return read_statuses({**urls, **{name.replace("_", "-"): url for name, url in instead.items()}})


def answers(found: list[TierStatus], bundle: Bundle) -> Finding:
    """What is found of the answers, where every tier by itself is well."""
    assert not [finding for finding in check_fleet(found, bundle) if finding.verdict != "ok"]
    (finding,) = check_answers(found, bundle)
    return finding


def test_a_sound_fleet_answers_as_offline(fleet: LocalFleet, tiny_bundle: Bundle) -> None:
    assert len(smoke_test(fleet.device_urls, tiny_bundle)) == 12
    assert answers(statuses(fleet), tiny_bundle).verdict == "ok"


def test_a_tier_that_is_refused_is_told_so_and_what_to_do() -> None:
    uplink = {"circuit": "closed", "refusal": "http://127.0.0.1:8001 answered 403: device-3 was revoked"}
    status = {"tier": "device", "index": 3, "ready": True, "uplink": uplink}
    (finding,) = check_fleet([TierStatus("device-3", "http://127.0.0.1:8013", status, 1.0)], None)
    assert (finding.verdict, finding.found.split(": ")[-1]) == ("warning", "device-3 was revoked")
    assert "`ddnn identity issue SITE device 3`" in finding.advice


def test_a_tier_above_that_is_silent_is_told_before_an_event_has_to_go_up() -> None:
    policy = {"version": 1, "followed_s_ago": 12.4, "not_followed_because": "http://127.0.0.1:8000 is unreachable"}
    uplink = {"circuit": "closed", "urls": ["http://127.0.0.1:8000"]}
    status = {"tier": "edge", "index": 0, "ready": True, "uplink": uplink, "policy": policy}
    tier = TierStatus("edge", "http://127.0.0.1:8001", status, 1.0)
    finding = next(iter(check_fleet([tier], None)))
    assert finding.verdict == "warning"
    assert "has not heard of http://127.0.0.1:8000 for 12 s" in finding.found
    out = io.StringIO()
    print_statuses([tier], Console(file=out, width=200))
    assert "silent 12 s" in out.getvalue()


def test_a_fleet_that_speaks_tls_is_advised_to_be_trusted(tiny_bundle: Bundle, tmp_path: Path) -> None:
    site = tmp_path / "site"
    with LocalFleet(tiny_bundle.path, base_port=0, identity=site) as fleet:
        until = monotonic() + 60
        while (found := next(iter(check_fleet(read_statuses([fleet.cloud_url]), None)))).found.endswith(
            "listens there"
        ):
            assert monotonic() < until
        assert "its certificate is of an authority that is not trusted here" in found.found
        assert "SSL_CERT_FILE=SITE/authority.pem" in found.advice
        plain = fleet.cloud_url.replace("https:", "http:")
        (found,) = check_fleet(read_statuses([plain]), None)
        assert "https://" in found.advice


def test_swapped_devices_are_found(fleet: LocalFleet, tiny_bundle: Bundle) -> None:
    with pytest.raises(BadInput, match="is device 5; expected device 4"):
        smoke_test([*fleet.device_urls[:4], fleet.device_urls[5], fleet.device_urls[4]], tiny_bundle)
    swapped = statuses(fleet, device_4=fleet.device_urls[5], device_5=fleet.device_urls[4])
    finding = answers(swapped, tiny_bundle)
    assert (finding.verdict, bool(finding.advice)) == ("failed", True)
    assert "is device 5; expected device 4" in finding.found


def test_a_device_below_something_else_is_found(fleet: LocalFleet, tiny_bundle: Bundle) -> None:
    right = fleet.members["device-1"].upstream
    fleet.terminate("device-1")
    fleet.members["device-1"].upstream = fleet.cloud_url
    try:
        fleet.start("device-1")
        fleet.wait_until_ready()
        finding = answers(statuses(fleet), tiny_bundle)
        assert finding.verdict == "failed"
        assert "12 of 12 golden events came back otherwise than offline" in finding.found or (
            "was sent to devices 0, 1, 2, 3, 4, 5 and came back from 0, 2, 3, 4, 5" in finding.found
        )
    finally:
        fleet.terminate("device-1")
        fleet.members["device-1"].upstream = right
        fleet.start("device-1")
        fleet.wait_until_ready()
