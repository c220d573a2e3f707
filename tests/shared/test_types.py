"""What the parts hand to each other: packed features are the written definition, bit by bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ddnn.types import Bits, Exit, Tier, pack_bits, unpack_bits


def by_definition(bits: list[int]) -> list[int]:
    """8 to a byte, least significant bit first, zero padding."""
    padded = bits + [0] * (-len(bits) % 8)
    return [sum(bit << place for place, bit in enumerate(padded[at : at + 8])) for at in range(0, len(padded), 8)]


BITS: Any = arrays.arrays(np.uint8, arrays.array_shapes(max_dims=3, max_side=20), elements=st.integers(0, 1))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(BITS)
def test_packing_is_the_written_definition_and_comes_back(bits: Bits) -> None:
    packed = pack_bits(bits)
    assert packed.shape == (*bits.shape[:-1], -(-bits.shape[-1] // 8))
    rows = bits.reshape(-1, bits.shape[-1]).tolist()
    assert packed.reshape(len(rows), -1).tolist() == [by_definition(row) for row in rows]
    assert (unpack_bits(packed, bits.shape[-1]) == bits).all()


@pytest.mark.parametrize(
    ("bits", "packed"), [([1], [1]), ([0, 1], [2]), ([0] * 7 + [1], [128]), ([1] * 9, [255, 1]), ([0] * 8, [0])]
)
def test_the_first_bit_is_the_least_significant_of_the_first_byte(bits: list[int], packed: list[int]) -> None:
    assert pack_bits(np.array(bits, np.uint8)).tolist() == packed


def test_tiers_and_exits_are_ordered_from_the_sensor_up() -> None:
    assert [tier.value for tier in Tier] == ["device", "edge", "cloud"]
    assert [exit.value for exit in sorted(Exit, key=lambda exit: exit.rank)] == ["device", "local", "edge", "cloud"]
