"""Federated averaging: known answers, what travels, sites that are unequal, drawn or lost."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ddnn.bundle import Bundle
from ddnn.cli.app import main
from ddnn.errors import BadInput, WorkerLost
from ddnn.training import Run, Trainer
from ddnn.training.distributed.arithmetic import mean
from ddnn.training.federated import Federated, Site, parts_of
from ddnn.training.federated.federation import drawn_of
from ddnn.training.federated.site import pooled, shared_of
from ddnn.training.federated.wire import HEAD_BYTES, Parcel
from federated_sites import federated, with_tests
from joined_workers import BATCH, STEADY, config, furthest

TARGETS = 0.6, -0.4, 1.0, -0.2


def descended(start: float, target: float, steps: int) -> float:
    """w after so many steps of rate .3 on (w − c)²/2."""
    for _ in range(steps):
        start -= 0.3 * (start - target)
    return start


@pytest.mark.parametrize(("steps", "answer"), [(1, 0.0750), (5, 0.2080)])
def test_averages_of_four_quadratics_are_the_known_answers(steps: int, answer: float) -> None:
    made = [torch.tensor([descended(0.0, target, steps)]) for target in TARGETS]
    averaged = float(mean(made, [10.0] * 4))
    assert averaged == pytest.approx(answer, abs=5e-5)
    if steps == 5:
        assert [float(each) for each in made] == pytest.approx([0.4992, -0.3328, 0.8319, -0.1664], abs=5e-5)
        assert sum((averaged - target) ** 2 / 2 for target in TARGETS) / 4 == pytest.approx(0.1646, abs=5e-5)
    else:
        assert averaged == pytest.approx(0.3 * sum(TARGETS) / 4)  # one step of all: FedSGD


def test_one_pass_with_one_batch_is_a_gradient_step_of_all() -> None:
    # Few events: of many, products are of bfloat16 on processors that have them.
    wanted, data = config({}, **STEADY, epochs=1), with_tests()
    data = data.take(np.concatenate([np.arange(BATCH), np.flatnonzero(data.split != "train")]))
    trainer, heard, _ = federated(Federated(rounds=1), wanted, data=data)
    central = Trainer(wanted, data, seed=5)
    every = shared_of(central).all
    every.write(Parcel.unpacked(heard.bodies[2], every.count).vector)  # rounded as the sites had it
    before = central.state()
    central.epoch()
    assert furthest(trainer.state(), central.state()) < 1e-6 < 1e-3 < furthest(before, central.state())


def test_only_weights_travel_each_message_of_their_size_and_no_view() -> None:
    trainer, heard, federation = federated(Federated(rounds=2), config({}, norms="learn"))
    count = federation._vector.count
    moments = federation._moments.count
    introduced = 2 * 2
    assert sorted(map(len, heard.bodies)) == sorted(
        [HEAD_BYTES + 4 * moments] * introduced + [HEAD_BYTES + 4 * count] * 8
    )
    told = trainer.metrics[-1]["exchanged"]
    assert told["sent"] == told["received"] == 4 * (HEAD_BYTES + 4 * count)
    assert told["control"] == 2 * (HEAD_BYTES + 4 * moments)
    data = with_tests()
    views = [view[row].tobytes() for view in data.views for row in range(len(data))]
    assert len(views[0]) == 20
    assert not [view for view in views if any(view in body for body in heard.bodies)]


def test_weights_are_by_events_and_sum_to_one_with_unequal_and_lost_sites() -> None:
    trainer, _, _ = federated(Federated(rounds=8), config({}), by="unequal", drop=0.4)
    lost = [record["lost"] for record in trainer.metrics]
    assert any(lost)
    for record in trainer.metrics:
        assert sum(record["weights"].values()) == pytest.approx(1)
        assert record["weights"].keys() == set(record["drawn"]) - set(record["lost"])
        if len(record["weights"]) == 2:
            assert record["weights"]["site-1"] == pytest.approx(2 / 3, abs=0.01)


def test_rounds_in_which_no_site_sends_anything_end_the_training() -> None:
    with pytest.raises(WorkerLost, match="none of the 2 sites that were drawn for round 0 sent anything"):
        federated(Federated(rounds=1), config({}), drop=1.0)


def test_a_resumed_federation_goes_on_as_if_it_had_never_stopped(tmp_path: Path) -> None:
    wanted = config({}, **STEADY)
    whole, _, _ = federated(Federated(rounds=3), wanted)
    federated(Federated(rounds=2), wanted, run=Run(tmp_path))
    resumed, _, _ = federated(Federated(rounds=3), wanted, run=Run(tmp_path))
    assert len(resumed.metrics) == 3
    assert furthest(whole.state(), resumed.state()) == 0


def test_fedprox_stays_nearer_to_what_was_sent() -> None:
    wanted, data = config({}, **STEADY), with_tests()
    away = []
    for mu in (0.0, 5.0):
        site = Site("site", wanted, data, Federated(method="fedprox", mu=mu, epochs=2), 0)
        sent = site.vector.read()
        away.append(float((Parcel.unpacked(site.work(Parcel(0, sent).packed()), len(sent)).vector - sent).norm()))
    assert 0 < away[1] < 0.7 * away[0]


def test_fedbn_keeps_a_sites_own_norms_after_the_first_round() -> None:
    site = Site("site", config({}, norms="learn"), with_tests(), Federated(method="fedbn"), 0)
    sent = site.vector.read()
    site.work(Parcel(0, sent).packed())
    own = site._norms.read()
    site.trainer.config = config({}, norms="keep", learning_rate=0.0)
    site.trainer.network.eval()
    site.work(Parcel(1, sent).packed())
    assert torch.equal(site._norms.read(), own)
    other = Site("site", config({}, norms="learn"), with_tests(), Federated(), 0)
    other.work(Parcel(0, sent).packed())
    other.trainer.config = site.trainer.config
    other.trainer.network.eval()
    other.work(Parcel(1, sent).packed())
    assert not torch.equal(other._norms.read(), own)


def test_pooled_moments_are_those_of_all_events() -> None:
    random = np.random.default_rng(0)
    parts = random.normal(3, 2, (30, 4)), random.normal(-1, 0.5, (90, 4))
    moments = [torch.from_numpy(np.concatenate([part.mean(0), part.std(0)])) for part in parts]
    whole = np.concatenate(parts)
    expected = np.concatenate([whole.mean(0), whole.std(0)])
    np.testing.assert_allclose(pooled(moments, [30, 90], [4, 4]).numpy(), expected, rtol=1e-6)


def test_sites_see_two_classes_or_different_numbers_and_every_event_is_at_one() -> None:
    data = with_tests()
    rows = np.flatnonzero(data.split == "train")
    for by in ("iid", "unequal", "classes:1", "classes:2"):
        parts = parts_of(data, 4, by, 0)
        assert sorted(np.concatenate(parts)) == sorted(rows)
    assert max(len(set(data.y[part])) for part in parts_of(data, 3, "classes:1", 0)) <= 2
    sizes = [len(part) for part in parts_of(data, 4, "unequal", 0)]
    assert sizes == [16, 32, 48, 64]
    for by, expected in (("groups", "--group-by"), ("classes:x", "expected iid"), ("much", "expected iid")):
        with pytest.raises(BadInput, match=expected):
            parts_of(data, 4, by, 0)


def test_sites_are_drawn_by_seed_and_round() -> None:
    names = [f"site-{at}" for at in range(10)]
    drawn = [drawn_of(names, 0.3, 0, round) for round in range(20)]
    assert all(len(set(each)) == 3 for each in drawn)
    assert drawn == [drawn_of(names[::-1], 0.3, 0, round) for round in range(20)]
    assert len(set().union(*drawn)) == 10
    assert drawn_of(names, 0.01, 0, 0) in [[name] for name in names]


@pytest.mark.parametrize(
    "body", [b"", b"DDNF", Parcel(0, torch.zeros(3)).packed(), Parcel(0, torch.full((2,), torch.nan)).packed()]
)
def test_what_is_no_parcel_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput, match=r"parcel of"):
        Parcel.unpacked(body, 2)


@pytest.mark.slow
def test_the_command_makes_a_bundle_of_sites_that_keep_their_events(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny = tmp_path / "tiny.toml"
    tiny.write_text("[network.device]\nfilters = [4]\n[network.edge]\nwidths = [8]\n[network.cloud]\nwidths = [8]\n")
    wishes = ["--config", str(tiny), "--sites", "3", "--by", "classes:2", "--rounds", "2", "--json"]
    monkeypatch.setattr(
        sys, "argv", ["ddnn", "federate", "simulate", "synthetic", "--out", str(tmp_path / "b"), *wishes]
    )
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    printed = capsys.readouterr()
    assert "round 2 of 2: 3 sites" in printed.err
    bundle = Bundle.open(tmp_path / "b")
    bundle.verify()
    told = json.loads(printed.out)["workers"]
    assert told == bundle.manifest.training.data["workers"]
    assert (told["mode"], told["workers"]) == ("fedavg", 3)
    assert told["exchanged"]["sent"] == told["exchanged"]["received"]
