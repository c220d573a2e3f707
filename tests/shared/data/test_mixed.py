"""Several data sets as one."""

from dataclasses import replace

import numpy as np
import pytest

from ddnn.data import load, mixed
from ddnn.errors import BadData


def test_each_keeps_its_split_and_every_event_says_whose_it_is() -> None:
    first, second = load("synthetic", seed=0), load("synthetic", seed=1)
    both = mixed(first, second)
    assert len(both) == 960
    assert both.parts == ("synthetic", "synthetic")
    assert (both.split == np.concatenate([first.split, second.split])).all()
    assert both.division["events"] == {
        part: int((both.split == part).sum()) for part in ("train", "validation", "test")
    }
    assert both.fingerprint not in (first.fingerprint, second.fingerprint)
    assert both.source["also"] == [{"name": "synthetic", "fingerprint": second.fingerprint}]
    test = both.subset("test")
    assert test.part is not None
    assert (test.views[3][test.part == 1] == second.subset("test").views[3]).all()
    assert mixed(first) is first


def test_what_a_network_cannot_take_both_of_is_refused() -> None:
    first = load("synthetic", seed=0)
    with pytest.raises(BadData, match=r"has the classes a, b, c, d; expected those of synthetic: square"):
        mixed(first, replace(first, classes=("a", "b", "c", "d")))
    with pytest.raises(BadData, match=r"has 5 devices with views uint8 \(1, 12, 12\).*expected 6"):
        mixed(first, first.of_devices(range(5)))
    wide = replace(first, views=tuple(np.repeat(view, 2, axis=3) for view in first.views))
    with pytest.raises(BadData, match=r"views uint8 \(1, 12, 24\).*uint8 \(1, 12, 12\)"):
        mixed(first, wide)
