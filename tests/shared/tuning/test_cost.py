"""What an event costs, by the exit that answers it: as traffic counts it, and by hand."""

import math
from typing import Any

import numpy as np
import pytest

from ddnn.errors import BadInput
from ddnn.evaluation import Scores, decide
from ddnn.evaluation.report import traffic
from ddnn.links import LinkShape as Link
from ddnn.policy import Policy, Thresholds
from ddnn.topology import Topology
from ddnn.traffic import Messages
from ddnn.tuning.cost import KINDS, CostModel, Kind, Links, Offload, Over, exits_asked
from ddnn.tuning.profile import Profile, Timing
from ddnn.types import Exit, Floats, Tier
from made_scores import make_topology

CLASSES = 4
LINK: dict[Over, str] = {"device-edge": "device_to_edge", "edge-cloud": "edge_to_cloud"}
BYTES: tuple[Kind, ...] = ("payload", "body")
SHAPES = [(3, 1, True), (3, 1, False), (1, 1, True), (1, 1, False)]


def scores_of(devices: int, edges: int, section: bool, *, events: int = 150, absent: float = 0.3) -> Scores:
    rng = np.random.default_rng(devices + 10 * edges)
    topology = make_topology(devices, edges, section)
    y = rng.integers(CLASSES, size=events)

    def some(*shape: int) -> Floats:
        return (2 * rng.normal(size=(events, *shape, CLASSES))).astype(np.float32)

    return Scores(
        device=some(devices),
        local=some(edges),
        edge=some(edges) if section else None,
        cloud=some(),
        present=rng.random((events, devices)) >= absent,
        y=y,
        y_dev=np.repeat(y[:, None], devices, axis=1),
        topology=topology,
        source={"split": "validation"},
    )


def policy(offload: Offload = "staged", *, device: float = 0, local: float = 0, edge: float = 0) -> Policy:
    return Policy(bundle="b", offload=offload, thresholds=Thresholds(device=device, local=local, edge=edge))


def two(scores: Scores, first: float, second: float, offload: Offload = "staged") -> Policy:
    """The thresholds of the exits that are asked below the cloud."""
    if len(scores.topology.devices) == 1:
        return policy(offload, device=first, edge=second)
    return policy(offload, local=first, edge=second)


@pytest.mark.parametrize("offload", ["staged", "eager"])
@pytest.mark.parametrize(("devices", "edges", "section"), SHAPES)
def test_costs_at_the_exits_that_answer_add_up_to_the_traffic(
    devices: int, edges: int, section: bool, offload: Offload
) -> None:
    scores = scores_of(devices, edges, section)
    exits = exits_asked(scores.topology)
    for first in (0.0, 0.4, 0.7, 1.0):
        for second in (0.0, 0.6, 1.0):
            chosen = two(scores, first, second, offload)
            decisions = decide(scores, chosen)
            told = traffic(scores, decisions, chosen)
            place = np.array([exits.index(list(Exit)[rank]) if rank >= 0 else -1 for rank in decisions.exit])
            for kind in ("payload", "body"):
                for over, name in LINK.items():
                    each = CostModel(kind=kind, over=over).at_exits(scores, offload)
                    assert each[np.arange(len(scores)), place].sum() / len(scores) == told[name][kind]
                whole = CostModel(kind=kind).at_exits(scores, offload)[np.arange(len(scores)), place]
                assert whole.sum() == pytest.approx(sum(told[name][kind] for name in LINK.values()) * len(scores))


@pytest.mark.parametrize("offload", ["staged", "eager"])
@pytest.mark.parametrize(("devices", "edges", "section"), [*SHAPES, (4, 2, True), (5, 2, False)])
def test_what_decisions_spend_is_the_traffic_with_several_edges_and_sure_devices_too(
    devices: int, edges: int, section: bool, offload: Offload
) -> None:
    scores, chosen = scores_of(devices, edges, section), policy(offload, device=0.4, local=0.6, edge=0.7)
    decisions = decide(scores, chosen)
    told = traffic(scores, decisions, chosen)
    for over, name in LINK.items():
        each = CostModel(kind="body", over=over).spent(scores, decisions, offload)
        assert each.sum() / len(scores) == told[name]["body"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("devices", "edges", "section"), SHAPES)
def test_a_column_is_what_all_events_cost_at_that_exit(devices: int, edges: int, section: bool, kind: Any) -> None:
    scores = scores_of(devices, edges, section)
    cost = CostModel(kind=kind, links=Links(Link(0.01, 1e6), Link(0.04, 1e7)), profile=profile(scores.topology))
    columns = cost.at_exits(scores, "staged")
    last = len(exits_asked(scores.topology)) - 1
    for place in range(last + 1):
        first, second = (place == 0) * 1.0, (place == 1 and last == 2) * 1.0
        everywhere = two(scores, first, second)
        sure = decide(scores, everywhere)
        answered = sure.exit == exits_asked(scores.topology)[place].rank
        np.testing.assert_array_equal(columns[answered, place], cost.spent(scores, sure, "staged")[answered])
        assert answered.any()


def test_an_event_that_nobody_saw_costs_nothing() -> None:
    scores = scores_of(3, 1, True, absent=1.0)
    for kind in KINDS:
        assert not CostModel(kind=kind, links=Links(Link(1.0), Link(1.0))).at_exits(scores, "staged").any()


def profile(topology: Topology) -> Profile:
    """Device i takes (i + 1) × 10 ms, the local exit 1 ms, the edge section 20 ms, the cloud's 30 ms."""

    def timing(ms: float) -> Timing:
        return Timing(median_s=ms / 1000, p95_s=ms / 1000)

    edges = len(topology.edges)
    return Profile(
        bundle="b",
        batch=1,
        threads=1,
        repeat=1,
        device=tuple(timing(10.0 * (i + 1)) for i in range(len(topology.devices))),
        local=(timing(1.0),) * edges,
        edge=(timing(20.0),) * edges if Exit.EDGE in topology.exits else (),
        cloud=timing(30.0),
    )


def test_latency_is_what_one_counts_by_hand() -> None:
    scores = scores_of(3, 1, True, events=2, absent=0.0)
    scores.present[:] = [[True, True, True], [True, True, False]]
    sizes = Messages(scores.topology, CLASSES)
    near, far = Link(0.1, 1e5), Link(0.4, 1e6)
    cost = CostModel(kind="latency", links=Links(near, far), profile=profile(scores.topology))

    def passing(message: Any, rate: float) -> float:
        return float(message.body * 8 / rate)

    always, asked = (scores.topology.sent(Tier.DEVICE, when) for when in ("always", "asked"))
    first, second = (passing(sizes.from_device(0, inputs), 1e5) for inputs in (always, asked))
    down = passing(sizes.answer(Exit.CLOUD, by_edge=True), 1e5)
    for event, slowest in ((0, 0.030), (1, 0.020)):
        local = slowest + first + 0.05 + 0.001  # section, way up, fusion
        edge = local + (down + 0.05) + (second + 0.05) + 0.020  # asked for features, sends them, section
        up, from_cloud = passing(sizes.from_edge(0), 1e6), passing(sizes.answer(Exit.CLOUD, by_edge=False), 1e6)
        cloud = edge + up + 0.2 + 0.030 + from_cloud + 0.2
        want = [at + 0.05 + down for at in (local, edge, cloud)]
        np.testing.assert_allclose(cost.at_exits(scores, "staged")[event], want, rtol=1e-12)
    eager = cost.at_exits(scores, "eager")
    both = passing(sizes.from_device(0, (*always, *asked)), 1e5)
    np.testing.assert_allclose(eager[0, 1], 0.030 + both + 0.05 + 0.001 + 0.020 + 0.05 + down)


def test_devices_that_share_a_link_queue_on_it() -> None:
    scores = scores_of(3, 1, True, events=1, absent=0.0)
    times = profile(scores.topology)
    links = (Links(Link(0, 1e5), shared=shared) for shared in (False, True))
    models = (CostModel(kind="latency", links=each, profile=times) for each in links)
    one, all = (model.at_exits(scores, "staged")[0, 0] for model in models)
    sizes = Messages(scores.topology, CLASSES)
    assert all - one == pytest.approx(2 * sizes.from_device(0, scores.topology.sent(Tier.DEVICE)).body * 8 / 1e5)


def test_a_sure_device_answers_before_its_neighbours_and_a_sure_edge_before_the_cloud() -> None:
    scores = scores_of(4, 2, True, events=400, absent=0.2)
    cost = CostModel(kind="latency", links=Links(Link(0.1), Link(0.4)), profile=profile(scores.topology))
    chosen = policy(device=0.3, local=0.6, edge=0.6)
    decisions = decide(scores, chosen)
    waited = cost.spent(scores, decisions, "staged")
    all_sure = (decisions.sure == scores.present).all(axis=1) & scores.present.any(axis=1)
    assert all_sure.any()
    own_times = np.array([0.01, 0.02, 0.03, 0.04])
    mean = (scores.present * own_times).sum(axis=1) / np.maximum(scores.present.sum(axis=1), 1)
    np.testing.assert_allclose(waited[all_sure], mean[all_sure])
    at_cloud, nobody_sure = decisions.exit == Exit.CLOUD.rank, ~decisions.sure.any(axis=1)
    at_local = (decisions.settled == Exit.LOCAL.rank).all(axis=1)
    assert waited[at_cloud].min() > waited[at_local & nobody_sure].max()
    # One edge was sure, the other's callers hear it by way of the cloud.
    half = (decisions.settled == Exit.LOCAL.rank).any(axis=1) & (decisions.settled == -1).any(axis=1) & nobody_sure
    half &= scores.edge_present.all(axis=1)
    assert half.any()
    assert waited[at_local & nobody_sure].max() < waited[half].min() < waited[at_cloud].max()


def test_views_that_go_up_raw_cost_their_way() -> None:
    scores = scores_of(2, 1, True, events=3, absent=0.0)
    raw = Topology.tiered([spec.view for spec in scores.topology.devices], [(0, 1)], None)
    scores = Scores(None, None, None, scores.cloud, scores.present, scores.y, scores.y_dev, raw, {})
    assert exits_asked(raw) == (Exit.CLOUD,)
    np.testing.assert_array_equal(CostModel().at_exits(scores, "staged"), np.full((3, 1), 2 * 16 + 2 * 16 + 2))
    latency = CostModel(kind="latency", links=Links(Link(0.1), Link(0.4))).at_exits(scores, "staged")
    np.testing.assert_allclose(latency, 0.5)


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"kind": "euros"}, "cost is 'euros'; expected one of payload, body, latency"),
        ({"over": "moon"}, "over is 'moon'; expected all, device-edge or edge-cloud"),
        ({"kind": "latency", "over": "edge-cloud"}, "a caller waits for every link"),
    ],
)
def test_a_price_that_makes_no_sense_is_refused(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        CostModel(**keys)


def test_a_price_says_what_it_counts() -> None:
    over: Over = "edge-cloud"
    assert CostModel("body", over).document() == {"kind": "body", "unit": "bytes", "over": "edge-cloud"}
    told = CostModel("latency", links=Links(Link(0.005, 5e7))).document()
    assert told["links"]["device-edge"] == {"round_trip_s": 0.005, "bits_per_s": 5e7}
    assert told["links"]["edge-cloud"] == {"round_trip_s": 0.0, "bits_per_s": None}
    assert math.isinf(Link().bits_per_s)


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("5ms,50mbit", Link(0.005, 5e7)),
        ("50Mbit, 5 ms", Link(0.005, 5e7)),
        ("0.1s", Link(0.1, math.inf)),
        ("250kbit", Link(0.0, 2.5e5)),
        (".5s,1gbit", Link(0.5, 1e9)),
        ("0ms", Link()),
    ],
)
def test_a_link_is_a_round_trip_and_a_rate(text: str, link: Link) -> None:
    assert Links.parse([f"device-edge={text}"]) == Links(device_edge=link)


def test_links_not_named_take_no_time() -> None:
    links = Links.parse(["edge-cloud=40ms,10mbit"], shared=True)
    assert links == Links(Link(), Link(0.04, 1e7), shared=True)
    assert links.device_edge.seconds(1e9) == 0
    assert links.edge_cloud.seconds(1250) == pytest.approx(0.001)


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["5ms,50mbit"], "expected one like edge-cloud=40ms,10mbit"),
        (["moon-cloud=5ms"], "the links are device-edge and edge-cloud"),
        (["device-edge="], "link is 'device-edge='; expected one like"),
        (["device-edge=5"], "'5' is no part of one"),
        (["device-edge=5ms,50mb"], "'50mb' is no part of one"),
        (["device-edge=-5ms"], "'-5ms' is no part of one"),
        (["device-edge=0mbit"], "'0mbit' is no part of one"),
        (["device-edge=nanms"], "'nanms' is no part of one"),
        (["device-edge=5ms,6ms"], "with a jitter; expected a round trip and a rate"),
        (["device-edge=5ms", "device-edge=6ms"], "given twice"),
    ],
)
def test_what_is_no_link_gets_a_sentence(given: list[str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        Links.parse(given)
