"""Large views stay in their file."""

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn import archive
from ddnn.data import dataset, load
from ddnn.errors import BadData
from ddnn.training import Config, Loader, initial_network, moments

EVENTS, SHAPE = 1500, (3, 10, 16)
Y = np.arange(EVENTS) % 3


@pytest.fixture
def everything_mapped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAPPED", 1)
    monkeypatch.setattr(dataset, "PIECE", 2**14)
    monkeypatch.setattr(moments, "PIECE", 2**14)


def saved(path: Path, *, whole: bool, dtype: type = np.float32, compressed: bool = False) -> str:
    values: Any = np.random.default_rng(0).normal(100, 20, (EVENTS, 2, *SHAPE)).clip(0, 255).astype(dtype)
    views = {"X": values} if whole else {f"X_{index}": values[:, index] for index in range(2)}
    (np.savez_compressed if compressed else np.savez)(path, **views, y=Y)
    return str(path)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_mapped_views_are_those_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, compressed: bool, dtype: type
) -> None:
    file = saved(tmp_path / "mine.npz", whole=whole, dtype=dtype, compressed=compressed)
    memory = load(file)
    assert not any(isinstance(view, np.memmap) for view in memory.views)
    monkeypatch.setattr(archive, "MAPPED", 1)
    mapped = load(file)
    assert all(isinstance(view, np.memmap) for view in mapped.views)
    assert mapped.fingerprint == memory.fingerprint
    for one, other in zip(mapped.views, memory.views, strict=True):
        np.testing.assert_array_equal(one, other)
    batches = Loader(mapped, np.arange(EVENTS), batch=EVENTS)
    assert sum(float(view.double().sum()) for view in next(iter(batches)).views) == pytest.approx(
        sum(float(view.astype(np.float64).sum()) for view in memory.views)
    )


@pytest.mark.usefixtures("everything_mapped")
@pytest.mark.parametrize(("whole", "compressed"), [(False, False), (True, False), (True, True)])
def test_loading_and_an_epoch_of_batches_take_a_small_part_of_the_views_memory(
    tmp_path: Path, whole: bool, compressed: bool
) -> None:
    file = saved(tmp_path / "mine.npz", whole=whole, compressed=compressed)
    size = EVENTS * 2 * int(np.prod(SHAPE)) * 4
    tracemalloc.start()
    data = load(file)
    initial_network(Config(), data, 0)
    events = sum(len(batch.y) for batch in Loader(data, np.flatnonzero(data.split == "train"), batch=64))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert events == np.count_nonzero(data.split == "train")
    assert peak < size / 4


@pytest.mark.usefixtures("everything_mapped")
def test_what_breaks_the_contract_is_refused_of_mapped_views_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "nan.npz", X=np.full((EVENTS, 2, 4), np.nan, np.float32), y=Y)
    with pytest.raises(BadData, match="X holds NaN or infinity alone"):
        load(str(tmp_path / "nan.npz"))
    np.savez(tmp_path / "objects.npz", X=np.full((5, 2, 3), None), y=Y[:5])
    with pytest.raises(BadData, match="X cannot be read"):
        load(str(tmp_path / "objects.npz"))
