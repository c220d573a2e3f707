"""Tokens: data, admin and metrics, each for something else."""

from collections.abc import AsyncIterator

import pytest

from ddnn.bundle import Bundle
from ddnn.errors import BadConfig
from ddnn.settings import Settings
from ddnn_lab.in_process import INFER, Fleet

DATA, ADMIN, METRICS = "data-of-all-callers", "admin-of-this-site", "metrics-for-scraper"
READ = ["/metrics", "/v2/status", "/v2/policy", "/v2/models/ddnn/stats", "/v2/models/ddnn/versions/1/stats"]
OPEN = ["/livez", "/readyz", "/v2/health/ready", "/v2", "/v2/models/ddnn", "/openapi.json"]


@pytest.fixture
async def guarded(tiny_bundle: Bundle) -> AsyncIterator[Fleet]:
    settings = {"token": DATA, "admin_token": ADMIN, "metrics_token": METRICS}
    fleet = Fleet(Bundle.open(tiny_bundle.path), settings=settings, devices=[0])
    fleet.start()
    yield fleet
    await fleet.close()


@pytest.mark.parametrize(
    ("token", "reads", "infers", "writes"),
    [
        ("", 401, 401, 401),
        (METRICS, 200, 401, 403),
        (DATA, 200, 400, 403),
        (ADMIN, 200, 401, 400),
        ("x", 401, 401, 403),
    ],
)
async def test_each_token_is_for_something_else(
    guarded: Fleet, token: str, reads: int, infers: int, writes: int
) -> None:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    async with guarded.client("cloud") as client:
        for method in ("GET", "HEAD"):
            assert {path: (await client.request(method, path, headers=headers)).status_code for path in READ} == (
                dict.fromkeys(READ, reads)
            )
        assert {(await client.get(path, headers=headers)).status_code for path in OPEN} == {200}
        assert (await client.post(INFER, content=b"{}", headers=headers)).status_code == infers
        assert (await client.put("/v2/policy", content=b"[]", headers=headers)).status_code == writes


async def test_tiers_follow_a_policy_that_is_read_by_token(guarded: Fleet) -> None:
    follower = guarded.switch.apps["edge"].state.service.follower
    await follower.poll()
    assert follower.problem == ""


def test_tokens_differ() -> None:
    with pytest.raises(BadConfig, match="DDNN_METRICS_TOKEN cannot be a token: it is DDNN_ADMIN_TOKEN"):
        Settings.load(token=DATA, admin_token=ADMIN, metrics_token=ADMIN)
