"""What say judges have beside the network."""

import numpy as np
import pytest

from ddnn.recipe.panel import FOREST, NETWORK, TREES, Panel
from ddnn.training import Config
from ddnn.types import Array, Ints

N, CLASSES = 600, 3


def opinion(y: Ints, right: float, sure: float, seed: int) -> Array:
    """Probabilities (N, K) of a judge that is right in such a share of the events, and says that it is so sure."""
    wrong = np.random.default_rng(seed).permutation(len(y)) >= right * len(y)
    label = np.where(wrong, (y + 1) % CLASSES, y)
    found = np.full((len(y), CLASSES), (1 - sure) / (CLASSES - 1))
    found[np.arange(len(y)), label] = sure
    return found


def panel(right: dict[str, float], sure: float = 0.8) -> tuple[Panel, Ints, list[dict[str, Array]]]:
    y = np.arange(N) % CLASSES
    said = {judge: opinion(y, share, sure, seed) for seed, (judge, share) in enumerate(right.items())}
    return Panel.of([said, said], y, np.zeros(N, np.int64), np.arange(N) // 20), y, [said, said]


def test_what_counts_is_the_hardest_fold() -> None:
    y, fold = np.arange(N) % CLASSES, np.arange(N) * 3 // N
    easy = opinion(y, 1.0, 0.8, 0)
    hard = {judge: opinion(y, right, 0.8, 1) for judge, right in ((NETWORK, 0.5), ("firm", 0.8), (TREES, 0.3))}
    said = {judge: np.where((fold == 1)[:, None], each, easy) for judge, each in hard.items()}
    said["free"] = said[NETWORK]
    found = Panel.of([said], y, fold, np.arange(N) // 20)
    assert found.linear == "firm"
    assert found.shares["firm"] > 0.8
    assert sum(found.shares.values()) == pytest.approx(1)


def test_judges_that_folds_cannot_tell_apart_have_the_same_say() -> None:
    found, _, _ = panel({NETWORK: 0.90, "firm": 0.88, "free": 0.905, TREES: 0.90, FOREST: 0.9})
    assert found.linear == "free"
    assert found.shares == {judge: pytest.approx(1 / 4, abs=0.05) for judge in (NETWORK, "free", TREES, FOREST)}


def test_a_judge_that_is_clearly_worse_has_none_and_the_network_keeps_a_little() -> None:
    found, y, said = panel({NETWORK: 0.5, "firm": 0.6, "free": 0.6, TREES: 0.95})
    assert found.shares == {NETWORK: 0.1, found.linear: 0.0, TREES: pytest.approx(0.9)}
    assert all((labels == y).mean() > 0.9 for labels in found.labels(said))


def test_judges_are_mixed_at_temperatures_that_their_mistakes_ask_for() -> None:
    found, _, _ = panel({NETWORK: 0.7, "firm": 0.7, "free": 0.7, TREES: 0.7}, sure=0.99)
    assert all(heat[TREES] > 1.5 for heat in found.temperatures)
    config = Config.of(found.document())
    assert config.network.edge.temperatures == config.network.cloud.temperatures
    assert config.network.edge.temperatures[2] == pytest.approx(found.temperatures[0][TREES])


def test_a_panel_without_trees_says_so_in_its_config() -> None:
    found, _, _ = panel({NETWORK: 0.7, "firm": 0.8, "free": 0.7})
    config = Config.of(found.document())
    assert config.network.cloud.trees == config.network.cloud.forest == 0
    assert config.network.cloud.linear == 0.1
    assert config.network.cloud.trees_share == 0
