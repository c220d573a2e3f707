"""Data as real life has them, from small made files: each trains about as well as the clean set it was made of."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.data import Dataset, load
from ddnn.training import Config, Trainer
from ddnn.training.loader import batch_of
from ddnn.types import Array

N, D, F, K = 300, 3, 6, 3
Y = np.arange(N) % K
SMALL = Config.of(
    {
        "network": {part: {"filters": [16], "cut_filters": 4} for part in ("device", "edge", "cloud")},
        "training": {"epochs": 8, "batch": 16, "learning_rate": 0.01, "device_dropout": 0.0},
    }
)


def clean() -> Array:
    """Vectors of three classes that lie well apart."""
    centres = np.random.default_rng(1).normal(size=(K, D, F))
    return np.asarray(centres[Y] + 0.5 * np.random.default_rng(0).normal(size=(N, D, F)))


def with_gaps(views: Array) -> dict[str, Any]:
    gaps = np.random.default_rng(2).random(views.shape)
    return {"X": np.where(gaps < 0.04, np.nan, np.where(gaps > 0.98, np.inf, views))}


def with_hidden_gaps(views: Array) -> dict[str, Any]:
    visible = np.random.default_rng(2).random((N, D)) < 0.8
    visible[~visible.any(axis=1), 0] = True
    return {"X": np.where(visible[..., None], views, np.nan), "visible": visible}


def far_out(views: Array) -> dict[str, Any]:
    views = views.copy()
    views[:: N // 3] = 1e9
    return {"X": views}


ODD: dict[str, Callable[[Array], dict[str, Any]]] = {
    "clean": lambda views: {"X": views},
    "missing numbers": with_gaps,
    "missing numbers in hidden views": with_hidden_gaps,
    "a dead device": lambda views: {"X": np.where(np.arange(D)[:, None] == 1, 0.0, views)},
    "constant channels": lambda views: {"X": np.where(np.arange(F) < 2, 5.0, views)},
    "tiny": lambda views: {"X": 1e-8 * views},
    "huge": lambda views: {"X": 1e12 * views},
    "an offset": lambda views: {"X": 1e6 + views},
    "far out": far_out,
    "heavy tails": lambda views: {"X": np.exp(3 * views)},
    "int16": lambda views: {"X": (100 * views).astype(np.int16)},
    "int64": lambda views: {"X": (100 * views).astype(np.int64)},
    "bool": lambda views: {"X": views > 0},
    "one device": lambda views: {"X": views.reshape(N, 1, D * F)},
    "big-endian": lambda views: {"X": views.astype(">f4")},
    "classes as text": lambda views: {"X": views, "y": np.array(["walk", "run", "sit"])[Y]},
    "unequal lengths": lambda views: {f"X_{device}": views[:, device, : F - device] for device in range(D)},
    "duplicate rows": lambda views: {"X": np.tile(views[:75], (4, 1, 1)), "y": np.tile(Y[:75], 4)},
    "a class missing from the test": lambda views: {"X": views, "is_test": (np.arange(N) % 5 == 0) & (Y != 2)},
}


def loaded(folder: Path, **arrays: Any) -> Dataset:
    np.savez(folder / "odd.npz", **{"y": Y, **arrays})
    return load(str(folder / "odd.npz"))


@pytest.mark.parametrize("kind", ODD)
def test_odd_data_train_about_as_well_as_clean_ones(tmp_path: Path, kind: str) -> None:
    data = loaded(tmp_path, **ODD[kind](clean()))
    trainer = Trainer(SMALL, data)
    while not trainer.over:
        trainer.epoch()
    test = batch_of(data.subset("test"))
    right = trainer.best()(test.views, test.present).cloud.argmax(dim=1) == test.y
    assert float(right.float().mean()) > 0.85
