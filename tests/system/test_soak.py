"""A short soak: every kind of trouble, one after the other; `shared/ddnn_lab/benchmarks/faults.py` has the long one."""

import pytest

from ddnn_lab.faults.soaking import Rig, soak
from ddnn_lab.faults.troubles import TROUBLES


@pytest.mark.long
def test_random_troubles_one_after_the_other_lose_nothing(rig: Rig) -> None:
    told = soak(
        rig.fleet,
        rig.bundle,
        rig.oracle,
        seconds=15,
        rate=20,
        deadline_s=3,
        lasting_s=(0.2, 0.6),
        rest_s=0.1,
        quiet_s=0.2,
        seed=3,
    )
    assert told.kinds == {trouble.name for trouble in TROUBLES}
    assert not told.lost
    assert not told.wrong
    assert told.asked > 600
    assert max(told.growth.values()) < 0.2
    assert not rig.leaks()
