"""What an import costs, and which names are public."""

import ast
import importlib
import pkgutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

import ddnn
import ddnn_cloud
import ddnn_device
import ddnn_edge
import ddnn_lab

PACKAGES = (ddnn, ddnn_lab, ddnn_device, ddnn_edge, ddnn_cloud)
PUBLIC = ["__version__"]
HEAVY = "torch", "onnx", "onnxruntime", "fastapi", "starlette", "uvicorn", "typer", "sklearn"


def modules() -> Iterator[str]:
    for package in PACKAGES:
        yield package.__name__
        yield from (found.name for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."))


@pytest.mark.parametrize(
    ("module", "may_load"),
    [
        ("ddnn", ()),
        ("ddnn.wire", ()),
        ("ddnn.client", ()),
        ("ddnn.uplink", ()),
        ("ddnn.evaluation", ()),
        ("ddnn.tuning", ()),
        ("ddnn.fleet.events", ()),
        ("ddnn.data", ()),
        ("ddnn.cli", ("typer",)),
    ],
)
def test_an_import_loads_nothing_heavy(module: str, may_load: tuple[str, ...]) -> None:
    script = f"import sys, {module}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert set(run.stdout.split()) <= set(may_load)


def test_the_public_names_of_the_package_are_pinned() -> None:
    assert ddnn.__all__ == PUBLIC


def test_every_module_says_what_it_offers_and_has_it() -> None:
    names = sorted(set(modules()) - {"ddnn.__main__"})
    assert not {name: problem for name in names if (problem := what_is_wrong(name))}


def what_is_wrong(name: str) -> str:
    """Why a module does not say what it offers, or does not have it; empty where it does."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        return "cannot be found"
    with open(spec.origin, encoding="utf-8") as file:
        tree = ast.parse(file.read())
    if not ast.get_docstring(tree):
        return "says nothing of itself"
    if len(tree.body) == 1:
        return ""
    module = importlib.import_module(name)
    public = list(getattr(module, "__all__", ["has no __all__"]))
    if len(set(public)) < len(public):
        return "offers a name twice"
    private = [name for name in public if name.startswith("_") and not name.startswith("__")]
    return ", ".join([*private, *(name for name in public if not hasattr(module, name))])
