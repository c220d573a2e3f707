"""Links as a person writes them."""

import math

import pytest

from ddnn.errors import BadInput
from ddnn.tuning.links import Link, Links, parse_links


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
    assert parse_links([f"device-edge={text}"]) == Links(device_edge=link)


def test_links_not_named_take_no_time() -> None:
    links = parse_links(["edge-cloud=40ms,10mbit"], shared=True)
    assert links == Links(Link(), Link(0.04, 1e7), shared=True)
    assert links.device_edge.seconds(1e9) == 0
    assert links.edge_cloud.seconds(1250) == pytest.approx(0.001)
    assert str(links) == "device-edge 0 ms, any rate (shared by its devices); edge-cloud 40 ms, 10 Mbit/s"


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
        parse_links(given)
