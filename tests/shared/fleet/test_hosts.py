"""The files of a site of several machines: who listens where, who is asked, and what does not fit."""

from pathlib import Path, PurePosixPath

import pytest
import yaml

from ddnn.bundle import Bundle
from ddnn.errors import BadInput
from ddnn.fleet.hosts import hosted, write_site
from ddnn.parts import tiers_of
from ddnn.settings import Settings, setting_names

AT = PurePosixPath("/opt/ddnn/site")
CAMERAS = [f"10.0.0.{10 + n}" for n in range(6)]


def test_each_tier_asks_the_one_above_where_that_listens(tiny_bundle: Bundle) -> None:
    tiers = hosted(tiny_bundle.topology, cloud="10.0.0.1", edges=["fd00::2"], devices=CAMERAS, base_port=9000)
    assert [(each.tier, each.index) for each in tiers] == tiers_of(tiny_bundle.topology)
    assert [each.url for each in tiers[:3]] == [
        "https://10.0.0.1:9000",
        "https://[fd00::2]:9001",
        "https://10.0.0.10:9010",
    ]
    assert [each.above for each in tiers[:3]] == ["", "https://10.0.0.1:9000", "https://[fd00::2]:9001"]


@pytest.mark.parametrize(
    ("edges", "devices", "says"),
    [
        (["10.0.0.2"] * 2, CAMERAS, "--edge is given 2 times; expected once for all, or 1 times"),
        (["10.0.0.2"], CAMERAS[:4], "--device is given 4 times; expected once for all, or 6 times"),
        (["gateway"], CAMERAS, "'gateway' is no IP address"),
        (["0.0.0.0"], CAMERAS, "0.0.0.0 is every address of a machine"),
    ],
)
def test_what_does_not_fit_is_a_sentence(tiny_bundle: Bundle, edges: list[str], devices: list[str], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        hosted(tiny_bundle.topology, cloud="10.0.0.1", edges=edges, devices=devices)


def test_a_host_has_the_files_of_its_own_tiers_and_compose_publishes_them_on_its_address(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    two = ["10.0.0.10"] * 3 + ["10.0.0.11"] * 3
    tiers = hosted(tiny_bundle.topology, cloud="10.0.0.1", edges=["10.0.0.1"], devices=two)
    assert set(write_site(tmp_path, tiny_bundle, tiers, AT)) == {"10.0.0.1", "10.0.0.10", "10.0.0.11"}
    folder = tmp_path / "10.0.0.10"
    assert {file.name for file in folder.iterdir()} == {
        "docker-compose.yml",
        *(f"device-{n}" for n in range(3)),
        *(f"ddnn-device-{n}.service" for n in range(3)),
    }
    services = yaml.safe_load((folder / "docker-compose.yml").read_text())["services"]
    assert {name: each["ports"] for name, each in services.items()} == {
        f"device-{n}": [f"10.0.0.10:801{n}:8000"] for n in range(3)
    }
    assert all(each["environment"].keys() <= setting_names() for each in services.values())
    part = Bundle.open(folder / "device-1" / "bundle")
    part.verify()
    assert part.part == ("device", 1)


def test_the_settings_of_a_unit_are_those_of_its_tier(tiny_bundle: Bundle, tmp_path: Path) -> None:
    tiers = hosted(tiny_bundle.topology, cloud="10.0.0.1", edges=["10.0.0.2"], devices=CAMERAS)
    write_site(tmp_path, tiny_bundle, tiers, PurePosixPath(tmp_path / "10.0.0.12"))
    lines = (tmp_path / "10.0.0.12" / "device-2" / "tier.env").read_text().splitlines()
    given = {name.removeprefix("DDNN_").lower(): value for name, value in (line.split("=", 1) for line in lines)}
    settings = Settings.load(**given)
    assert (settings.host, settings.port, settings.index) == ("10.0.0.12", 8012, 2)
    assert settings.upstream == ("https://10.0.0.2:8001",)
    assert settings.identity is not None
    assert settings.identity.is_dir()
    assert Bundle.open(settings.bundle).fingerprint == tiny_bundle.fingerprint


def test_again_it_keeps_the_authority_and_the_certificates(tiny_bundle: Bundle, tmp_path: Path) -> None:
    tiers = hosted(tiny_bundle.topology, cloud="10.0.0.1", edges=["10.0.0.2"], devices=CAMERAS)

    def written() -> dict[str, bytes]:
        write_site(tmp_path, tiny_bundle, tiers, AT)
        return {str(file): file.read_bytes() for file in tmp_path.rglob("*.pem")}

    assert written() == written() != {}
