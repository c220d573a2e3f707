"""How views are brought to one scale: what is chosen from the training events, and what it does."""

from pathlib import Path

import numpy as np
import pytest
import torch

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.export import sample_data, write_bundle
from ddnn.network.normalise import Normalise
from ddnn.runtime import Section
from ddnn.training import Config, Trainer, initial_network
from ddnn.types import Array, Floats

SMALL = Config.of(
    {
        "network": {part: {"filters": [4], "cut_filters": 2} for part in ("device", "edge", "cloud")},
        "training": {"epochs": 1, "batch": 32},
    }
)


def data_with(change: object, shape: tuple[int, ...] = (3, 10), events: int = 300) -> Dataset:
    data = sample_data([shape], events=events)
    change(data.views[0])  # type: ignore[operator]
    return data


def fitted(data: Dataset) -> Normalise:
    (normalise,) = initial_network(SMALL, data, 0).inputs
    return normalise


def seen(data: Dataset) -> Array:
    return np.asarray(data.views[0][data.split == "train"])


def normalised(data: Dataset) -> Floats:
    return np.asarray(fitted(data)(torch.from_numpy(seen(data))).numpy())


def test_clean_events_have_mean_and_deviation() -> None:
    data = sample_data([(3, 10)])
    normalise = fitted(data)
    assert normalise.slopes is None
    np.testing.assert_allclose(normalise.mean[:, 0], seen(data).mean(axis=(0, 2)), rtol=1e-5)
    np.testing.assert_allclose(normalise.spread[:, 0], seen(data).std(axis=(0, 2)), rtol=1e-5)


def test_a_missing_number_counts_as_its_channels_mean() -> None:
    data = sample_data([(3, 10)])
    gaps = np.random.default_rng(0).random(data.views[0].shape) < 0.1
    data.views[0][gaps] = np.nan
    data.views[0][5, 0, 0] = -np.inf
    known = np.where(np.isfinite(seen(data)), seen(data).astype(np.float64), np.nan)
    normalise = fitted(data)
    np.testing.assert_allclose(normalise.mean[:, 0], np.nanmean(known, axis=(0, 2)), rtol=1e-5)
    np.testing.assert_allclose(normalise.spread[:, 0], np.nanstd(known, axis=(0, 2)), rtol=1e-5)
    values = normalised(data)
    assert (values[np.isnan(known)] == 0).all()
    assert np.isfinite(values).all()


def test_a_channel_that_is_never_there_says_nothing() -> None:
    def change(view: Array) -> None:
        view[:, 1] = np.nan

    assert (normalised(data_with(change))[:, 1] == 0).all()


@pytest.mark.parametrize("factor", [1e-8, 1e-20, 1e6, 1e12])
def test_no_size_of_numbers_is_too_small_or_too_large(factor: float) -> None:
    def change(view: Array) -> None:
        view *= np.float32(factor)

    assert normalised(data_with(change)).std() == pytest.approx(1.0, rel=1e-3)


@pytest.mark.parametrize("value", [0.0, 0.1, 1e7, -1e-9])
def test_a_constant_channel_is_about_nothing(value: float) -> None:
    def change(view: Array) -> None:
        view[:, 2] = np.float32(value)

    assert abs(normalised(data_with(change))[:, 2]).max() < 1e-3


def test_numbers_near_a_million_that_vary_by_one_are_told_apart() -> None:
    def change(view: Array) -> None:
        view += np.float32(1e6)

    clean, moved = normalised(sample_data([(3, 10)], events=300)), normalised(data_with(change))
    assert np.corrcoef(clean.ravel(), moved.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("shape", [(4,), (3, 10), (1, 6, 6)])
def test_one_event_in_a_hundred_far_out_does_not_hide_the_others(shape: tuple[int, ...]) -> None:
    def change(view: Array) -> None:
        view[::100] = 1e9

    clean, values = sample_data([shape], events=300), normalised(data_with(change, shape))
    assert abs(values).max() < 6
    usual = np.flatnonzero(clean.split == "train") % 100 != 0
    before = clean.views[0][clean.split == "train"][usual]
    assert np.corrcoef(before.ravel(), values[usual].ravel())[0, 1] > 0.98


def test_heavy_tails_come_near_a_normal_distribution_and_clean_channels_keep_their_line() -> None:
    def change(view: Array) -> None:
        view[:, 0] = np.exp(3 * view[:, 0])

    data = data_with(change)
    normalise, values = fitted(data), normalised(data)
    assert np.quantile(values[:, 0], [0.02, 0.25, 0.5, 0.75, 0.98]) == pytest.approx([-2, -0.67, 0, 0.67, 2], abs=0.25)
    line = (seen(data)[:, 1:] - normalise.mean[1:].numpy()) / normalise.spread[1:].numpy()
    np.testing.assert_allclose(values[:, 1:], line, rtol=1e-5, atol=1e-6)
    missing = np.full((1, 3, 10), np.nan, np.float32)
    assert (normalise(torch.from_numpy(missing)).numpy() == 0).all()


def test_many_equal_values_have_one_place_on_a_curve() -> None:
    def change(view: Array) -> None:
        view[:, 0] = np.where(view[:, 0] < 0.5, 0, np.exp(6 * view[:, 0]))

    data = data_with(change)
    values = normalised(data)[:, 0]
    assert np.unique(values[seen(data)[:, 0] == 0]).size == 1
    assert np.isfinite(values).all()


def test_bytes_keep_their_line(tmp_path: Path) -> None:
    data = sample_data([(1, 6, 6)], uint8=True, events=300)
    data.views[0][:] = 0
    data.views[0][::50] = 255
    assert fitted(data).slopes is None


def odd() -> Dataset:
    data = sample_data([(3, 10)] * 2, events=300)
    data.views[0][::100] = 1e9
    data.views[0][::7, 0, 3], data.views[1][::5, 1] = np.nan, np.inf
    return data


def test_the_bundles_graph_fills_and_bends_as_the_network_does(tmp_path: Path) -> None:
    data = odd()
    network = Trainer(SMALL, data).best()
    bundle = write_bundle(tmp_path, network, data)  # which proves it on such events
    assert all(device.view.missing for device in bundle.topology.devices)
    section = Section(bundle.path / "device-0.onnx", threads=1)
    view = data.views[0][:8]
    scores = section.run(view=view)["scores"]
    assert np.isfinite(scores).all()
    np.testing.assert_allclose(scores, network.devices[0](torch.from_numpy(view))[0].detach().numpy(), atol=1e-4)


def test_training_goes_on_from_weights_with_a_curve_and_without(tmp_path: Path) -> None:
    clean, heavy = sample_data([(3, 10)] * 2, events=300), odd()
    paths = [tmp_path / "clean", tmp_path / "heavy"]
    for path, data in zip(paths, (clean, heavy), strict=True):
        path.mkdir()
        write_bundle(path, Trainer(SMALL, data).best(), data)
    for data, path, curved in ((heavy, paths[0], False), (clean, paths[1], True)):
        trainer = Trainer(SMALL, data, initial=Bundle.open(path))
        assert (trainer.network.inputs[0].slopes is not None) == curved
        trainer.epoch()
        assert np.isfinite(float(trainer.metrics[0]["loss"]))
