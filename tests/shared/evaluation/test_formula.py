"""The communication formula, against every number the paper's authors published of it."""

import pytest

from ddnn.evaluation.formula import communication_bytes


@pytest.mark.parametrize(
    ("local_percent", "published"),
    [(0, 140), (0.58, 139), (1.75, 138), (2.92, 136), (22.81, 111), (60.82, 62), (83.04, 34), (100, 12)],
)
def test_the_row_of_the_threshold_table(local_percent: float, published: int) -> None:
    assert round(communication_bytes(3, 4, 256, local_percent / 100)) == published


@pytest.mark.parametrize(
    ("filters", "local_percent", "published"), [(1, 70.18, 14), (2, 73.68, 16), (4, 70.76, 21), (8, 71.35, 30)]
)
def test_the_row_of_the_device_filters(filters: int, local_percent: float, published: int) -> None:
    assert round(communication_bytes(3, filters, 64, local_percent / 100)) == published


def test_a_raw_view_is_over_twenty_times_as_large() -> None:
    assert communication_bytes(3, 4, 256, 0) == 140
    assert 32 * 32 * 3 / 140 > 20
