"""Codecs: what comes back, how many bytes it takes, and what is refused."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ddnn.codec import Codec, codec_of
from ddnn.errors import BadConfig, BadInput
from ddnn.network.quantise import quantiser
from ddnn.types import Array
from ddnn.wire import DATATYPES

SHAPES = [(1,), (7,), (8,), (2, 3, 3), (5, 13)]


def drawn(codec: Codec, lead: tuple[int, ...], shape: tuple[int, ...]) -> Array:
    """Values as a section gives them."""
    rng = np.random.default_rng(0)
    if codec.name.startswith("bits"):
        return rng.integers(0, 2 ** int(codec.name[4:]), (*lead, math.prod(shape))).astype(np.uint8)
    if codec.name == "view":
        return rng.normal(size=(*lead, *shape)).astype(np.float32)
    return (rng.normal(size=(*lead, math.prod(shape))) * 1000).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("lead", [(), (1,), (3, 2), (0,)])
@pytest.mark.parametrize("name", ["bits1", "bits2", "bits4", "bits8", "float16", "float32", "view"])
def test_what_was_packed_comes_back_within_the_tolerance(
    name: str, lead: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    codec = codec_of(name)
    values = drawn(codec, lead, shape)
    rows = codec.pack(values)
    assert rows.shape == (*lead, *codec.wire_shape(shape))
    assert rows.dtype == DATATYPES[codec.datatype]
    assert rows.nbytes == math.prod(lead) * codec.bytes(shape)
    back = codec.unpack(rows, shape)
    assert (back.shape, back.dtype) == (values.shape, values.dtype)
    apart = np.abs(back.astype(np.float64) - values) / np.maximum(np.abs(values), 1)
    assert apart.max(initial=0) <= codec.tolerance


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # on a busy machine
@given(st.sampled_from([1, 2, 4, 8]), st.lists(st.integers(0, 255), min_size=1, max_size=70))
def test_levels_take_their_bits_and_no_more(bits: int, numbers: list[int]) -> None:
    codec, levels = codec_of(f"bits{bits}"), np.array(numbers, np.uint8) & (2**bits - 1)
    rows = codec.pack(levels)
    assert rows.nbytes == codec.bytes(levels.shape) == math.ceil(len(numbers) * bits / 8)
    assert (codec.unpack(rows, levels.shape) == levels).all()
    assert int.from_bytes(rows.tobytes(), "little") == sum(int(level) << bits * i for i, level in enumerate(levels))


@pytest.mark.parametrize(
    ("bits", "packed"), [([1], [1]), ([0, 1], [2]), ([0] * 7 + [1], [128]), ([1] * 9, [255, 1]), ([0] * 8, [0])]
)
def test_the_first_bit_is_the_least_significant_of_the_first_byte(bits: list[int], packed: list[int]) -> None:
    assert codec_of("bits1").pack(np.array(bits, np.uint8)).tolist() == packed


def test_half_precision_stays_finite() -> None:
    rows = codec_of("float16").pack(np.array([1e9, -1e9, 65519.0], np.float32))
    assert np.isfinite(rows).all()


def test_a_view_of_bytes_keeps_its_type() -> None:
    codec = codec_of("view", "UINT8")
    assert (codec.datatype, codec.wire_shape((3, 4, 5)), codec.bytes((3, 4, 5))) == ("UINT8", (3, 4, 5), 60)


@pytest.mark.parametrize("name", ["jpeg50", "webp80"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_come_back_alike_in_fewer_bytes(name: str, channels: int) -> None:
    codec, shape = codec_of(name, "UINT8"), (channels, 64, 48)
    ramp = np.linspace(0, 200, 64 * 48).reshape(64, 48)
    views = np.broadcast_to(ramp, (2, *shape)).astype(np.uint8)
    rows = codec.pack(views)
    assert rows.dtype == np.object_
    assert (rows.shape, codec.datatype, codec.wire_shape(shape)) == ((2,), "BYTES", ())
    back = codec.unpack(rows, shape)
    assert back.dtype == np.uint8
    assert back.shape == views.shape
    assert np.abs(back.astype(int) - views).mean() < 6
    assert len(rows[0]) < codec.bytes(shape)
    assert codec.unpack(rows[:0], shape).shape == (0, *shape)


def test_a_lower_quality_takes_fewer_bytes() -> None:
    assert codec_of("jpeg10").bytes((3, 32, 32)) < codec_of("jpeg90").bytes((3, 32, 32))


@pytest.mark.parametrize("row", [b"", b"\xff\xd8 no picture", b"GIF89a"])
def test_what_is_no_picture_is_refused(row: bytes) -> None:
    with pytest.raises(BadInput, match=r"a picture .*; expected .*JPEG, PNG, WebP"):
        codec_of("jpeg50").unpack(np.array([row], np.object_), (3, 8, 8))


def test_a_picture_of_another_size_is_refused_before_it_is_decoded() -> None:
    rows = codec_of("jpeg50").pack(np.zeros((1, 3, 16, 8), np.uint8))
    with pytest.raises(BadInput, match="picture is 8 × 16; expected 8 × 8"):
        codec_of("jpeg50").unpack(rows, (3, 8, 8))


@pytest.mark.parametrize("view", [np.zeros((1, 2, 8, 8), np.uint8), np.zeros((1, 3, 8, 8), np.float32)])
def test_views_that_are_no_pictures_are_refused(view: Array) -> None:
    with pytest.raises(BadConfig, match="expected bytes"):
        codec_of("jpeg50").pack(view)


@pytest.mark.parametrize("name", ["bits3", "jpeg0", "jpeg101", "float8", "", "Bits1"])
def test_a_codec_that_is_not_there_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(BadConfig, match=rf"codec is '{name}'; expected one of bits1, .*package\.module:attribute"):
        codec_of(name)


def test_a_foreign_name_must_make_a_codec() -> None:
    with pytest.raises(BadConfig, match=r"which makes a dict; expected a ddnn\.codec\.Codec"):
        codec_of("builtins:dict")


def test_half_precision_saturates_and_leaves_what_is_missing() -> None:
    scores = np.array([[1e9, -np.inf, 0.1, np.nan]], np.float32)
    arrived = codec_of("float16").arrived(scores, (4,))
    np.testing.assert_array_equal(arrived[0, :2], [65504, -65504])
    assert arrived[0, 2] == np.float32(np.float16(0.1))
    assert np.isnan(arrived[0, 3])
    assert codec_of("float32").arrived(scores, (4,)) is scores


SCORES = st.integers(2, 30).flatmap(
    lambda count: st.lists(st.floats(-60, 60, width=32), min_size=count, max_size=count, unique=True)
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(SCORES)
def test_scores_in_8_bits_keep_their_label_and_are_the_finer_the_nearer_the_best(numbers: list[float]) -> None:
    codec, scores = codec_of("sqrt8"), np.array([numbers], np.float32)
    span = np.ptp(scores)
    if span < 0.5:
        return
    row = codec.pack(scores)
    assert row.dtype == np.uint8
    assert (row.shape, row.nbytes) == ((1, 4 + len(numbers)), codec.bytes((len(numbers),)))
    back = codec.unpack(row, (len(numbers),))
    assert back.dtype == np.float32
    assert back.argmax() == scores.argmax()
    below, found = scores.max() - scores, back.max() - back
    step = (2 * np.sqrt(below * span) / 255 + 2 * span / 255**2) * 1.01 + span * 2.0**-10  # a head is half precision
    assert (np.abs(found - below) <= step).all()
    assert abs(back.max() - scores.max()) <= 2.0**-11 * np.abs(scores).max()
    np.testing.assert_array_equal(codec.pack(back), row)  # what is judged here is what arrives above


def test_scores_in_8_bits_saturate_stay_equal_and_tell_what_is_no_number() -> None:
    codec = codec_of("sqrt8")
    scores = np.array([[1e9, -np.inf, 0.0], [2.0, 2.0, 2.0], [1.0, np.nan, 0.0]], np.float32)
    arrived = codec.arrived(scores, (3,))
    np.testing.assert_array_equal(arrived[0, :2], [65504, 0])
    np.testing.assert_array_equal(arrived[1], scores[1])
    assert np.isnan(arrived[2]).all()
    two = codec.arrived(np.array([[[0.0, 3.0], [3.0, 0.0]]], np.float32), (2,))
    np.testing.assert_array_equal(two, [[[0, 3], [3, 0]]])
    with pytest.raises(BadConfig, match="cut_codec is 'sqrt8', which has no twin in torch"):
        quantiser(codec, (4,))
