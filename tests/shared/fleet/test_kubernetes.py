"""What `ddnn deploy kubernetes` writes: objects that the schemas know, and that hold together with each other."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from cryptography import x509

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.cli.app import app
from ddnn.errors import BadInput
from ddnn.fleet.kubernetes import BASE, IMAGE, LOAD, Cluster, write_cluster
from ddnn.settings import Settings, setting_names
from matrix_bundles import MakeBundle

OLDEST = "1.29"


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the shipped bundle, with one edge."""
    folder = tmp_path_factory.mktemp("kubernetes")
    write_cluster(folder, Bundle.open(shipped_bundle()), Cluster(edges=("10.1.0.1", "edge.example.org")), "ddnn …")
    return folder


@pytest.fixture
def double(make_bundle: MakeBundle, tmp_path: Path) -> Path:
    """Of a bundle with two edges, that no image has."""
    write_cluster(tmp_path / "out", make_bundle([[0, 2], [1]]), Cluster(clouds=1, most_clouds=3), "ddnn …")
    return tmp_path / "out"


def objects(folder: Path, *kinds: str) -> Iterator[dict[str, Any]]:
    """What is applied, but for the secrets, which the kustomization makes."""
    for name in yaml.safe_load((folder / BASE / "kustomization.yaml").read_text())["resources"]:
        for found in yaml.safe_load_all((folder / BASE / name).read_text()):
            if not kinds or found["kind"] in kinds:
                yield found


def pods(folder: Path) -> dict[str, Any]:
    return {found["metadata"]["name"]: found["spec"]["template"]["spec"] for found in objects(folder, "StatefulSet")}


def environment(pod: dict[str, Any]) -> dict[str, str]:
    return {each["name"]: each["value"] for each in pod["containers"][0]["env"]}


def test_every_object_is_one_of_the_schemas(single: Path, double: Path) -> None:
    for folder, version in ((single, kubernetes_validate.latest_version()), (double, OLDEST)):
        for found in objects(folder):
            kubernetes_validate.validate(found, version, strict=True)


def test_the_kustomization_names_files_that_are_there_and_all_that_pods_ask_for(double: Path) -> None:
    document = yaml.safe_load((double / BASE / "kustomization.yaml").read_text())
    made = {secret["name"]: secret for secret in document["secretGenerator"]}
    for secret in made.values():
        assert all((double / BASE / file).is_file() for file in secret.get("files", secret.get("envs")))
    for name, pod in pods(double).items():
        asked = {volume["secret"]["secretName"] for volume in pod["volumes"] if "secret" in volume}
        asked |= {source["secretRef"]["name"] for source in pod["containers"][0]["envFrom"]}
        assert asked == {"tokens", f"identity-{name if name != 'cloud' else 'cloud-0'}"}
        assert asked <= made.keys()
    assert {image["name"] for image in document["images"]} == {
        pod["containers"][0]["image"] for pod in pods(double).values()
    }
    assert not list((double / BASE).rglob("key.pem"))  # the authority's own


def test_tiers_are_told_what_are_settings_and_the_names_in_certificates(double: Path, single: Path) -> None:
    tokens = dict(line.split("=") for line in (single / BASE / "secrets" / "tokens.env").read_text().split())
    for name, pod in [*pods(double).items(), *pods(single).items()]:
        given = environment(pod) | tokens
        assert given.keys() <= setting_names()
        inside = {"DDNN_BUNDLE": str(shipped_bundle()), "DDNN_IDENTITY": ""}
        settings = Settings.load(
            **{key.removeprefix("DDNN_").lower(): value for key, value in (given | inside).items()}
        )
        assert bool(settings.upstream) == (name != "cloud")
    urls = environment(pods(double)["edge-1"])["DDNN_UPSTREAM"].split(",")
    assert urls == [f"https://cloud-{n}.cloud:8000" for n in range(3)]
    (scaler,) = objects(double, "HorizontalPodAutoscaler")
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (1, len(urls))
    assert {f"cloud-{n}.cloud" for n in range(3)} <= hosts(double, "cloud-0")
    assert {"edge-1-0.edge-1", "edge-1-1.edge-1"} <= hosts(double, "edge-1")
    assert {"edge.example.org", "10.1.0.1", "edge-1.edge"} <= hosts(single, "edge-0")
    services = {found["metadata"]["name"] for found in objects(double, "Service")}
    assert services == {"cloud", *(f"edge-{n}{end}" for n in (0, 1) for end in ("", "-0-devices", "-1-devices"))}


def hosts(folder: Path, tier: str) -> set[str]:
    """Names that a tier's certificate has."""
    pem = (folder / BASE / "secrets" / tier / "tier.pem").read_bytes()
    named = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERT") :]).extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    return {str(each.value) for each in named.value}


def test_pods_drain_before_they_are_killed_and_have_no_rights(single: Path) -> None:
    for pod in pods(single).values():
        (container,) = pod["containers"]
        pause = float(container["lifecycle"]["preStop"]["exec"]["command"][1])
        assert pod["terminationGracePeriodSeconds"] > pause + float(environment(pod)["DDNN_DRAIN_S"])
        assert pod["securityContext"]["runAsNonRoot"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert not pod["automountServiceAccountToken"]
        assert container["resources"]["limits"]["memory"]
        paths = {container[probe]["httpGet"]["path"] for probe in ("startupProbe", "readinessProbe", "livenessProbe")}
        assert paths == {"/readyz", "/livez"}


def test_every_pod_may_be_reached_by_those_alone_that_have_a_reason(single: Path) -> None:
    policies = {found["metadata"]["name"]: found["spec"] for found in objects(single, "NetworkPolicy")}
    assert policies["nothing"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert policies["devices-to-edges"]["ingress"][0]["from"] == [{"ipBlock": {"cidr": "10.0.0.0/8"}}]
    sources = policies["edges-to-clouds"]["ingress"][0]["from"]
    assert sources == [{"podSelector": {"matchLabels": {"app.kubernetes.io/component": "edge"}}}]
    for found in objects(single, "StatefulSet", "PodDisruptionBudget"):
        name = found["metadata"]["name"]
        assert found["spec"]["selector"]["matchLabels"] == {"app.kubernetes.io/name": name}


def test_clouds_that_join_scale_by_what_waits_there_and_others_by_what_they_work_on(single: Path, double: Path) -> None:
    for folder, metric in ((single, "ddnn_in_flight"), (double, "ddnn_queue_depth")):
        assert metric in (folder / LOAD / "kustomization.yaml").read_text()
        (rule,) = yaml.safe_load((folder / LOAD / "adapter.yml").read_text())["rules"]["custom"]
        assert rule["name"]["as"] == metric
        (job,) = yaml.safe_load((folder / LOAD / "scrape.yml").read_text())
        assert job["job_name"] == "ddnn"


@pytest.mark.parametrize("edges", [[[0, 1, 2]], [[0, 2], [1]]])
def test_clouds_alone_are_reached_by_edges_outside(make_bundle: MakeBundle, tmp_path: Path, edges: Any) -> None:
    chosen = Cluster(outside=True, reached=["clouds.example.org"], devices=["10.9.0.0/16"], most_clouds=3)
    write_cluster(tmp_path / "out", make_bundle(edges), chosen, "ddnn …")
    for found in objects(tmp_path / "out"):
        kubernetes_validate.validate(found, OLDEST, strict=True)
    assert pods(tmp_path / "out").keys() == {"cloud"}
    services = [found["metadata"]["name"] for found in objects(tmp_path / "out", "Service")]
    assert services == ["cloud", *(["cloud-edges"] if len(edges) == 1 else [f"cloud-{n}-edges" for n in range(3)])]
    policies = {found["metadata"]["name"]: found["spec"] for found in objects(tmp_path / "out", "NetworkPolicy")}
    assert policies.keys() == {"nothing", "edges-to-clouds", "metrics"}
    assert policies["edges-to-clouds"]["ingress"][0]["from"] == [{"ipBlock": {"cidr": "10.9.0.0/16"}}]
    assert "clouds.example.org" in hosts(tmp_path / "out", "cloud-0")


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl puts kustomizations together")
def test_kubectl_puts_both_together(double: Path) -> None:
    told = subprocess.run(["kubectl", "version", "--client", "-o", "json"], check=True, capture_output=True, timeout=60)
    if "kustomizeVersion" not in yaml.safe_load(told.stdout):
        pytest.skip("this kubectl is older than 1.24, as Debian's is, and knows no `labels` in a kustomization")
    for name in (BASE, LOAD):
        made = subprocess.run(["kubectl", "kustomize", double / name], check=True, capture_output=True, timeout=60)
        found = list(yaml.safe_load_all(made.stdout))
        for each in found:
            kubernetes_validate.validate(each, OLDEST, strict=True)
        (scaler,) = (each for each in found if each["kind"] == "HorizontalPodAutoscaler")
        assert scaler["spec"]["metrics"][0]["type"] == ("Resource" if name == BASE else "Pods")
        assert {each["metadata"].get("namespace", "ddnn") for each in found} == {"ddnn"}


def test_a_bundle_that_no_image_has_is_laid_beside_what_an_image_is_built_of(double: Path, single: Path) -> None:
    Bundle.open(double / IMAGE / "bundle").verify()
    assert environment(pods(double)["cloud"])["DDNN_BUNDLE"] == "/bundle"
    assert "COPY bundle /bundle" in (double / IMAGE / "Dockerfile").read_text()
    assert not (single / IMAGE).exists()


def test_again_it_leaves_tokens_and_certificates_that_are_good(double: Path, make_bundle: MakeBundle) -> None:
    secrets = double / BASE / "secrets"
    before = {file: file.read_bytes() for file in secrets.rglob("*") if file.is_file()}
    bundle = make_bundle([[0, 2], [1]], name="again")
    write_cluster(double, bundle, Cluster(clouds=1, most_clouds=3), "ddnn …")
    assert {file: file.read_bytes() for file in secrets.rglob("*") if file.is_file()} == before
    write_cluster(double, bundle, Cluster(clouds=1, most_clouds=4), "ddnn …")
    assert "cloud-3.cloud" in hosts(double, "cloud-0")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"namespace": "No"}, "--namespace is 'No'"),
        ({"clouds": 7}, "--clouds is 7; expected 1 to the 6"),
        ({"devices": ["10.0.0.1/8"]}, r"--devices is '10.0.0.1/8'; expected a network"),
        ({"edges": ["10.0.0.1"]}, "--edge is given 1 times; expected 2"),
        ({"images": 'x"\n'}, "--images is"),
        ({"tag": "a b"}, "--tag is 'a b'"),
        ({"reached": ["clouds"]}, "--cloud is given"),
        ({"edges": ["a", "b"], "outside": True}, "--edge is given, and --outside"),
    ],
)
def test_what_no_cluster_takes_is_refused(given: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=message):
        write_cluster(tmp_path, Bundle.open(shipped_bundle()), Cluster(**given), "")
    assert not list(tmp_path.iterdir())


def test_the_command_writes_it(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, ["deploy", "kubernetes", str(tmp_path / "out"), "--namespace", "shop"])
    assert result.exit_code == 0, result.output
    assert f"kubectl apply --kustomize {tmp_path / 'out' / BASE}" in result.output.replace("\n", "")
    document = yaml.safe_load((tmp_path / "out" / BASE / "kustomization.yaml").read_text())
    assert document["namespace"] == "shop"
