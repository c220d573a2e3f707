"""Ensembles of trees as tensors: fitted by scikit-learn, walked by gathers in a section's graph.

Legend: B events, F numbers an event, K classes, T trees, M nodes of a tree, padded.
"""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from ddnn.types import Array, Ints

__all__ = ["DEPTH", "IMPOSSIBLE", "LEAVES", "SEEN", "Forest", "Trees"]

DEPTH: Final = 8
"""Deepest boosted tree: so many comparisons follow each other when an event is judged."""
LEAVES: Final = 15
"""Most leaves of a boosted tree."""
SEEN: Final = 0.3
"""Share of the numbers, drawn anew, that a split may look at: trees differ more, and are grown in half the time."""
DEEPER: Final = 16
"""Deepest tree of a forest: each is grown until it knows its events."""
WIDER: Final = 256
"""Most leaves of one."""
IMPOSSIBLE: Final = -20.0
"""Score of a class that no training event has."""
RARE: Final = 1e-4
"""No class is less likely to a forest than this."""


class _Ensemble(nn.Module):
    """T trees of at most M nodes; a leaf leads to itself."""

    feature: Tensor
    threshold: Tensor
    below: Tensor
    above: Tensor

    def __init__(self, trees: int, leaves: int, depth: int) -> None:
        super().__init__()
        self.depth = depth
        shape = trees, 2 * leaves - 1
        for name in ("feature", "below", "above"):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.int32))
        self.register_buffer("threshold", torch.zeros(shape))

    def _leaves(self, x: Tensor) -> Tensor:
        """(B, F) → (B, T), where each event ends in each tree, counted over all trees' nodes."""
        trees, nodes = self.feature.shape
        root = torch.arange(trees) * nodes
        at = root.expand(x.shape[0], trees)
        for _ in range(self.depth):
            seen = x.gather(1, self.feature.flatten()[at].long())
            lower = seen <= self.threshold.flatten()[at]
            at = root + torch.where(lower, self.below.flatten()[at], self.above.flatten()[at])
        return at

    def _grow(self, row: int, leaf: Array, nodes: Mapping[str, Array]) -> None:
        """Take a tree's nodes (n,): `feature`, `threshold`, `below`, `above`, and which of them are leaves."""
        own = np.arange(len(leaf))
        for name, of_leaf in (("feature", 0), ("threshold", 0.0), ("below", own), ("above", own)):
            buffer = self.get_buffer(name)
            buffer[row, : len(leaf)] = torch.from_numpy(np.where(leaf, of_leaf, nodes[name])).to(buffer.dtype)


class Trees(_Ensemble):
    """Boosted trees; before they are fitted, all classes are equally likely."""

    value: Tensor
    start: Tensor

    def __init__(self, rounds: int, classes: int) -> None:
        columns = classes if classes > 2 else 1  # two classes need one score, as scikit-learn has it
        super().__init__(rounds * columns, LEAVES, DEPTH)
        self.rounds, self.classes = rounds, columns
        self.register_buffer("value", torch.zeros(self.feature.shape))
        self.register_buffer("start", torch.zeros(columns))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) → scores (B, K), logarithms of unnormalised probabilities."""
        values = self.value.flatten()[self._leaves(x)]
        scores = values.reshape(-1, self.rounds, self.classes).sum(dim=1) + self.start
        return scores if self.classes > 1 else torch.cat([torch.zeros_like(scores), scores], dim=1)

    def fit(self, x: Array, y: Ints, *, seed: int) -> None:
        """Fit all trees, without early stop, to numbers (N, F) and classes (N,)."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        for buffer in self.buffers():
            buffer.zero_()
        known = np.unique(y)
        self.start.fill_(IMPOSSIBLE)
        if len(known) == 1:
            self.start[int(known[0]) if self.classes > 1 else 0] = (
                -IMPOSSIBLE if known[0] or self.classes > 1 else IMPOSSIBLE
            )
            return
        model = HistGradientBoostingClassifier(
            max_iter=self.rounds,
            max_leaf_nodes=LEAVES,
            max_depth=DEPTH,
            max_features=SEEN,
            early_stopping=False,
            random_state=seed,
        ).fit(x, y)
        if self.classes > 1 and len(known) == 2:  # of two classes the first scores zero
            self.start[int(known[0])] = 0.0
        columns = (known if len(known) > 2 else known[1:]) if self.classes > 1 else np.zeros(1, np.int64)
        self.start[torch.from_numpy(columns)] = torch.from_numpy(model._baseline_prediction.astype(np.float32).ravel())
        for turn, trees in enumerate(model._predictors):
            for column, tree in zip(columns, trees, strict=True):
                self._take(turn * self.classes + int(column), tree.nodes)

    def _take(self, row: int, nodes: Any) -> None:
        leaf = nodes["is_leaf"].astype(bool)
        found = {"feature": "feature_idx", "threshold": "num_threshold", "below": "left", "above": "right"}
        self._grow(row, leaf, {name: nodes[theirs] for name, theirs in found.items()})
        self.value[row, : len(leaf)] = torch.from_numpy(np.where(leaf, nodes["value"], 0.0)).to(torch.float32)


class Forest(_Ensemble):
    """Extremely randomised trees (Geurts et al. 2006), each with the same say; before, all classes are equally likely.

    They are good where events are few and numbers many, which is where boosting is not.
    """

    value: Tensor

    def __init__(self, trees: int, classes: int) -> None:
        super().__init__(trees, WIDER, DEEPER)
        self.register_buffer("value", torch.zeros(*self.feature.shape, classes, dtype=torch.float16))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) → scores (B, K), logarithms of probabilities."""
        said = self.value.flatten(0, 1)[self._leaves(x)].float()
        return torch.log(said.mean(dim=1).clamp(min=RARE))

    def fit(self, x: Array, y: Ints, *, seed: int) -> None:
        """Grow all trees on numbers (N, F) and classes (N,)."""
        from sklearn.ensemble import ExtraTreesClassifier

        for buffer in self.buffers():
            buffer.zero_()
        trees = len(self.feature)
        model = ExtraTreesClassifier(trees, max_leaf_nodes=WIDER, max_depth=DEEPER, random_state=seed).fit(x, y)
        for row, grown in enumerate(model.estimators_):
            tree = grown.tree_
            leaf = tree.children_left < 0
            nodes = {"feature": tree.feature, "below": tree.children_left, "above": tree.children_right}
            self._grow(row, leaf, nodes | {"threshold": _not_above(tree.threshold)})
            value = np.zeros((len(leaf), self.value.shape[2]), np.float16)
            value[:, model.classes_] = tree.value[:, 0]
            self.value[row, : len(leaf)] = torch.from_numpy(value)


def _not_above(threshold: Array) -> Array:
    """Single precision of (n,) double: the next one below, where rounding went up, so that no number changes sides."""
    single = threshold.astype(np.float32)
    return np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)
