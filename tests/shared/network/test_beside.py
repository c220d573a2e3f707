"""Trees as tensors, and encodings between quantiles."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import ExtraTreesClassifier, HistGradientBoostingClassifier

from ddnn.network.config import SectionConfig
from ddnn.network.encoding import Encode
from ddnn.network.trees import DEEPER, DEPTH, LEAVES, SEEN, WIDER, Forest, Trees

CHANCE = np.random.default_rng(0)
X = CHANCE.normal(size=(400, 6)).astype(np.float32)


@pytest.mark.parametrize(
    ("y", "classes"),
    [
        (X[:, :4].argmax(axis=1), 4),
        ((X[:, 0] > X[:, 1] * X[:, 2]).astype(np.int64), 2),
        (X[:, :3].argmax(axis=1) * 2, 6),  # classes 1, 3 and 5 have no event
        ((X[:, 0] > 0).astype(np.int64) + 1, 3),  # two of three classes
    ],
)
def test_trees_say_what_scikit_learns_model_does(y: np.ndarray, classes: int) -> None:
    trees = Trees(20, classes)
    trees.fit(X, y, seed=0)
    model = HistGradientBoostingClassifier(
        max_iter=20,
        max_leaf_nodes=LEAVES,
        max_depth=DEPTH,
        max_features=SEEN,
        early_stopping=False,
        random_state=0,
    ).fit(X, y)
    said = trees(torch.from_numpy(X)).softmax(dim=1).numpy()
    assert np.abs(said[:, model.classes_] - model.predict_proba(X)).max() < 1e-5
    assert said.argmax(axis=1).tolist() == model.predict(X).tolist()


@pytest.mark.parametrize(("y", "classes"), [(X[:, :3].argmax(axis=1) * 2, 6), ((X[:, 0] > 0).astype(np.int64), 2)])
def test_a_forest_says_what_scikit_learns_model_does(y: np.ndarray, classes: int) -> None:
    forest = Forest(10, classes)
    forest.fit(X, y, seed=0)
    model = ExtraTreesClassifier(10, max_leaf_nodes=WIDER, max_depth=DEEPER, random_state=0).fit(X, y)
    said = forest(torch.from_numpy(X)).exp().numpy()
    assert np.abs(said[:, model.classes_] - model.predict_proba(X)).max() < 1e-3


@pytest.mark.parametrize("kind", [Trees, Forest])
@pytest.mark.parametrize(("label", "classes"), [(0, 2), (1, 2), (2, 4)])
def test_of_one_class_alone_trees_are_sure(label: int, classes: int, kind: type[Trees | Forest]) -> None:
    trees = kind(5, classes)
    trees.fit(X, np.full(len(X), label), seed=0)
    assert set(trees(torch.from_numpy(X)).argmax(dim=1).tolist()) == {label}


def test_a_config_from_before_there_were_forests_is_read() -> None:
    assert SectionConfig.model_validate({"temperatures": [2.0, 0.5, 3.0]}).temperatures == (2.0, 0.5, 3.0, 1.0)


def test_an_encoding_is_the_place_between_quantiles() -> None:
    encode = Encode(2, 4)
    encode.fit(torch.stack([torch.linspace(0, 4, 101), torch.linspace(-10, 10, 101)], dim=1))
    assert encode(torch.tensor([[1.5, -99.0], [9.0, 0.0]])).tolist() == [
        pytest.approx([1, 0, -1, -1, -1, -1, -1, -1], abs=1e-5),
        pytest.approx([1, 1, 1, 1, 1, 1, -1, -1], abs=1e-5),
    ]


def test_equal_quantiles_make_no_step_of_rounding() -> None:
    encode = Encode(1, 8)
    encode.fit(torch.zeros(50, 1))
    near = encode(torch.tensor([[1e-7], [-1e-7]]))
    assert (near[0] - near[1]).abs().max() < 1e-3
