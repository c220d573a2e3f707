"""The policy: thresholds, temperatures and waits as data that refuses nonsense."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ddnn.errors import BadBundle
from ddnn.policy import POLICY_FILE, Policy, Temperatures, Thresholds
from ddnn.seal import write_sealed
from ddnn.types import Exit


def test_a_policy_reads_back_as_written(tmp_path: Path) -> None:
    policy = Policy(
        bundle="b",
        version=7,
        criterion="margin",
        thresholds=Thresholds(device=0.1, local=0.2, edge=0.3),
        temperatures=Temperatures(cloud=2.5),
        offload="eager",
        tuned={"data": "mnist5k"},
    )
    policy.write(tmp_path)
    assert Policy.read(tmp_path) == policy
    assert [file.name for file in tmp_path.iterdir()] == [POLICY_FILE]


def test_the_cloud_always_answers_and_a_threshold_of_0_never() -> None:
    thresholds = Thresholds(device=0, local=0.25, edge=1)
    assert [thresholds.of(exit) for exit in Exit] == [0, 0.25, 1, 2]
    assert thresholds.of(Exit.CLOUD) > 1


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"thresholds": {"local": 1.5}}, "thresholds.local is 1.5"),
        ({"thresholds": {"cloud": 0.5}}, "thresholds.cloud is 0.5"),
        ({"temperatures": {"edge": 0}}, "temperatures.edge is 0"),
        ({"criterion": "mood"}, "criterion is 'mood'"),
        ({"wait_ms": -1}, "wait_ms is -1"),
        ({"wait_ms": 1e9}, "wait_ms is 1000000000.0"),
        ({"version": 0}, "version is 0"),
        ({"format": 2}, "format is 2"),
        ({"offload": "lazy"}, "offload is 'lazy'"),
        ({"threshold": 0.5}, "threshold is 0.5"),
    ],
)
def test_a_sealed_policy_with_an_impossible_value_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], where: str
) -> None:
    write_sealed(tmp_path / POLICY_FILE, {"bundle": "b", **change}, seal="checksum")
    with pytest.raises(BadBundle) as refused:
        Policy.read(tmp_path)
    assert str(refused.value).startswith(f"{POLICY_FILE}: {where}: ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -0.1])
def test_thresholds_and_temperatures_are_finite(value: float) -> None:
    with pytest.raises(ValidationError):
        Thresholds(local=value)
    with pytest.raises(ValidationError):
        Temperatures(local=value)


def test_a_snapshot_does_not_change() -> None:
    policy = Policy(bundle="b")
    with pytest.raises(ValidationError):
        policy.version = 2


def test_a_changed_copy_is_judged_by_its_own_thresholds() -> None:
    policy = Policy(bundle="b", thresholds=Thresholds(local=0.1))
    assert policy.judging(Exit.LOCAL, 3).thresholds.local == 0.1
    changed = policy.model_copy(update={"thresholds": Thresholds(local=0.9)})
    assert changed.judging(Exit.LOCAL, 3).thresholds.local == 0.9
