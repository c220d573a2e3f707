"""Administration: what is written is what was set, over the policy that was read, with the token that may."""

import json

import httpx
import pytest

from ddnn.client.admin import Admin
from ddnn.errors import DDNNError, Forbidden, StalePolicy
from ddnn.policy import Policy, Thresholds
from ddnn.wire import encode_error

RUNNING = Policy(bundle="b", version=3, thresholds=Thresholds(local=0.4))


class Tier:
    """Has a policy, counts and metrics; remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path == "/metrics":
            return httpx.Response(200, text="ddnn_in_flight 0\n")
        if request.method == "GET":
            return httpx.Response(200, json=RUNNING.model_dump(mode="json"))
        if request.headers.get("if-match", RUNNING.etag) != RUNNING.etag:
            error = StalePolicy("another has come into force")
            return httpx.Response(412, content=encode_error(error, request_id="r", tier="cloud"))
        return httpx.Response(200, json={"path": request.url.raw_path.decode(), "body": request.content.decode()})


@pytest.fixture
def tier() -> Tier:
    return Tier()


@pytest.fixture
def admin(tier: Tier) -> Admin:
    return Admin("http://cloud", "may-read", admin_token="may-write-the-policy", transport=httpx.MockTransport(tier))


def test_figures_are_read_with_the_readers_token(admin: Admin, tier: Tier) -> None:
    assert admin.read_policy() == RUNNING
    assert admin.metrics() == "ddnn_in_flight 0\n"
    assert admin.stats()["version"] == 3
    assert {request.headers["authorization"] for request in tier.requests} == {"Bearer may-read"}
    assert [request.url.path for request in tier.requests] == ["/v2/policy", "/metrics", "/v2/models/ddnn/stats"]


def test_a_policy_is_written_as_it_was_set_over_the_one_that_was_read(admin: Admin, tier: Tier) -> None:
    answer = admin.write_policy(Policy(bundle="b", thresholds=Thresholds(edge=0.2)), over=RUNNING)
    assert json.loads(answer["body"]) == {"bundle": "b", "thresholds": {"edge": 0.2}}
    (request,) = tier.requests
    assert (request.method, request.headers["authorization"]) == ("PUT", "Bearer may-write-the-policy")
    assert request.headers["if-match"] == RUNNING.etag
    with pytest.raises(StalePolicy, match="another has come into force"):
        admin.write_policy(RUNNING, over=RUNNING.model_copy(update={"version": 2}))


def test_a_policy_is_taken_back_or_only_tried(admin: Admin) -> None:
    assert admin.roll_back_policy(over=RUNNING) == {"path": "/v2/policy/rollback", "body": ""}
    assert admin.try_policy(RUNNING)["path"] == "/v2/policy?dry_run=true"


def test_without_the_admin_token_nothing_is_sent(tier: Tier) -> None:
    reader = Admin("http://cloud", "may-read", transport=httpx.MockTransport(tier))
    with pytest.raises(Forbidden, match="--admin-token or set DDNN_ADMIN_TOKEN"):
        reader.roll_back_policy(over=RUNNING)
    assert tier.requests == []


def test_an_answer_that_is_no_object_is_nonsense() -> None:
    with (
        Admin("http://cloud", transport=httpx.MockTransport(lambda _: httpx.Response(200, json=[1]))) as admin,
        pytest.raises(DDNNError, match="http://cloud answered nonsense: JSON that is not an object"),
    ):
        admin.stats()
