"""A criterion or codec of one's own in a served tier: only from the modules that its settings list."""

import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

from ddnn.bundle import Bundle
from ddnn.errors import BadConfig
from ddnn.policy import Policy
from ddnn.seal import write_sealed
from ddnn.serving.service import Service
from ddnn_lab.in_process import Fleet
from networks import make_bundle

GINI = "foreign.criterion:gini"
ADMIN = {"authorization": "Bearer may-write-the-policy"}


def started(bundle: Bundle, *extensions: str, **settings: Any) -> Fleet:
    fleet = Fleet(bundle, settings={"admin_token": "may-write-the-policy", "extensions": extensions, **settings})
    fleet.start()
    return fleet


def service(fleet: Fleet, host: str) -> Service:
    found: Service = fleet.switch.apps[host].state.service
    return found


def changed(bundle: Bundle, **changes: Any) -> Policy:
    return bundle.policy.model_copy(update={"version": 2, **changes})


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was imported before is imported again, or is not."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "foreign"]:
        monkeypatch.delitem(sys.modules, name)


def test_a_bundle_whose_policy_names_a_module_that_is_not_listed_is_not_served(copied_bundle: Path) -> None:
    changed(Bundle.open(copied_bundle), criterion=GINI).write(copied_bundle)
    with pytest.raises(BadConfig, match=r"'foreign.criterion:gini' is an extension that DDNN_EXTENSIONS does not list"):
        started(Bundle.open(copied_bundle))
    assert "foreign.criterion" not in sys.modules
    fleet = started(Bundle.open(copied_bundle), "foreign")
    assert service(fleet, "cloud").policy.criterion == GINI


def test_a_bundle_whose_codec_is_not_listed_is_not_served(tmp_path: Path) -> None:
    small = {"filters": [4], "cut_filters": 2}
    bundle = make_bundle(tmp_path / "b", devices=2, device={**small, "cut_codec": "foreign.codec:Trits"})
    sys.modules.pop("foreign.codec", None)
    with pytest.raises(BadConfig, match=r"'foreign.codec:Trits' is an extension that DDNN_EXTENSIONS does not list"):
        started(bundle, "foreign.criterion")
    assert "foreign.codec" not in sys.modules


@pytest.mark.parametrize("query", [{}, {"dry_run": "true"}])
@pytest.mark.parametrize("name", [GINI, "os:getcwd", "no.such:thing"])
async def test_a_policy_that_names_another_module_is_refused_when_it_is_written(
    tiny_bundle: Bundle, name: str, query: dict[str, str]
) -> None:
    fleet = started(Bundle.open(tiny_bundle.path), "other")
    document = changed(tiny_bundle, criterion=name, tuned={"criterion": name}).model_dump(mode="json")
    async with fleet.client("cloud") as client:
        answer = await client.put("/v2/policy", content=orjson.dumps(document), headers=ADMIN, params=query)
    assert answer.status_code == 400
    assert f"{name!r} is an extension that DDNN_EXTENSIONS does not list; it is other" in answer.json()["error"]
    assert service(fleet, "cloud").policy.version == 1
    assert name.partition(":")[0] not in sys.modules or name.startswith("os")
    await fleet.close()


async def test_a_policy_from_above_is_not_followed_where_its_criterion_is_not_listed(tiny_bundle: Bundle) -> None:
    fleet = started(Bundle.open(tiny_bundle.path))
    service(fleet, "cloud").policy = changed(tiny_bundle, criterion=GINI)
    edge = service(fleet, "edge")
    assert edge.follower
    await edge.follower.poll()
    assert edge.policy.version == 1
    assert "DDNN_EXTENSIONS does not list" in str(edge.follower.problem)
    await fleet.close()


def test_a_policy_that_was_kept_is_not_taken_where_its_criterion_is_no_longer_listed(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    kept = changed(tiny_bundle, criterion=GINI).model_dump(mode="json")
    document = {"format": 1, "current": kept, "previous": None}
    write_sealed(tmp_path / "policy-cloud-0.json", document, seal="checksum")
    for extensions, version in (((), 1), (("foreign.criterion",), 2)):
        fleet = started(Bundle.open(tiny_bundle.path), *extensions, state_dir=tmp_path)
        assert service(fleet, "cloud").policy.version == version
