"""What answers do to each class."""

from collections.abc import Callable
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.evaluation import NOBODY, evaluate
from ddnn.evaluation.classes import figures, worst
from ddnn.evaluation.table import show


def test_a_rare_class_that_is_answered_wrong_shows() -> None:
    y = np.repeat([0, 1, 2], [94, 5, 1])
    labels = np.repeat([0, 1, 0], [94, 5, 1])
    told = figures(labels, y, 4)
    assert told["recall"] == [1, 1, 0, None]
    assert told["precision"] == [94 / 95, 1, None, None]
    assert told["balanced_accuracy"] == pytest.approx(2 / 3)
    assert told["confusion"] == [[94, 0, 0, 0], [0, 5, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert worst(told["recall"]) == 2


def test_an_event_without_an_answer_is_not_right_and_in_no_cell() -> None:
    told = figures(np.array([0, NOBODY]), np.array([0, 0]), 2)
    assert (told["recall"], told["confusion"]) == ([0.5, None], [[1, 0], [0, 0]])


def test_classes_add_up_to_the_accuracies(
    make_bundle: Callable[..., Bundle], make_data: Callable[..., Dataset]
) -> None:
    document = evaluate(make_bundle(), make_data(60))
    classes, events = document["by_class"], np.array(document["by_class"]["events"])
    for accuracy, recall in (
        (document["overall"]["accuracy"], classes["recall"]),
        *((document["exits"][exit]["accuracy"], recall) for exit, recall in classes["exits"].items()),
    ):
        assert (events * recall).sum() == pytest.approx(60 * accuracy)
    assert np.sum(classes["confusion"]) == 60
    out = StringIO()
    show(document, Console(file=out, width=100))
    assert "balanced" in out.getvalue()
    assert f"recall of class {classes['names'][worst(classes['recall'])]}, the worst" in out.getvalue()
