"""Digests of images: read off a compose file, asked of registries, written where compose reads them."""

from pathlib import Path

import pytest
import yaml

from ddnn.errors import BadInput, DDNNError
from ddnn.fleet.compose import compose_file
from ddnn.fleet.pins import digest_of, images_in, pinned, write_pins

ROOT = Path(__file__).parents[3]


def test_every_image_from_elsewhere_has_a_setting_that_pins_it() -> None:
    found = images_in(ROOT / "docker-compose.yml")
    assert found["DDNN_BASE"] == "python:3.13-slim"
    services = yaml.safe_load(compose_file())["services"]
    named = {each["image"] for each in services.values() if "COMPOSE_PROJECT_NAME" not in each["image"]}
    assert named == {f"${{{name}:-{image}}}" for name, image in found.items() if name != "DDNN_BASE"}
    assert all(":latest" not in image for image in found.values())
    assert [name for name, image in found.items() if "@sha256:" not in image] == ["DDNN_BASE"]
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert "FROM ${BASE} AS base" in dockerfile
    others = [line for line in dockerfile.splitlines() if line.startswith("FROM ")]
    assert {line.split()[1] for line in others} == {"${BASE}", "base", "dependencies"}


def test_pins_take_the_place_of_earlier_ones_and_leave_the_rest_as_it_was(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("# tokens\nDDNN_TOKEN=known-to-callers-only\nDDNN_BASE=python:3.13-slim@sha256:old\n")
    env.chmod(0o640)
    named = {"DDNN_BASE": "python:3.13-slim", "X_IMAGE": f"x/y:1@sha256:{7:064x}"}
    pins = pinned(named, lambda image: f"sha256:{len(image):064x}")
    for _ in range(2):
        write_pins(env, pins)
        assert env.read_text().splitlines() == [
            "# tokens",
            "DDNN_TOKEN=known-to-callers-only",
            f"DDNN_BASE=python:3.13-slim@sha256:{16:064x}",
            f"X_IMAGE=x/y:1@sha256:{5:064x}",
        ]
    assert env.stat().st_mode & 0o777 == 0o640


def test_without_an_image_or_a_registry_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.yml").write_text("services: {}")
    for file in ("other.yml", "missing.yml"):
        with pytest.raises(BadInput, match="expected"):
            images_in(tmp_path / file)
    with pytest.raises(DDNNError, match=r"gave no digest|no `docker` here"):
        digest_of("127.0.0.1:1/nobody/listens:1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DDNNError, match="there is no `docker` here"):
        digest_of("x/y:1")
