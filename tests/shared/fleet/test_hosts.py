"""The files of a site of several machines: who listens where, who is asked, and what does not fit."""

from ipaddress import ip_address
from pathlib import Path, PurePosixPath

import pytest
import yaml
from cryptography import x509

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


def test_again_for_other_machines_it_takes_away_what_it_wrote_for_the_old_ones(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    here = {"cloud": "10.0.0.1", "edges": ["10.0.0.2"]}
    write_site(tmp_path, tiny_bundle, hosted(tiny_bundle.topology, **here, devices=CAMERAS), AT)  # type: ignore[arg-type]
    (tmp_path / "10.0.0.11" / "notes.txt").write_text("mine")
    moved = hosted(tiny_bundle.topology, **here, devices=[*CAMERAS[:1] * 2, *CAMERAS[1:3] * 2])  # type: ignore[arg-type]
    write_site(tmp_path, tiny_bundle, moved, AT)
    assert {each.name for each in tmp_path.iterdir()} == {"site", "10.0.0.1", "10.0.0.2", *CAMERAS[:3]}
    assert {file.name for file in (tmp_path / "10.0.0.10").glob("*.service")} == {
        f"ddnn-device-{n}.service" for n in (0, 1)
    }
    assert (tmp_path / "10.0.0.11" / "notes.txt").exists()
    for each in moved:  # its certificate says where it is now
        certificate = x509.load_pem_x509_certificate(
            (tmp_path / each.host / each.folder / "identity" / "tier.pem").read_bytes()
        )
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert ip_address(each.host) in names.get_values_for_type(x509.IPAddress)
    gone = hosted(tiny_bundle.topology, cloud="10.0.0.1", edges=["10.0.0.1"], devices=["10.0.0.1"])
    write_site(tmp_path, tiny_bundle, gone, AT)
    assert {each.name for each in tmp_path.iterdir()} == {"site", "10.0.0.1", "10.0.0.11"}
    assert [each.name for each in (tmp_path / "10.0.0.11").iterdir()] == ["notes.txt"]


def test_again_it_keeps_the_authority_and_the_certificates(tiny_bundle: Bundle, tmp_path: Path) -> None:
    tiers = hosted(tiny_bundle.topology, cloud="10.0.0.1", edges=["10.0.0.2"], devices=CAMERAS)

    def written() -> dict[str, bytes]:
        write_site(tmp_path, tiny_bundle, tiers, AT)
        return {str(file): file.read_bytes() for file in tmp_path.rglob("*.pem")}

    assert written() == written() != {}
