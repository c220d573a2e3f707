"""Classifiers that judge beside the network what a section takes in: what small tables are often best judged by.

They are fitted by scikit-learn once the network is trained, and become tensors: a served tier asks them in ONNX
Runtime, with neither scikit-learn nor torch.
Legend: B events, F numbers an event, K classes, T trees, M nodes of a tree, padded.
"""

import warnings
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from ddnn.network.plan import SectionConfig
from ddnn.types import Array, Ints

__all__ = ["DEPTH", "LEAVES", "SEEN", "Beside", "Linear", "Trees"]

STEPS: Final = 300  #: of the solver
DEPTH: Final = 8
"""Deepest tree: so many comparisons follow each other when an event is judged."""
LEAVES: Final = 15
"""Most leaves of a tree."""
SEEN: Final = 0.3
"""Share of the numbers, drawn anew, that a split may look at: trees differ more, and are grown in half the time."""
IMPOSSIBLE: Final = -20.0
"""Score of a class that no training event has."""


class Beside(nn.Module):
    """What judges beside a section's network; each has a share of the probabilities that the exit gives."""

    whole: Tensor

    def __init__(self, config: SectionConfig, numbers: int, classes: int) -> None:
        super().__init__()
        self.strength = config.linear
        self.linear = Linear(numbers, classes) if config.linear else None
        self.trees = Trees(config.trees, classes) if config.trees else None
        self.temperatures = config.temperatures
        self.shares = config.linear_share if config.linear else 0.0, config.trees_share if config.trees else 0.0
        self.register_buffer("whole", torch.zeros((), dtype=torch.bool))

    def forward(self, scores: Tensor, x: Tensor, present: Tensor | None) -> Tensor:
        """The network's scores (B, K), what the section takes (B, F), present (B, n) → scores (B, K), logarithms.

        Where all training events were whole, the network alone judges those that are not: it has learnt to.
        """
        alone = torch.softmax(scores / self.temperatures[0], dim=1)
        mean = (1 - sum(self.shares)) * alone
        for share, judge, temperature in zip(
            self.shares, (self.linear, self.trees), self.temperatures[1:], strict=True
        ):
            if judge is not None:
                mean = mean + share * torch.softmax(judge(x) / temperature, dim=1)
        if present is not None:
            mean = torch.where(self.whole & ~present.all(dim=1, keepdim=True), alone, mean)
        return torch.log(mean.clamp(min=1e-9))

    def fit(self, x: Array, y: Ints, *, whole: bool, seed: int) -> None:
        """Fit numbers (N, F) and classes (N,) of training events, which are all `whole` or not."""
        self.whole.fill_(whole)
        if self.linear is not None:
            self.linear.fit(x, y, strength=self.strength)
        if self.trees is not None:
            self.trees.fit(x, y, seed=seed)


class Linear(nn.Module):
    """Logistic regression; before it is fitted, all classes are equally likely."""

    weight: Tensor
    bias: Tensor

    def __init__(self, numbers: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(classes, numbers))
        self.register_buffer("bias", torch.zeros(classes))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) → scores (B, K), logarithms of unnormalised probabilities."""
        return x @ self.weight.T + self.bias

    def fit(self, x: Array, y: Ints, *, strength: float) -> None:
        """Fit numbers (N, F) and classes (N,); `strength` is the inverse of the penalty on weights."""
        from sklearn.linear_model import LogisticRegression

        self.weight.zero_()
        self.bias.fill_(IMPOSSIBLE)
        known = np.unique(y)
        self.bias[torch.from_numpy(known)] = 0.0
        if len(known) == 1:
            return
        model = LogisticRegression(C=strength, max_iter=STEPS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # stopped early is good enough
            model.fit(x, y)
        at = torch.from_numpy(known if len(known) > 2 else known[1:])
        self.weight[at] = torch.from_numpy(model.coef_.astype(np.float32))
        self.bias[at] = torch.from_numpy(model.intercept_.astype(np.float32))


class Trees(nn.Module):
    """An ensemble of trees as tensors; before it is fitted, all classes are equally likely."""

    feature: Tensor
    threshold: Tensor
    below: Tensor
    above: Tensor
    value: Tensor
    start: Tensor

    def __init__(self, rounds: int, classes: int) -> None:
        super().__init__()
        self.rounds, self.classes = (
            rounds,
            classes if classes > 2 else 1,
        )  # two classes need one score, as scikit-learn has it
        shape = rounds * self.classes, 2 * LEAVES - 1
        for name in ("feature", "below", "above"):
            self.register_buffer(name, torch.zeros(shape, dtype=torch.int64))
        for name in ("threshold", "value"):
            self.register_buffer(name, torch.zeros(shape))
        self.register_buffer("start", torch.zeros(self.classes))

    def forward(self, x: Tensor) -> Tensor:
        """(B, F) → scores (B, K), logarithms of unnormalised probabilities."""
        trees, nodes = self.feature.shape
        root = torch.arange(trees) * nodes
        at = root.expand(x.shape[0], trees)
        for _ in range(DEPTH):
            seen = x.gather(1, self.feature.flatten()[at])
            lower = seen <= self.threshold.flatten()[at]
            at = root + torch.where(lower, self.below.flatten()[at], self.above.flatten()[at])
        scores = self.value.flatten()[at].reshape(-1, trees // self.classes, self.classes).sum(dim=1) + self.start
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
        count, leaf = len(nodes), nodes["is_leaf"].astype(bool)
        own = np.arange(count)  # a leaf leads to itself
        for name, inner, at_leaf in (
            ("feature", "feature_idx", 0),
            ("threshold", "num_threshold", 0.0),
            ("below", "left", own),
            ("above", "right", own),
        ):
            buffer = self.get_buffer(name)
            buffer[row, :count] = torch.from_numpy(np.where(leaf, at_leaf, nodes[inner])).to(buffer.dtype)
        self.value[row, :count] = torch.from_numpy(np.where(leaf, nodes["value"], 0.0)).to(torch.float32)
