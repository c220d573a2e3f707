"""A data set of some of its devices."""

from dataclasses import replace

import numpy as np
import pytest

from ddnn.data import Dataset, load
from ddnn.errors import BadData


def blinded() -> Dataset:
    """The synthetic scene with device 4 blind for every third event."""
    data = load("synthetic")
    present = data.present.copy()
    present[::3, 4] = False
    return replace(data, present=present, y_dev=np.where(present, data.y_dev, -1))


def test_some_devices_keep_their_columns_and_every_event() -> None:
    data = blinded()
    pair = data.of_devices([4, 1])
    assert pair.devices == 2
    assert pair.views[0] is data.views[4]
    assert pair.views[1] is data.views[1]
    np.testing.assert_array_equal(pair.present, data.present[:, [4, 1]])
    np.testing.assert_array_equal(pair.y_dev, data.y_dev[:, [4, 1]])
    alone = data.of_devices([4])
    assert len(alone) == len(data)
    assert not alone.present[::3].any()
    assert (alone.y == data.y).all()


def test_what_was_kept_is_on_record_and_has_a_fingerprint_of_its_own() -> None:
    data = load("synthetic")
    pair = data.of_devices([4, 1])
    assert pair.source == {**data.source, "devices": [4, 1]}
    assert len({d.fingerprint for d in (data, pair, data.of_devices([1, 4]))}) == 3
    assert pair.fingerprint == data.of_devices([4, 1]).fingerprint == data.subset("test").of_devices([4, 1]).fingerprint
    assert pair.of_devices([1]).source["devices"] == [1]


def test_no_device_named_or_all_in_order_changes_nothing() -> None:
    data = load("synthetic")
    assert data.of_devices([]) is data
    assert data.of_devices(range(6)) is data
    assert data.of_devices([5, 4, 3, 2, 1, 0]).source["devices"] == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize(
    ("devices", "sentence"),
    [
        ([0, 6], r"devices names 6; expected some of 0\.\.5"),
        ([-1], "names -1"),
        ([2, 2], "is 2, 2, which names one twice"),
    ],
)
def test_a_device_that_is_not_there_or_comes_twice_is_refused(devices: list[int], sentence: str) -> None:
    with pytest.raises(BadData, match=sentence):
        load("synthetic").of_devices(devices)
