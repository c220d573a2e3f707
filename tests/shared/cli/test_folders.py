"""A folder of photographs through the commands: trained on, evaluated, tuned, and served the same files."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from ddnn.bundle import Bundle
from ddnn.cli.app import app
from ddnn.client import AsyncFleet
from ddnn.evaluation.source import load_for
from ddnn.fleet.events import Event
from ddnn_lab.in_process import Fleet
from photographs import jpeg

CLASSES = ("apple", "pear", "plum")


def run(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shelf") / "photos"
    for split, events in (("train", 8), ("test", 4)):
        for label, name in enumerate(CLASSES):
            for event in range(events):
                for device in ("left", "right"):
                    file = root / split / name / f"{event}" / f"{device}.jpg"
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_bytes(jpeg(1000 * label + 10 * event + len(device)))
    (root / "train" / "plum" / "0" / "left.jpg").unlink()
    (root / "train" / "plum" / "1" / "left.jpg").write_bytes(b"\xff\xd8\xff broken")
    return root


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("bundles") / "shelf"
        done = run("train", photos, "--size", 16, "--epochs", 1, "--batch", 8, "--no-yardstick", "--out", out)
        assert done.exit_code == 0, done.output
        assert "file left out: train/plum/1/left.jpg (a picture cannot be decoded" in done.output
        yield out


def test_the_bundle_says_what_photographs_become(trained: Path, photos: Path) -> None:
    bundle = Bundle.open(trained)
    assert bundle.manifest.classes == CLASSES
    assert [spec.view.shape for spec in bundle.topology.devices] == [(3, 16, 16)] * 2
    assert all(spec.view.picture for spec in bundle.topology.devices)
    assert bundle.manifest.training.data["source"]["cameras"] == ["left", "right"]


def test_it_is_evaluated_and_tuned_on_the_folder_it_came_from(trained: Path, photos: Path) -> None:
    done = run("evaluate", trained, photos, "--json")
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["events"] == 12
    tested = Bundle.open(trained).manifest.training.test
    assert document["overall"]["accuracy"] == tested["overall"]["accuracy"]
    assert run("record", trained, photos, "--out", trained.parent / "scores.npz").exit_code == 0


def test_a_folder_of_another_site_may_have_one_class_and_one_camera(
    trained: Path, photos: Path, tmp_path: Path
) -> None:
    shutil.copytree(photos / "test" / "pear", tmp_path / "site" / "test" / "pear")
    for file in (tmp_path / "site").rglob("left.jpg"):
        file.unlink()
    data = load_for(Bundle.open(trained), str(tmp_path / "site"))
    assert data.present.tolist() == [[False, True]] * 4
    assert set(data.y) == {1}
    assert run("evaluate", trained, tmp_path / "site").exit_code == 0


def test_size_is_of_photographs_alone(tmp_path: Path) -> None:
    done = run("train", "synthetic", "--size", 16, "--epochs", 1, "--out", tmp_path / "out")
    assert done.exit_code == 1
    assert "--size 16 does not apply to synthetic" in str(done.exception)


async def test_a_served_device_makes_of_a_file_what_training_made(trained: Path, photos: Path) -> None:
    bundle = Bundle.open(trained)
    data = load_for(bundle, str(photos)).subset("test")
    fleet = Fleet(bundle)
    fleet.start()
    fleet.use(wait_ms=1000)
    files = [photos / "test" / "apple" / "0" / f"{device}.jpg" for device in ("left", "right")]
    async with AsyncFleet([f"http://device-{n}" for n in range(2)], transport=fleet.switch) as devices:
        posted = await devices.answer_event([file.read_bytes() for file in files], event="files")
        shown = await devices.answer_event(Event.of(data, 0).views, event="views")
    await fleet.close()
    assert posted.devices.all()
    assert posted.class_name in CLASSES
    np.testing.assert_array_equal(posted.probabilities, shown.probabilities)
