"""Links as a person names them."""

import pytest

from ddnn.errors import BadInput
from ddnn.links import LINKS, LinkShape, parse_links
from ddnn.types import Tier


def test_a_link_is_named_by_the_tiers_at_its_ends() -> None:
    assert parse_links(["device-edge=5ms,50mbit", "edge-cloud=40ms,10mbit,5ms"]) == {
        "device-edge": LinkShape(0.005, 50e6),
        "edge-cloud": LinkShape(0.04, 10e6, 0.005),
    }
    assert not parse_links([])
    assert list(LINKS.values()) == [Tier.DEVICE, Tier.EDGE]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (["40ms"], "link is '40ms'; expected one like edge-cloud=40ms,10mbit"),
        (["edge-cloud="], "link is 'edge-cloud='; expected one like"),
        (["edge-moon=1s"], "the links are device-edge and edge-cloud"),
        (["edge-cloud=1ms", "edge-cloud=2ms"], "link edge-cloud is given twice"),
        (["edge-cloud=quick"], "'quick' is no part of one"),
    ],
)
def test_what_is_no_link_is_refused(given: list[str], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        parse_links(given)
