"""How sure an exit is, against values computed by hand."""

import math

import numpy as np
import pytest

from ddnn.errors import BadInput
from ddnn.task import CRITERIA, agreement, entropy, margin, max_probability, probabilities, uncertainty
from ddnn.types import Floats


def p(*values: float) -> Floats:
    return np.array(values, np.float32)


@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("criterion", CRITERIA)
def test_one_hot_is_sure(criterion: str, classes: int) -> None:
    assert uncertainty(criterion, np.eye(classes, dtype=np.float32)).tolist() == [0.0] * classes


@pytest.mark.parametrize(("classes", "expected"), [(2, (1, 0.5, 1)), (3, (1, 2 / 3, 1)), (10, (1, 0.9, 1))])
def test_uniform_is_unsure(classes: int, expected: tuple[float, float, float]) -> None:
    uniform = np.full(classes, 1 / classes, np.float32)
    values = [float(uncertainty(criterion, uniform)) for criterion in ("entropy", "max_probability", "margin")]
    assert values == pytest.approx(expected, abs=1e-6)
    assert max(values) <= 1


@pytest.mark.parametrize(
    ("values", "eta"),
    [
        ((0.9, 0.1), 0.468996),  # the binary entropy of a tenth, in bits
        ((0.5, 0.5, 0.0), math.log(2) / math.log(3)),
        ((0.5, 0.25, 0.25), 1.5 * math.log(2) / math.log(3)),
        ((0.5, *[0.5 / 9] * 9), (0.5 * math.log(2) + 0.5 * math.log(18)) / math.log(10)),
    ],
)
def test_entropy_is_the_papers(values: tuple[float, ...], eta: float) -> None:
    assert float(entropy(p(*values))) == pytest.approx(eta, abs=1e-6)


def test_the_other_criteria_by_hand() -> None:
    rows = np.stack([p(0.7, 0.2, 0.1), p(0.3, 0.3, 0.4)])
    assert max_probability(rows).tolist() == pytest.approx([0.3, 0.6])
    assert margin(rows).tolist() == pytest.approx([0.5, 0.9])


def test_a_softmax_by_hand() -> None:
    assert probabilities(p(0, math.log(3))).tolist() == pytest.approx([0.25, 0.75])
    assert probabilities(p(0, math.log(3)), temperature=0.5).tolist() == pytest.approx([0.1, 0.9])
    assert probabilities(p(0, math.log(9)), temperature=2).tolist() == pytest.approx([0.25, 0.75])


def test_large_scores_do_not_overflow_and_the_scores_are_left_alone() -> None:
    scores = p(3e38, -3e38, 0)
    assert probabilities(scores).tolist() == [1, 0, 0]
    assert scores.tolist() == p(3e38, -3e38, 0).tolist()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_knows_nothing(bad: float) -> None:
    rows = probabilities(np.stack([p(bad, 1), p(0, math.log(3))]))
    assert rows.tolist() == [[0.5, 0.5], pytest.approx([0.25, 0.75])]
    assert entropy(rows)[0] == 1


@pytest.mark.parametrize("temperature", [0.25, 1, 4])
def test_a_temperature_moves_how_sure_an_exit_is_and_not_what_it_says(temperature: float) -> None:
    scores = np.random.default_rng(0).normal(size=(64, 5)).astype(np.float32)
    tempered = probabilities(scores, temperature)
    assert (tempered.argmax(axis=-1) == scores.argmax(axis=-1)).all()
    assert tempered.sum(axis=-1).tolist() == pytest.approx([1] * 64, abs=1e-6)
    assert (np.sign(entropy(tempered).mean() - entropy(probabilities(scores)).mean())) == np.sign(temperature - 1)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_every_criterion_stays_between_0_and_1_in_any_batch_shape(criterion: str) -> None:
    scores = np.random.default_rng(1).normal(scale=20, size=(7, 3, 4)).astype(np.float32)
    values = uncertainty(criterion, probabilities(scores))
    assert values.shape == (7, 3)
    assert values.min() >= 0
    assert values.max() <= 1


def test_agreement_is_the_share_that_says_otherwise_of_those_present() -> None:
    scores = np.eye(4, dtype=np.float32)[[1, 1, 2, 3]]
    fused = np.stack([p(0.1, 0.7, 0.1, 0.1), p(0.1, 0.1, 0.1, 0.7)])
    present = np.array([True, True, True, False])
    assert agreement(fused, scores, present).tolist() == pytest.approx([1 / 3, 1])
    assert uncertainty("agreement", fused, (scores, present)).tolist() == pytest.approx([1 / 3, 1])
    assert agreement(fused[0], scores, np.zeros(4, np.bool_)) == 1
    assert uncertainty("agreement", fused).tolist() == entropy(fused).tolist()  # nobody holds the votes


def test_each_row_may_have_a_temperature_of_its_own() -> None:
    scores = np.stack([p(0, math.log(3)), p(0, math.log(9))])
    rows = probabilities(scores, p(0.5, 2))
    assert rows.tolist() == [pytest.approx([0.1, 0.9]), pytest.approx([0.25, 0.75])]


def test_an_unknown_criterion_is_named() -> None:
    with pytest.raises(BadInput, match="criterion is 'mood'; expected one of entropy, max_probability, margin"):
        uncertainty("mood", p(0.5, 0.5))
