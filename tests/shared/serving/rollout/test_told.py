"""What the tiers below tell of a rollout comes up whole, and is forgotten with those that are gone."""

import pytest

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.serving.rollout.figures import Figures, together
from ddnn.serving.rollout.told import FIGURES_HEADER, READY_HEADER, Told, figures_header, problem_header
from ddnn.serving.rollout.unlike import refuse_unlike
from ddnn.topology import EdgeSpec


def test_a_problem_comes_up_as_it_was_said_and_goes_with_the_next_word() -> None:
    told, said = Told(), "device-4: device-4.onnx: scores are off by 2 µm\r\nx-evil: 1"
    headers = problem_header(said)
    assert all(value.isascii() and value.isprintable() for value in headers.values())
    told.heard(1, headers)
    told.heard(0, {})
    assert told.problem() == said
    told.heard(1, problem_header(""))
    assert told.problem() == ""


def test_those_that_were_silent_are_not_waited_for() -> None:
    now = [0.0]
    told = Told(lambda: now[0])
    told.heard(0, {READY_HEADER: "new"})
    told.heard(1, {READY_HEADER: "old"})
    now[0] = 11.0
    assert told.ready({0: False, 1: True, 2: False, 3: True}) == {1: "old", 3: ""}


def test_what_several_edges_saw_is_one_picture_of_the_worst() -> None:
    told = Told()
    assert together(told.figures.values()) is None
    told.heard(0, figures_header(Figures(10, 1, 0.1, 0.2), Figures(4, 0, 0.3, 0.4)))
    told.heard(1, figures_header(Figures(20, 0, 0.2, 0.1), Figures(6, 2, 0.1, 0.5)))
    seen = together(told.figures.values())
    assert seen is not None
    assert seen[0] == Figures(30, 1, 0.2, 0.2)
    assert seen[1] == Figures(10, 2, 0.3, 0.5)
    with pytest.raises(BadInput, match="no JSON object"):
        told.heard(0, {FIGURES_HEADER: "x;y"})
    told.forget_figures()
    assert not told.figures


def test_what_callers_or_tiers_could_not_do_with_is_no_bundle_for_a_rollout(tiny_bundle: Bundle) -> None:
    old = tiny_bundle.manifest
    refuse_unlike(old, old.model_copy(update={"name": "other", "fingerprint": "f" * 64}))
    classes = old.model_copy(update={"classes": (*old.classes, "more")})
    fewer = old.model_copy(update={"topology": old.topology.model_copy(update={"devices": old.topology.devices[1:]})})
    edges = old.model_copy(update={"topology": old.topology.model_copy(update={"edges": (EdgeSpec(devices=(0,)),)})})
    for new, what in ((classes, "classes"), (fewer, "devices or views"), (edges, "edges")):
        with pytest.raises(BadInput, match=f"has other {what} than .*; expected the same"):
            refuse_unlike(old, new)
