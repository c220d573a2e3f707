"""Audits where the cloud takes views: of all devices that took part, features and view are asked for."""

from collections.abc import AsyncIterator

import pytest

from ddnn.bundle import Bundle
from ddnn.policy import Audits, Thresholds
from ddnn.types import Exit
from ddnn_lab.in_process import Fleet
from networks import make_bundle
from shared.serving.test_audits import audited, counted

ALL = Audits(share=1.0, per_second=1000, burst=1000)
ROWS = slice(0, 6)


@pytest.fixture(scope="module", params=[False, True], ids=["views", "views and scores"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    cloud = {"takes": "views", "views": 2, "filters": (4,), "flat": False, "halve": "all", "mix": request.param}
    return make_bundle(tmp_path_factory.mktemp("bundles") / "views", devices=3, cloud=cloud)


@pytest.fixture
async def fleet(bundle: Bundle) -> AsyncIterator[Fleet]:
    fleet = Fleet(Bundle.open(bundle.path))
    fleet.start()
    yield fleet
    await fleet.close()


@pytest.mark.parametrize("exit", [Exit.LOCAL, Exit.EDGE])
async def test_a_sure_answer_is_compared_with_what_the_cloud_makes_of_the_views(fleet: Fleet, exit: Exit) -> None:
    thresholds = Thresholds(local=float(exit is Exit.LOCAL), edge=1.0)
    fleet.use(thresholds=thresholds)
    plain = await fleet.see(rows=ROWS, name="plain")
    fleet.use(thresholds=thresholds, audits=ALL)
    answers = await fleet.see(rows=ROWS, name="audited")
    assert [[a.label for a in rows] for rows in answers] == [[a.label for a in rows] for rows in plain]
    assert {answer.exit for rows in answers for answer in rows} == {exit}
    golden = fleet.bundle.golden
    said, cloud = (golden[f"{each}_scores"][ROWS].reshape(6, -1).argmax(axis=1) for each in (exit, Exit.CLOUD))
    seen = golden["present"][ROWS].any(axis=1)
    expected: dict[tuple[str, ...], int] = {}
    for same in (said == cloud)[seen].tolist():
        key = (exit.value, "same" if same else "different")
        expected[key] = expected.get(key, 0) + 1
    assert await audited(fleet, int(seen.sum())) == expected
    assert counted(fleet, "ddnn_audit_bytes")[("up",)] > 0
