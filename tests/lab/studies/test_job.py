"""What makes a run the same run."""

from dataclasses import replace

from ddnn.training import Config
from ddnn_lab.studies.job import DataSplit, Job, united

SPLIT = DataSplit("here/set.npz", "3x2", None, (), 0, None)
JOB = Job("joint", "joint", SPLIT, 0, 0, "f" * 64, Config(), ("exits",))


def test_where_the_data_lie_and_what_is_measured_change_nothing() -> None:
    moved = replace(JOB, split=replace(SPLIT, name="there/set.npz"), measures=("votes",), part="filters", label="x")
    assert moved.fingerprint == JOB.fingerprint


def test_config_split_seed_and_data_change_the_run() -> None:
    others = [
        replace(JOB, config=Config().changed(epochs=3)),
        replace(JOB, split=replace(SPLIT, test_groups=("7",))),
        replace(JOB, split=replace(SPLIT, events=100)),
        replace(JOB, seed=1),
        replace(JOB, data="e" * 64),
        replace(JOB, config=None),
    ]
    assert len({JOB.fingerprint, *(other.fingerprint for other in others)}) == len(others) + 1


def test_the_same_run_is_made_once_and_measured_for_all_who_want_it() -> None:
    other = replace(JOB, part="filters", label="filters: 8", measures=("exits", "votes"))
    (job,) = united([JOB, other])
    assert (job.label, job.measures) == ("joint", ("exits", "votes"))


def test_a_part_of_the_events_keeps_each_split() -> None:
    data = DataSplit("synthetic", None, None, (), 0, 100).load()
    assert len(data) == 100
    assert set(data.split) == {"train", "validation", "test"}
