"""The compose file of a federated training."""

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from ddnn.cli.app import app
from ddnn.errors import BadInput
from ddnn.fleet.federation import federation_file


def services(text: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return found


def test_each_site_has_its_own_data_read_only_and_the_server_its_own(tmp_path: Path) -> None:
    for name in ("public", "a", "b"):
        (tmp_path / f"{name}.npz").touch()
    (tmp_path / "small.toml").touch()
    own = {name: str(tmp_path / f"{name}.npz") for name in ("a", "b")}
    text = federation_file(
        str(tmp_path / "public.npz"), own, configs=["mnist", str(tmp_path / "small.toml")], options=["--rounds", "7"]
    )
    found = services(text)
    assert list(found) == ["identity", "server", "a", "b"]
    assert found["a"]["volumes"] == ["site:/site:ro", f"{tmp_path}/a.npz:/data/a.npz:ro"]
    assert found["b"]["volumes"] == ["site:/site:ro", f"{tmp_path}/b.npz:/data/b.npz:ro"]
    assert found["server"]["volumes"][2:] == [
        f"{tmp_path}/public.npz:/data/public.npz:ro",
        f"{tmp_path}/small.toml:/config-1/small.toml:ro",
    ]
    words = shlex.split(found["server"]["command"])
    assert words[:3] == ["federate", "serve", "/data/public.npz"]
    assert words[words.index("--config") :][:4] == ["--config", "mnist", "--config", "/config-1/small.toml"]
    assert words[-3:] == ["--rounds", "7", "${RESUME:-}"]
    assert found["a"]["command"].split()[2:] == [
        *("https://server:8700", "/data/a.npz", "--name", "a", "--ca", "/site/authority.pem")
    ]


def test_only_the_server_sees_its_key_and_every_service_is_confined() -> None:
    found = services(federation_file("synthetic", {"a": "synthetic", "b": "synthetic"}))
    assert found["server"]["volumes"][0] == "server:/identity:ro"
    assert all(volume.startswith("site:") for name in ("a", "b") for volume in found[name]["volumes"])
    assert found["identity"]["network_mode"] == "none"
    for service in found.values():
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"])
    assert found["server"]["build"]["target"] == "training"


@pytest.mark.parametrize("name", ["server", "identity", "a b", "", "-a", "x" * 65])
def test_a_site_that_cannot_be_called_so_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="expected letters, digits, dots, dashes, and not identity or server"):
        federation_file("synthetic", {name: "synthetic"})


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--site", "a=synthetic", "--", "--shares", "1"], "No such option: --shares"),
        (["--site", "a=synthetic", "--", "--share", "2"], "Invalid value for '--share'"),
    ],
)
def test_options_that_the_server_would_refuse_are_refused_at_once(words: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["deploy", "federation", "synthetic", *words])
    assert result.exit_code == 2
    assert says in result.output


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--site", "a"], "--site is a; expected NAME=DATA"),
        (["--site", "a=x", "--site", "a=y"], "2 sites have 1 names; expected one for each"),
    ],
)
def test_sites_that_are_none_are_refused(words: list[str], says: str) -> None:
    result = CliRunner().invoke(app, ["deploy", "federation", "synthetic", *words])
    assert isinstance(result.exception, BadInput)
    assert says in str(result.exception)
