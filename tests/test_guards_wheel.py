"""What is in the wheel: four packages, the shipped bundle, and nothing else."""

import re
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    target = tmp_path_factory.mktemp("wheel")
    (built,) = WheelBuilder(str(ROOT)).build(directory=str(target), versions=["standard"])
    with zipfile.ZipFile(built) as archive:
        return set(archive.namelist())


def test_the_wheel_has_four_packages_and_its_own_metadata(contents: set[str]) -> None:
    tops = {name.partition("/")[0] for name in contents}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "ddnn",
        "ddnn_lab",
        "ddnn_device",
        "ddnn_edge",
        "ddnn_cloud",
    }
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in contents)
    assert any(name.endswith(".dist-info/entry_points.txt") for name in contents)


def test_every_module_and_the_whole_shipped_bundle_are_in_it(contents: set[str]) -> None:
    sources = {
        "ddnn": "shared",
        "ddnn_lab": "shared",
        "ddnn_device": "device",
        "ddnn_edge": "edge",
        "ddnn_cloud": "cloud",
    }
    for package, folder in sources.items():
        modules = {str(path.relative_to(ROOT / folder)) for path in (ROOT / folder / package).rglob("*.py")}
        assert modules <= contents
        assert f"{package}/py.typed" in contents
    files = [path for path in (ROOT / "shared/ddnn/shipped").rglob("*") if path.is_file()]
    shipped = {str(path.relative_to(ROOT / "shared")) for path in files}
    assert {f"ddnn/shipped/mnist5k/{name}" for name in ("manifest.json", "golden.npz", "cloud.onnx")} < shipped
    assert {name for name in contents if "/shipped/" in name} == shipped


def test_nothing_else_is_in_it(contents: set[str]) -> None:
    others = {name for name in contents if not re.search(r"\.dist-info/|/shipped/|/templates/|/measured/", name)}
    endings = {Path(name).suffix for name in others}
    assert endings <= {".py", ".typed", ".toml", ".txt", ""}, sorted(contents)
    assert {Path(name).parent.as_posix() for name in contents if name.endswith(".toml")} <= {
        "ddnn/configs",
        "ddnn_lab/studies/configs",
    }
    tests = [name for name in contents if any(part.startswith(("test", "conftest")) for part in name.split("/"))]
    assert not tests
    assert not [name for name in contents if name.startswith(("docs", "deploy", "benchmarks"))]
