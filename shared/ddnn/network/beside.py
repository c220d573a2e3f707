"""Classifiers that judge beside the network what a section takes in: what small tables are often best judged by.

They are fitted by scikit-learn once the network is trained, and become tensors: a served tier asks them in ONNX
Runtime, with neither scikit-learn nor torch.
Legend: B events, F numbers an event, K classes.
"""

import warnings
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from ddnn.network.plan import SectionConfig
from ddnn.network.trees import IMPOSSIBLE, Forest, Trees
from ddnn.types import Array, Ints

__all__ = ["Beside", "Linear"]

STEPS: Final = 300  #: of the solver


class Beside(nn.Module):
    """What judges beside a section's network; each has a share of the probabilities that the exit gives."""

    whole: Tensor

    def __init__(self, config: SectionConfig, numbers: int, classes: int) -> None:
        super().__init__()
        self.strength = config.linear
        self.linear = Linear(numbers, classes) if config.linear else None
        self.trees = Trees(config.trees, classes) if config.trees else None
        self.forest = Forest(config.forest, classes) if config.forest else None
        self.temperatures = config.temperatures
        judges = (
            (self.linear, config.linear_share),
            (self.trees, config.trees_share),
            (self.forest, config.forest_share),
        )
        self.shares = [share if judge is not None else 0.0 for judge, share in judges]
        self.register_buffer("whole", torch.zeros((), dtype=torch.bool))
        self.fitted = False
        """Until it is, the network judges alone; what is loaded may be."""
        self.register_load_state_dict_post_hook(_look)  # type: ignore[no-untyped-call]

    def forward(self, scores: Tensor, x: Tensor, present: Tensor | None) -> Tensor:
        """The network's scores (B, K), what the section takes (B, F), present (B, n) → scores (B, K), logarithms.

        Where all training events were whole, the network alone judges those that are not: it has learnt to.
        """
        if not self.fitted:
            return scores
        alone = torch.softmax(scores / self.temperatures[0], dim=1)
        mean = (1 - sum(self.shares)) * alone
        judges = self.linear, self.trees, self.forest
        for share, judge, temperature in zip(self.shares, judges, self.temperatures[1:], strict=True):
            if judge is not None:
                mean = mean + share * torch.softmax(judge(x) / temperature, dim=1)
        if present is not None:
            mean = torch.where(self.whole & ~present.all(dim=1, keepdim=True), alone, mean)
        return torch.log(mean.clamp(min=1e-9))

    def fit(self, x: Array, y: Ints, *, whole: bool, seed: int) -> None:
        """Fit numbers (N, F) and classes (N,) of training events, which are all `whole` or not."""
        self.whole.fill_(whole)
        self.fitted = True
        if self.linear is not None:
            self.linear.fit(x, y, strength=self.strength)
        for trees in (self.trees, self.forest):
            if trees is not None:
                trees.fit(x, y, seed=seed)


def _look(module: nn.Module, _: object) -> None:
    assert isinstance(module, Beside)
    module.fitted = any(bool(buffer.any()) for buffer in module.buffers())


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
