"""What the parts hand to each other."""

from ddnn.types import Exit, Tier


def test_tiers_and_exits_are_ordered_from_the_sensor_up() -> None:
    assert [tier.value for tier in Tier] == ["device", "edge", "cloud"]
    assert [exit.value for exit in sorted(Exit, key=lambda exit: exit.rank)] == ["device", "local", "edge", "cloud"]
