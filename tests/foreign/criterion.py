"""A criterion of a user's own."""

from ddnn.types import Floats

__all__ = ["gini"]


def gini(p: Floats) -> Floats:
    """Gini impurity (…, K) → (…): the chance that two draws differ, over that of K equal shares."""
    classes = p.shape[-1]
    impurity: Floats = (1 - (p * p).sum(axis=-1)) * (classes / (classes - 1))
    return impurity
