"""Whether a new bundle may stay, by what it and the old one did."""

from dataclasses import replace

import pytest

from ddnn.errors import BadInput
from ddnn.serving.rollout.figures import Figures, fault

GOOD = Figures(200, 2, 0.02, 0.05, 60, 0.01, 0.08)


def test_as_good_stays() -> None:
    assert fault(GOOD, GOOD) == ""


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"degraded": 20}, "10% of its answers were degraded, 1% of the old one's"),
        ({"p50_s": 0.05}, "half of its requests took 50 ms and more, of the old one's 20"),
        (
            {"differ_low": 0.09},
            "9% at least of its audited answers differ from the cloud's, 8% at most of the old one's",
        ),
    ],
)
def test_what_is_worse_is_said(change: dict[str, float], says: str) -> None:
    assert fault(GOOD, replace(GOOD, **change)) == says  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"degraded": 8},  # by less than five points
        {"p50_s": 0.035},  # by less than 20 ms
        {"differ_low": 0.07},  # the intervals overlap
        {"answered": 19, "degraded": 19},  # too few to say
        {"audited": 19, "differ_low": 1.0},
    ],
)
def test_little_or_unproven_differences_are_none(change: dict[str, float]) -> None:
    assert fault(GOOD, replace(GOOD, **change)) == ""  # type: ignore[arg-type]


def test_figures_come_back_as_they_were_and_nonsense_is_refused() -> None:
    assert Figures.read(GOOD.text()) == GOOD
    for text in ("", "[]", '{"answered": "many"}', "{" * 2000):
        with pytest.raises(BadInput, match="no JSON object of numbers"):
            Figures.read(text)
