"""The escalation budget: what goes up to the cloud has a bound, and whoever makes it go up pays for it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

import ddnn_cloud.app
import ddnn_edge.app
from ddnn.answers import outputs_to_answers
from ddnn.bundle import Bundle
from ddnn.fleet.status import budget_lines
from ddnn.policy import Allowance, Budget, Policy, Thresholds
from ddnn.serving.budget import Account, Accounts, cloud_seconds
from ddnn.serving.metrics import Metrics
from ddnn.serving.service import Service
from ddnn.settings import Settings
from ddnn.types import Answer, Array, Exit, Tier
from ddnn.wire import HEADER_LENGTH, decode_response, encode_request
from ddnn_lab.in_process import NEVER
from networks import make_bundle
from real_port import post, serving

TEN = Allowance(events=60)
"""As many a minute as let ten through at once."""
PLENTY = Allowance(events=6000)


class Site(NamedTuple):
    """An edge and a cloud on real ports, whose clocks stand still."""

    bundle: Bundle
    edge: Service
    cloud: Service
    port: int
    above: int

    def use(self, budget: Budget, thresholds: Thresholds = NEVER, version: int = 1) -> None:
        policy = Policy(
            bundle=self.bundle.fingerprint, version=version, thresholds=thresholds, wait_ms=60_000, budget=budget
        )
        self.edge.policy = self.cloud.policy = policy

    async def ask(self, inputs: dict[str, Array], *, port: int = 0, **parameters: Any) -> list[Answer]:
        body, headers = encode_request(inputs, parameters=parameters)
        reply = await post(port or self.port, body, **headers, x_ddnn_deadline_ms="30000")
        assert reply.status == 200, reply.body
        return outputs_to_answers(decode_response(reply.body, reply.headers[HEADER_LENGTH.lower()]).outputs)

    def rows(self, device: int, count: int) -> dict[str, Array]:
        """What a device sends of so many golden events."""
        golden = self.bundle.golden
        rows = np.arange(count) % len(golden["y"])
        return {name: golden[f"device_{name}"][rows, device] for name in ("scores", "features")}

    async def alone(self, device: int, count: int, **parameters: Any) -> list[Answer]:
        """Events of this device's own."""
        return await self.ask(self.rows(device, count), device=device, **parameters)

    async def together(self, name: str, count: int, scores: Array | None = None, **own: Any) -> list[Answer]:
        """Events of all six, of `scores` (6, K); what device 0 was answered. `own`: parameters of the last one."""
        ids = np.array([f"{name} {n}".encode() for n in range(count)], np.object_)

        async def send(device: int) -> list[Answer]:
            rows = {**self.rows(device, count), "event": ids}
            if scores is not None:
                rows["scores"] = np.repeat(scores[device : device + 1], count, axis=0)
            return await self.ask(rows, device=device, **(own if device == 5 else {}))

        return (await asyncio.gather(*map(send, range(6))))[0]

    def left(self) -> dict[str, float]:
        """Share of its burst of events that each account has left."""
        assert self.edge.accounts
        return {name: round(left["events"], 6) for name, left in self.edge.accounts.shares().items()}


@pytest.fixture
async def site(tiny_bundle: Bundle) -> AsyncIterator[Site]:
    # The cameras' golden events are read before the tiers let go of them.
    bundle = Bundle.open(tiny_bundle.path)
    cloud = ddnn_cloud.app.create_app(Settings.load(bundle=tiny_bundle.path, threads=1))
    async with serving(cloud) as above:
        url = f"http://127.0.0.1:{above}"
        edge = ddnn_edge.app.create_app(Settings.load(bundle=tiny_bundle.path, threads=1, upstream=url))
        async with serving(edge) as port:
            both = edge.state.service, cloud.state.service
            for service in both:
                service.accounts._clock = lambda: 1000.0
            yield Site(bundle, *both, port, above)
        for service in both:
            await service.close()


def exits(answers: Sequence[Answer]) -> dict[tuple[Exit, str], int]:
    """How many were answered where, and why there."""
    return Counter((answer.exit, answer.degraded_reason) for answer in answers)


async def test_beyond_the_budget_the_edge_answers_and_says_so_everywhere(site: Site) -> None:
    site.use(Budget(site=TEN))
    assert exits(await site.alone(0, 25)) == {(Exit.CLOUD, ""): 10, (Exit.EDGE, "budget"): 15}
    document = site.edge.status()["budget"]["site"]
    assert (document["left"], document["exceeded"], document["alarm"]["since"] > 0) == ({"events": 0.0}, 15, True)
    assert [line.startswith("[red]escalation budget of site: 15 events") for line in budget_lines({"site": document})]
    text = site.edge.metrics.text().decode()
    for line in (
        'ddnn_budget_exceeded_total{whose="site"} 15.0',
        'ddnn_budget_alarm{whose="site"} 1.0',
        'ddnn_budget_left{kind="events",whose="site"} 0.0',
        'ddnn_exits_total{exit="edge",reason="budget"} 15.0',
    ):
        assert line in text.splitlines()


async def test_without_a_budget_all_go_up(site: Site) -> None:
    site.use(Budget())
    assert exits(await site.alone(0, 64)) == {(Exit.CLOUD, ""): 64}
    assert site.edge.status()["budget"] is None


async def test_a_device_that_makes_all_unsure_costs_its_budget_and_the_others_keep_theirs(site: Site) -> None:
    site.use(Budget(site=PLENTY, device=TEN))
    assert exits(await site.alone(5, 200)) == {(Exit.CLOUD, ""): 10, (Exit.EDGE, "budget"): 190}
    assert exits(await site.together("shared", 8)) == {(Exit.CLOUD, ""): 8}
    document = site.edge.status()["budget"]
    assert [name for name, seen in document.items() if seen["alarm"]] == ["device-5"]


async def test_an_event_is_paid_for_by_the_device_without_which_it_would_have_stayed_here(site: Site) -> None:
    classes = len(site.bundle.manifest.classes)
    clear = np.repeat(6 * np.eye(classes, dtype=np.float32)[1:2], 6, axis=0)
    lying = clear.copy()
    lying[5] = np.where(np.arange(classes) == 1, -10, 10)
    sure = Thresholds(local=0.15, edge=0.0)
    site.use(Budget(site=PLENTY, device=TEN), sure)
    assert exits(await site.together("clear", 4, clear)) == {(Exit.LOCAL, ""): 4}
    assert exits(await site.together("lying", 12, lying)) == {(Exit.CLOUD, ""): 10, (Exit.EDGE, "budget"): 2}
    assert site.left() == {"site": 0.99, "device-5": 0.0} | {f"device-{n}": 1.0 for n in range(5)}
    assert exits(await site.together("unclear", 8, np.zeros_like(clear))) == {(Exit.CLOUD, ""): 8}
    assert {site.left()[f"device-{n}"] for n in range(5)} == {0.84}  # a fifth of eight, of ten


async def test_who_asks_for_more_than_the_policy_pays_for_it(site: Site) -> None:
    clear = np.repeat(8 * np.eye(len(site.bundle.manifest.classes), dtype=np.float32)[1:2], 6, axis=0)
    site.use(Budget(device=TEN), Thresholds(local=0.5, edge=0.5))
    assert exits(await site.together("more", 4, clear, threshold=0.0)) == {(Exit.LOCAL, ""): 4}
    assert site.left() == {"device-5": 0.6} | {f"device-{n}": 1.0 for n in range(5)}


async def test_the_cloud_takes_from_an_edge_no_more_than_its_budget(site: Site) -> None:
    site.use(Budget(site=TEN))
    golden = site.bundle.golden
    inputs = {
        "features": np.repeat(golden["edge_features"][:1, 0], 20, axis=0),
        "present": np.ones((20, 6), np.bool_),
    }
    assert exits(await site.ask(inputs, port=site.above, edge=0)) == {(Exit.CLOUD, ""): 20}
    refused = await site.ask(inputs, port=site.above, edge=0)
    assert {(answer.label, answer.degraded_reason) for answer in refused} == {(-1, "budget")}
    assert site.cloud.status()["budget"]["edge-0"]["exceeded"] == 20
    assert exits(await site.alone(0, 3)) == {(Exit.EDGE, "budget"): 3}


async def test_bytes_and_cloud_seconds_are_those_that_were_spent(site: Site) -> None:
    site.use(Budget(site=Allowance(bytes=6000)))  # 1,000 at once
    answers = [answer for _ in range(40) for answer in await site.alone(0, 1)]
    through = exits(answers)[Exit.CLOUD, ""]
    up = site.edge.metrics.uplink_bytes.labels("up")._value.get()
    assert 0 < through < 40
    assert 1000 <= up <= 1000 + up / through
    site.use(Budget(site=Allowance(cloud_seconds=1e-6)), version=2)
    assert exits([answer for _ in range(3) for answer in await site.alone(0, 1)]) == {
        (Exit.CLOUD, ""): 1,
        (Exit.EDGE, "budget"): 2,
    }


async def test_another_policy_with_the_same_budget_fills_no_account(site: Site) -> None:
    site.use(Budget(site=TEN))
    await site.alone(0, 12)
    site.use(Budget(site=TEN), version=2)
    assert exits(await site.alone(0, 1)) == {(Exit.EDGE, "budget"): 1}
    site.use(Budget(site=Allowance(events=120)), version=3)
    assert exits(await site.alone(0, 1)) == {(Exit.CLOUD, ""): 1}


async def test_audits_have_bounds_of_their_own(site: Site) -> None:
    site.use(Budget(site=Allowance(events=0)))
    assert exits(await site.alone(0, 1)) == {(Exit.EDGE, "budget"): 1}
    assert exits(await site.alone(0, 1, audit=True, threshold=0.0)) == {(Exit.CLOUD, ""): 1}


async def test_what_could_not_go_up_costs_nothing(tiny_bundle: Bundle) -> None:
    bundle = Bundle.open(tiny_bundle.path)
    settings = Settings.load(bundle=tiny_bundle.path, threads=1, upstream="http://127.0.0.1:9")
    app = ddnn_edge.app.create_app(settings)
    edge = app.state.service
    async with serving(app) as port:
        site = Site(bundle, edge, edge, port, 0)
        edge.accounts._clock = lambda: 1000.0
        site.use(Budget(site=TEN))
        reasons = {reason for _ in range(4) for _, reason in exits(await site.alone(0, 8))}
        assert reasons <= {"unreachable", "circuit_open"}
        assert site.left() == {"site": 1.0}
    await edge.close()


async def test_features_that_could_not_go_up_are_not_asked_for(tmp_path: Any) -> None:
    made = make_bundle(tmp_path / "passing", devices=3, edge_section=False)
    app = ddnn_edge.app.create_app(Settings.load(bundle=made.path, threads=1, upstream="http://127.0.0.1:9"))
    bundle, edge = Bundle.open(made.path), app.state.service
    async with serving(app) as port:
        site = Site(bundle, edge, edge, port, 0)
        site.use(Budget(site=Allowance(events=0)))
        scores = {"scores": bundle.golden["device_scores"][:1, 0], "event": np.array([b"e"], np.object_)}
        (answer,) = await site.ask(scores, device=0, wait_ms=0)
        assert (answer.exit, answer.degraded_reason, answer.need_features) == (Exit.LOCAL, "budget", False)
    await edge.close()


def test_an_account_spends_its_rate_and_its_burst() -> None:
    account = Account(Allowance(events=60), share=0.5, burst_s=10, now=0.0)
    spent = 0
    for tenth in range(1200):
        now = tenth / 10
        while account.solvent(now):
            account.charge(1, 0, 0)
            spent += 1
    assert 64 <= spent <= 66  # half an event a second over two minutes, and five at once


def test_several_edges_have_equal_parts_of_the_site(tiny_bundle: Bundle, tmp_path: Any) -> None:
    from ddnn.serving.control import PolicyControl
    from networks import TOPOLOGIES

    topology = make_bundle(tmp_path / "two", **TOPOLOGIES["f"]).topology
    policy = Policy(bundle="b", budget=Budget(site=Allowance(events=120), device=TEN))
    control = PolicyControl(policy, classes=2, devices=6)
    accounts = Accounts.of(Tier.EDGE, topology, 1, control, Metrics(Exit, ()))
    assert list(accounts.current()) == ["site", *(f"device-{n}" for n in topology.edges[1].devices)]
    assert {account.left(0)["events"] for account in accounts.current().values()} == {10.0}


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("cloud-receive;dur=1.0, cloud-cloud;dur=2.500, cloud-encode;dur=9", 0.0025),
        ("cloud-cloud;dur=0.125", 0.000125),
        ("edge-cloud;dur=3", None),
        ("cloud-cloud;dur=1.2.3", None),
        (None, None),
    ],
)
def test_the_clouds_seconds_are_read_from_its_answer(header: str | None, seconds: float | None) -> None:
    assert cloud_seconds(header) == (None if seconds is None else pytest.approx(seconds))
