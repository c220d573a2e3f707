"""Views through JPEG."""

from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from ddnn.data import Dataset, load
from ddnn.errors import BadData, BadInput
from ddnn_lab.jpeg import jpeg_views


def scene(channels: int = 1) -> Dataset:
    """A few smooth pictures, device 1 blind for the first."""
    data = load("synthetic").take(range(6))
    ramp = np.linspace(0, 200, 16 * 10).reshape(16, 10).astype(np.uint8)
    views = tuple(np.broadcast_to(ramp + 5 * device, (6, channels, 16, 10)).copy() for device in range(2))
    present = np.ones((6, 2), bool)
    present[0, 1] = False
    return replace(data, views=views, y_dev=data.y_dev[:, :2], present=present)


@pytest.mark.parametrize("channels", [1, 3])
def test_views_come_back_nearly_as_they_were_and_smaller_with_less_quality(channels: int) -> None:
    data = scene(channels)
    fine, coarse = jpeg_views(data, 95), jpeg_views(data, 5)
    for before, after in zip(data.views, fine.data.views, strict=True):
        assert after.shape == before.shape
        assert np.abs(after.astype(int) - before).mean() < 3
    assert (coarse.file_bytes[data.present] < fine.file_bytes[data.present]).all()
    assert (coarse.scan_bytes[data.present] < fine.scan_bytes[data.present]).all()


def test_bytes_are_those_of_a_file_and_of_its_scan() -> None:
    data = scene()
    found = jpeg_views(data, 50)
    file = BytesIO()
    Image.fromarray(data.views[0][0, 0]).save(file, "JPEG", quality=50)
    whole = file.getvalue()
    header = whole.index(b"\xff\xda")
    assert found.scan_bytes[0, 0] == len(whole) - 2 - (
        header + 2 + int.from_bytes(whole[header + 2 : header + 4], "big")
    )
    assert 100 < found.file_bytes[0, 0] <= len(whole)


def test_an_absent_view_costs_nothing_and_stays() -> None:
    data = scene()
    found = jpeg_views(data, 5)
    assert found.file_bytes[0, 1] == found.scan_bytes[0, 1] == 0
    np.testing.assert_array_equal(found.data.views[1][0], data.views[1][0])


def test_what_is_no_picture_is_named() -> None:
    data = scene()
    with pytest.raises(BadData, match=r"view of device 1 is float32 1×16×10; JPEG takes uint8"):
        jpeg_views(replace(data, views=(data.views[0], data.views[1].astype(np.float32))), 50)
    with pytest.raises(BadInput, match=r"JPEG quality is 0; expected 1\.\.95"):
        jpeg_views(data, 0)
