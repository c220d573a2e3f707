"""Sums that the server alone sees, noise that hides a site, and sections that devices average."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from ddnn.errors import BadConfig, BadInput, WorkerLost
from ddnn.training import Config, Trainer
from ddnn.training.distributed.cost import averaged
from ddnn.training.federated import Federated, Site, devices_of
from ddnn.training.federated.dp import Noise, clipped, epsilon
from ddnn.training.federated.served import server_data
from ddnn.training.federated.site import of_one_device, shared_of
from ddnn.training.federated.wire import HEAD_BYTES, Parcel, Phase, turn_of
from federated_sites import Heard, federated, learnt_by, with_tests
from joined_workers import BATCH, STEADY, config, furthest


def test_a_secret_round_comes_to_the_weights_of_an_open_one() -> None:
    wanted = config({}, **STEADY, norms="learn")
    opened, _, _ = federated(Federated(rounds=2), wanted, by="unequal", count=3)
    hidden, heard, federation = federated(Federated(rounds=2, secret=True), wanted, by="unequal", count=3)
    assert furthest(opened.state(), hidden.state()) < 1e-5
    assert hidden.metrics[-1]["weights"] == pytest.approx(opened.metrics[-1]["weights"])
    assert hidden.metrics[-1]["loss"] == pytest.approx(opened.metrics[-1]["loss"], rel=1e-4)
    count, told = federation._vector.count, hidden.metrics[-1]["exchanged"]
    predicted = averaged(3, count, secret=True).times(2)
    assert (told["messages"], told["sent"], told["received"]) == (
        predicted.messages, predicted.sent, predicted.received,
    )  # fmt: skip
    # Nothing that a site sends is its weights: what it learns is in no body of its own.
    weights = [heard.sites[name].vector.read().numpy().tobytes() for name in heard.sites]
    views = [view[row].tobytes() for view in with_tests().views for row in range(len(with_tests()))]
    up = [body for body in heard.bodies if turn_of(body) % len(Phase) == Phase.LEARN and body[:4] == b"DDNN"]
    assert len(up) == 6
    assert not [part for part in (*views, *(each[:64] for each in weights)) if any(part in body for body in up)]


def test_what_an_open_round_counts_is_what_is_predicted() -> None:
    trainer, _, federation = federated(Federated(rounds=2), config({}))
    told = trainer.metrics[-1]["exchanged"]
    predicted = averaged(2, federation._vector.count).times(2)
    assert (told["sent"], told["received"]) == (predicted.sent, predicted.received)


def test_a_site_that_is_lost_after_it_gave_pieces_is_healed() -> None:
    wanted = config({}, **STEADY)
    opened, _, _ = federated(Federated(rounds=6), wanted, count=5, drop=0.25)
    hidden, _, _ = federated(Federated(rounds=6, secret=True), wanted, count=5, drop=0.25)
    lost = [record["lost"] for record in opened.metrics]
    assert any(lost)
    assert [record["lost"] for record in hidden.metrics] == lost
    assert furthest(opened.state(), hidden.state()) < 1e-5


def test_a_round_that_too_few_remain_of_is_not_read() -> None:
    with pytest.raises(WorkerLost, match=r"of 3 sites of round 0 remain; 2 are needed to read their sum"):
        federated(Federated(rounds=1, secret=True), config({}), count=3, drop=0.95)
    with pytest.raises(WorkerLost, match="1 of 1 sites gave keys for round 0; expected two or more"):
        federated(Federated(rounds=1, secret=True, share=0.3), config({}), count=3)


def test_a_site_without_keys_of_a_round_says_so() -> None:
    site = Site("one", config({}), with_tests(), Federated(secret=True), 0)
    with pytest.raises(BadInput, match="round 3 has begun without this site"):
        site.work(Parcel(3, site.vector.read()).packed())


def test_epsilon_is_what_the_library_answers() -> None:
    import dp_accounting
    from dp_accounting.rdp import RdpAccountant

    def answer(event: Any, count: int) -> float:
        return float(RdpAccountant().compose(event, count).get_epsilon(1e-5))

    gaussian = dp_accounting.GaussianDpEvent(2.0)
    assert epsilon(Federated(clip=1, noise=2.0), 30) == answer(gaussian, 30)
    sampled = dp_accounting.PoissonSampledDpEvent(0.25, gaussian)
    assert epsilon(Federated(clip=1, noise=2.0, share=0.25), 30) == answer(sampled, 30)
    assert epsilon(Federated(clip=1, noise=2.0, share=0.25), 30) < epsilon(Federated(clip=1, noise=2.0), 30)
    assert math.isinf(epsilon(Federated(clip=1), 30))
    assert math.isinf(epsilon(Federated(), 30))
    with pytest.raises(BadInput, match="expected a --clip"):
        Noise(Federated(noise=1.0))


def test_changes_are_clipped_and_their_noise_is_of_the_stated_spread() -> None:
    sent, learnt = torch.zeros(5), torch.tensor([3.0, 0.0, 4.0, 0.0, 0.0])
    assert float(clipped(sent, learnt, 1.0).norm()) == pytest.approx(1)
    assert torch.equal(clipped(sent, learnt, 10.0), learnt)
    size, settings = 200_000, Federated(clip=0.5, noise=1.5, share=0.5)
    moved = Noise(settings, 0).moved(torch.ones(size), torch.ones(size) * 3, 4, 10)
    # Four sites changed by 2 each; 5 of 10 are expected: 8/5, and noise of 0.75 / 5.
    assert float(moved.mean()) == pytest.approx(1 + 8 / 5, abs=5 * 0.15 / size**0.5)
    assert float(moved.std()) == pytest.approx(0.15, rel=0.01)
    names = [f"{at}" for at in range(1000)]
    assert 420 < len(Noise(settings, 0).drawn(names)) < 580


def test_a_private_training_tells_its_epsilon_and_a_site_nothing_but_its_change() -> None:
    settings = Federated(rounds=2, clip=0.01, noise=0.5)
    trainer, heard, federation = federated(settings, config({}, norms="learn"), by="unequal", noise=Noise(settings, 0))
    for at, record in enumerate(trainer.metrics, 1):
        assert record["privacy"] == {"epsilon": epsilon(settings, at), "clip": 0.01, "noise": 0.5, "delta": 1e-5}
    assert federation.document()["privacy"] == trainer.metrics[-1]["privacy"]
    assert trainer.metrics[-1]["weights"] == {"site-0": 0.5, "site-1": 0.5}
    count, moments = federation._vector.count, federation._moments.count
    said = [Parcel.unpacked(body, moments) for body in heard.bodies if len(body) == HEAD_BYTES + 4 * moments]
    assert said
    assert all(not each.vector.any() and each.events == 1 for each in said)
    pairs = [Parcel.unpacked(body, count) for body in heard.bodies if len(body) == HEAD_BYTES + 4 * count]
    for sent, came in zip(pairs[::2], pairs[1::2], strict=True):
        assert 0 < float((came.vector - sent.vector).norm()) <= 0.01 * 1.001
        assert (came.events, came.loss) == (1, 0.0)


def test_a_private_training_without_noise_has_no_bound() -> None:
    trainer, _, _ = federated(Federated(rounds=1, clip=1.0), config({}))
    assert trainer.metrics[-1]["privacy"]["epsilon"] is None


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_server_with_an_optimizer_goes_on_as_if_it_had_never_stopped(optimizer: Any, tmp_path: Any) -> None:
    from ddnn.training import Run

    def settings(rounds: int) -> Federated:
        return Federated(rounds=rounds, server_optimizer=optimizer, server_rate=0.1, server_momentum=0.9)

    wanted = config({}, **STEADY)
    whole, _, _ = federated(settings(3), wanted)
    federated(settings(2), wanted, run=Run(tmp_path))
    resumed, _, _ = federated(settings(3), wanted, run=Run(tmp_path))
    plain, _, _ = federated(Federated(rounds=3), wanted)
    assert furthest(whole.state(), resumed.state()) == 0 < furthest(whole.state(), plain.state())


def test_a_server_of_momentum_moves_by_what_it_remembers() -> None:
    """w ← w − η m, m ← μ m + (w − mean): of rate 1 and without momentum, the mean itself."""
    wanted = config({}, **STEADY)
    one, heard, federation = federated(Federated(rounds=1, server_rate=0.5), wanted)
    size = federation._vector.count
    bodies = [Parcel.unpacked(body, size).vector for body in heard.bodies if len(body) == HEAD_BYTES + 4 * size]
    sent, mean = bodies[0], (bodies[1] + bodies[3]) / 2
    learning = shared_of(one).learning.count
    assert torch.allclose(federation._vector.read()[:learning], ((sent + mean) / 2)[:learning], atol=1e-6)


SHARING = {"shared_weights": True, "tails": "keep"}


def sharing(**training: Any) -> Config:
    """Devices that have one section."""
    wanted = config({}, **training).changed("network", **SHARING)
    return wanted.changed(device_weight=1.0, local_weight=0.0, edge_weight=0.0, cloud_weight=0.0)


def test_devices_average_the_section_they_share_by_their_own_labels_and_nothing_else_travels() -> None:
    data, settings = with_tests(), Federated(rounds=2, what="device")
    data.y_dev[::3, 1] = -1  # the second device does not see every object
    wanted = sharing(**STEADY, norms="learn")
    own = devices_of(data)
    seen = {name: int((each.y_dev >= 0).sum()) for name, each in own.items()}
    assert all(len(each.views) == 1 and (each.y_dev >= 0).all() for each in own.values())
    assert seen["device-1"] < seen["device-0"]
    sites = [Site(name, wanted, each, settings, at) for at, (name, each) in enumerate(own.items())]
    before = Trainer(wanted, server_data(data), seed=5).state()
    trainer, heard, federation = learnt_by(Heard(sites), settings, wanted, data)
    section = trainer.network.devices[0].state_dict()
    numbers = sum(each.numel() for name, each in section.items() if "num_batches" not in name)
    assert federation._vector.count == numbers < shared_of(trainer).all.count
    moments = federation._moments.count
    assert {len(body) for body in heard.bodies} == {HEAD_BYTES + 4 * numbers, HEAD_BYTES + 4 * moments}
    weights = trainer.metrics[-1]["weights"]
    assert weights == pytest.approx({name: count / sum(seen.values()) for name, count in seen.items()})
    changed = {name for name, each in trainer.state().items() if not torch.equal(each, before[name])}
    assert changed
    assert all(name.startswith("devices.0.") for name in changed)


def test_one_pass_of_devices_with_one_batch_is_a_gradient_step_of_all_their_labels() -> None:
    wanted, data = sharing(**STEADY, epochs=1), with_tests()
    data = data.take(np.concatenate([np.arange(BATCH), np.flatnonzero(data.split != "train")]))
    settings = Federated(rounds=1, what="device")
    sites = [Site(name, wanted, each, settings, at) for at, (name, each) in enumerate(devices_of(data).items())]
    trainer, heard, federation = learnt_by(Heard(sites), settings, wanted, data)
    central = Trainer(wanted, data, seed=5)
    every = shared_of(central, "device")
    size = federation._vector.count
    every.all.write(Parcel.unpacked(next(b for b in heard.bodies if len(b) == HEAD_BYTES + 4 * size), size).vector)
    before = every.learning.read()
    central.epoch()
    # The loss of all is the sum over devices, the mean of devices the mean: half as long a step, of two.
    there, step = shared_of(trainer, "device").learning.read(), every.learning.read() - before
    assert float((there - (before + step / 2)).abs().max()) < 1e-6 < 1e-3 < float(step.abs().max())


def test_devices_that_share_no_section_have_none_to_average() -> None:
    with pytest.raises(BadConfig, match=r"network\.shared_weights is false; expected true"):
        Site("one", config({}), devices_of(with_tests())["device-0"], Federated(what="device"), 0)
    assert of_one_device(sharing()).training.cloud_weight == 0
