"""The compose file that a bundle's topology asks for."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from ddnn.bundle import shipped_bundle
from ddnn.errors import BadInput
from ddnn.fleet.compose import MOST, compose_file
from ddnn.fleet.watch import COLLECTOR, watch_files
from ddnn.settings import Settings
from ddnn.types import Tier
from matrix_bundles import MakeBundle

ROOT = Path(__file__).parents[3]


def services(text: str, *, watched: bool = False) -> dict[str, Any]:
    """The services of a file, their shared parts merged in; if `watched` with those that watch the others."""
    found: dict[str, Any] = yaml.safe_load(text)["services"]
    return {name: service for name, service in found.items() if watched or "profiles" not in service}


def test_the_file_in_the_repository_is_the_shipped_bundles() -> None:
    assert compose_file() == (ROOT / "docker-compose.yml").read_text("utf-8")


def test_each_tier_of_the_topology_is_a_service_that_asks_the_one_above(make_bundle: MakeBundle) -> None:
    found = services(compose_file(make_bundle([[0, 2], [1]]).path, base_port=9000))
    assert list(found) == ["identity", "cloud", "edge-0", "edge-1", "device-0", "device-1", "device-2", "sensors"]
    commands = [found[name]["command"].partition("serve ")[2] for name in list(found)[1:-1]]
    assert commands == [
        "cloud",
        "edge --index 0 --upstream https://cloud:8000",
        "edge --index 1 --upstream https://cloud:8000",
        "device --index 0 --upstream https://edge-0:8000",
        "device --index 1 --upstream https://edge-1:8000",
        "device --index 2 --upstream https://edge-0:8000",
    ]
    assert found["sensors"]["command"][-3:] == [f"--device=https://device-{index}:8000" for index in range(3)]
    assert set(found["sensors"]["depends_on"]) == {"device-0", "device-1", "device-2"}
    assert found["edge-1"]["ports"] == ["127.0.0.1:${EDGE_1_PORT:-9002}:8000"]
    assert found["device-2"]["networks"] == ["site"]


def test_a_bundle_is_mounted_read_only_wherever_it_is_opened(make_bundle: MakeBundle) -> None:
    bundle = make_bundle([[0, 1]]).path
    mount = f"${{DDNN_BUNDLE_DIR:-{bundle}}}:/bundle:ro"
    for name, service in services(compose_file(bundle)).items():
        assert mount in service["volumes"], name
        asked = service["command"] if isinstance(service["command"], str) else " ".join(service["command"])
        assert "/bundle" in asked or service["environment"]["DDNN_BUNDLE"] == "/bundle", name
    assert not any(mount in service["volumes"] for service in services(compose_file()).values())


def test_a_shipped_bundle_is_named_as_images_have_it() -> None:
    text = compose_file(shipped_bundle().parent / "grocery6")
    assert "/bundle" not in text
    found = services(text)
    assert found["cloud"]["environment"]["DDNN_BUNDLE"] == "grocery6"
    assert found["identity"]["command"].endswith("--bundle grocery6")
    assert found["sensors"]["command"][:2] == ["play", "grocery6"]
    assert Settings.load(bundle=Path("grocery6")).bundle == shipped_bundle().parent / "grocery6"


def test_every_service_is_confined_and_has_its_certificate_alone(make_bundle: MakeBundle) -> None:
    found = services(compose_file(make_bundle([[0], [1]]).path))
    for name, service in found.items():
        assert service["read_only"], name
        assert (service["cap_drop"], service["mem_limit"]) == (["ALL"], "256m"), name
    for name in ("cloud", "edge-0", "edge-1", "device-0", "device-1"):
        named = [volume.partition(":")[0] for volume in found[name]["volumes"] if not volume.startswith("$")]
        assert named == [name]


def test_more_devices_than_an_image_has_room_for_are_refused(make_bundle: MakeBundle) -> None:
    many = make_bundle([list(range(MOST[Tier.DEVICE] + 1))], section=False).path
    with pytest.raises(BadInput, match="33 devices; expected at most 32"):
        compose_file(many)


def test_the_image_has_a_folder_for_each_of_them() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8")
    assert f"/site/edge-%g 0 {MOST[Tier.EDGE] - 1})" in text
    assert f"/site/device-%g 0 {MOST[Tier.DEVICE] - 1})" in text


def test_what_watches_the_fleet_is_started_when_asked_for_and_is_told_where_each_tier_is(
    make_bundle: MakeBundle,
) -> None:
    bundle = make_bundle([[0], [1]]).path
    found = services(compose_file(bundle), watched=True)
    watching = {name: service for name, service in found.items() if "profiles" in service}
    assert list(watching) == ["watch-files", "prometheus", "grafana", "collector", "jaeger"]
    assert watching["watch-files"]["command"] == "deploy watch /watch /bundle --containers"
    for name, service in watching.items():
        assert service["profiles"] == ["watch"]
        assert (service["read_only"], service["cap_drop"]) == (True, ["ALL"]), name
    for name in ("prometheus", "grafana", "collector", "jaeger"):
        assert ":-" in watching[name]["image"], "another registry may be named"
        assert re.search(r":v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64}}$", watching[name]["image"]), "by version and digest"
        assert all(port.startswith("127.0.0.1:") for port in watching[name].get("ports", ()))
    for name in ("prometheus", "grafana", "collector"):
        assert watching[name]["depends_on"] == {"watch-files": {"condition": "service_completed_successfully"}}


def test_spans_find_the_way_from_every_tier_to_a_page_that_shows_them(make_bundle: MakeBundle) -> None:
    found = services(compose_file(make_bundle([[0], [1]]).path), watched=True)
    for name in ("cloud", "edge-0", "device-1"):
        assert found[name]["environment"]["DDNN_TRACES"] == "${DDNN_TRACES:-}"
        assert set(found[name]["networks"]) & set(found["collector"]["networks"])
    assert found["collector"]["command"] == f"--config=/watch/{COLLECTOR}"
    assert set(found["collector"]["networks"]) >= set(found["jaeger"]["networks"]) == {"watch"}
    files = watch_files({}, traces="jaeger:4317", traces_page="http://jaeger:16686")
    collector = yaml.safe_load(files[COLLECTOR])
    (pipeline,) = collector["service"]["pipelines"].values()
    for kind, names in pipeline.items():
        assert set(names) <= collector[kind].keys()
    assert set(collector["service"]["extensions"]) <= collector["extensions"].keys()
    assert collector["exporters"]["otlp_grpc"]["endpoint"].partition(":")[0] in found
    assert collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")
    most = collector["processors"]["memory_limiter"]
    assert most["limit_mib"] + most["spike_limit_mib"] < 256, found["collector"]["mem_limit"]
    shown = yaml.safe_load(files["grafana/datasources/ddnn.yml"])["datasources"]
    assert [each["type"] for each in shown] == ["prometheus", "jaeger"]
    assert COLLECTOR not in watch_files({})
    alone = yaml.safe_load(watch_files({})["grafana/datasources/ddnn.yml"])["datasources"]
    assert [each["type"] for each in alone] == ["prometheus"]
    assert Settings.load(traces="").traces is None
    locked = (ROOT / "requirements.lock").read_text()
    assert all(f"\n{name}==" in locked for name in ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"))
