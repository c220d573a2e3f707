"""`ddnn tune --fleet`: the wait that devices need which were late at a running edge."""

import pytest

from ddnn.cli.tune import _needed_wait
from ddnn.errors import BadInput
from ddnn.fleet import status
from ddnn.fleet.status import TierStatus


def tier(url: str, late: dict[str, float] | None) -> TierStatus:
    return TierStatus(url, url, {"late": late}, 1.0)


def test_it_is_what_the_latest_edge_needs_and_no_less_than_the_policys(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"http://a": None, "http://b": {"keeps_ms": 1010.0}}
    monkeypatch.setattr(status, "read_statuses", lambda urls: [tier(url, found[url]) for url in urls])
    assert _needed_wait(["http://a"], 150.0) == 150.0
    assert _needed_wait(["http://a,http://b"], 150.0) == 1010.0
    assert _needed_wait(["http://b"], 2000.0) == 2000.0


def test_an_edge_that_does_not_answer_is_a_sentence() -> None:
    with pytest.raises(BadInput, match=r"127\.0\.0\.1:9: nothing listens there; expected a running edge"):
        _needed_wait(["http://127.0.0.1:9"], 150.0)
