"""A real Prometheus watches a real fleet: every plot has data, and every alert fires when it should."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from ddnn.bundle import Bundle
from ddnn.fleet.dashboard import PANELS
from ddnn.fleet.processes import LocalFleet
from ddnn.fleet.watch import DASHBOARD, watch_files, write_watch
from ddnn.policy import Allowance, Audits, Budget
from ddnn.types import Exit
from real_fleet import PATIENCE_S, Sensors

needs_prometheus = pytest.mark.skipif(
    not (shutil.which("prometheus") and shutil.which("promtool")),
    reason="prometheus and promtool are missing: Debian's package prometheus has both",
)


def promtool(*args: object) -> str:
    found = subprocess.run(["promtool", *map(str, args)], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
    return found.stdout


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_watch(tmp_path, watch_files({"cloud": "127.0.0.1:1", "edge": "127.0.0.1:2"}))
    return tmp_path


@needs_prometheus
def test_what_prometheus_reads_is_sound(files: Path) -> None:
    assert "2 rule files" not in promtool("check", "config", files / "prometheus.yml")
    promtool("check", "rules", files / "rules.yml")


#: By alert: what a tier shows, as series of promtool's, and the labels it then fires with.
FIRES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "TierDown": ({'up{job="ddnn", tier="cloud"}': "0x30"}, {"tier": "cloud"}),
    "DegradedAnswers": (
        {
            'ddnn_exits_total{job="ddnn", tier="edge", reason="sure"}': "0+9x30",
            'ddnn_exits_total{job="ddnn", tier="edge", reason="circuit_open"}': "0+1x30",
        },
        {"tier": "edge"},
    ),
    "CircuitOpen": ({'ddnn_circuit_state{job="ddnn", tier="edge"}': "2x30"}, {"tier": "edge"}),
    "AbsentDevice": (
        {
            'ddnn_fusion_missing_total{job="ddnn", tier="edge", device="3"}': "0+6x30",
            'ddnn_fusion_missing_total{job="ddnn", tier="edge", device="4"}': "0+4x30",
            'ddnn_fusion_contributors_count{job="ddnn", tier="edge"}': "0+10x30",
        },
        {"tier": "edge", "device": "3"},
    ),
    "LateDevice": (
        {
            'ddnn_fusion_late_total{job="ddnn", tier="edge", device="2"}': "0+1x30",
            'ddnn_fusion_late_total{job="ddnn", tier="edge", device="1"}': "0x30",
            'ddnn_fusion_contributors_count{job="ddnn", tier="edge"}': "0+10x30",
        },
        {"tier": "edge", "device": "2"},
    ),
    "DeviceSetAside": (
        {'ddnn_device_set_aside{job="ddnn", tier="edge", device="5"}': "1x30"},
        {"tier": "edge", "device": "5"},
    ),
    "Drift": ({'ddnn_audit_alarm{job="ddnn", tier="edge", exit="local"}': "1x30"}, {"tier": "edge", "exit": "local"}),
    "RecallDrift": (
        {'ddnn_audit_class_alarm{job="ddnn", tier="edge", class="7"}': "1x30"},
        {"tier": "edge", "class": "7"},
    ),
    "BudgetSpent": (
        {'ddnn_budget_alarm{job="ddnn", tier="edge", whose="site"}': "1x30"},
        {"tier": "edge", "whose": "site"},
    ),
    "Overload": (
        {'ddnn_shed_total{job="ddnn", tier="edge", reason="in_flight"}': "0+1x30"},
        {"tier": "edge", "reason": "in_flight"},
    ),
    "CertificateEnds": (
        {
            'ddnn_certificate_expiry_timestamp_seconds{job="ddnn", tier="edge"}': "86400x30",
            'ddnn_certificate_expiry_timestamp_seconds{job="ddnn", tier="cloud"}': "0x30",
        },
        {"tier": "edge"},
    ),
    "AuditTrailLost": ({'ddnn_audit_trail_dropped{job="ddnn", tier="edge"}': "1x30"}, {"tier": "edge"}),
}


def test_every_alert_is_tried(files: Path) -> None:
    groups = yaml.safe_load((files / "rules.yml").read_text("utf-8"))["groups"]
    assert {rule["alert"] for rule in groups[0]["rules"]} == set(FIRES)


@needs_prometheus
@pytest.mark.parametrize("alert", FIRES)
def test_an_alert_fires_for_what_it_is_about_and_not_without(files: Path, alert: str) -> None:
    series, labels = FIRES[alert]
    (rule,) = (
        rule
        for rule in yaml.safe_load((files / "rules.yml").read_text("utf-8"))["groups"][0]["rules"]
        if rule["alert"] == alert
    )
    by, quiet = labels | rule["labels"], {name: "0x30" for name in series if "up{" not in name}
    firing = f'count by ({", ".join(by)}) (ALERTS{{alertname="{alert}", alertstate="firing"}})'
    cases = []
    for shown, fires in ((series, [by]), (quiet, [])):
        cases.append(
            {
                "interval": "10s",
                "input_series": [{"series": name, "values": values} for name, values in shown.items()],
                "promql_expr_test": [
                    {
                        "expr": firing,
                        "eval_time": "5m",
                        "exp_samples": [
                            {"labels": "{" + ", ".join(f'{k}="{v}"' for k, v in each.items()) + "}", "value": 1}
                            for each in fires
                        ],
                    }
                ],
            }
        )
    (files / "test.yml").write_text(yaml.safe_dump({"rule_files": ["rules.yml"], "tests": cases}))
    promtool("test", "rules", files / "test.yml")


class Prometheus:
    """The server of that name over a folder of `write_watch`, on a free port."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self.url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )

    def ask(self, query: str) -> list[dict[str, Any]]:
        """What an expression has now; nothing while it is starting."""
        try:
            reply = httpx.get(f"{self.url}/api/v1/query", params={"query": query}, trust_env=False)
        except httpx.TransportError:
            return []
        if reply.status_code == 503:
            return []
        document = reply.json()
        assert document["status"] == "success", (query, document)
        found: list[dict[str, Any]] = document["data"]["result"]
        return found

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        self._log.close()


@pytest.fixture(scope="module")
def watched(every_exit: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Prometheus, Sensors]]:
    """Prometheus over a fleet with certificates, a budget and audits."""
    folder = tmp_path_factory.mktemp("watch")
    bundle = Path(shutil.copytree(every_exit.path, folder / "bundle"))
    audits = Audits(share=1.0, per_second=1000.0, burst=1000)
    budget = Budget(site=Allowance(events=1e6))
    every_exit.policy.model_copy(update={"audits": audits, "budget": budget}).write(bundle)
    site = tmp_path_factory.mktemp("identity") / "site"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(site / "authority.pem"))
        with LocalFleet(bundle, base_port=0, identity=site) as fleet:
            fleet.wait_until_ready(seconds=120)
            targets = {
                name: url.split("://")[1]
                for name, url in zip(
                    ("cloud", "edge", *(f"device-{n}" for n in range(6))),
                    (fleet.cloud_url, *fleet.edge_urls, *fleet.device_urls),
                    strict=True,
                )
            }
            files = watch_files(targets, scheme="https", authority=str(site / "authority.pem"))
            files["prometheus.yml"] = files["prometheus.yml"].replace(": 5s", ": 1s")
            write_watch(folder, files)
            prometheus = Prometheus(folder)
            sensors = Sensors(every_exit, fleet, "watched ")
            yield prometheus, sensors
            sensors.client.close()
            prometheus.close()


@needs_prometheus
def test_every_query_of_the_dashboard_has_data(watched: tuple[Prometheus, Sensors]) -> None:
    prometheus, sensors = watched
    queries = [expression for panel in PANELS for expression, _ in panel.queries]
    until = time.monotonic() + PATIENCE_S
    while missing := [query for query in queries if not prometheus.ask(query)]:
        assert time.monotonic() < until, missing
        assert {answer.exit for answer in sensors.see(slice(0, 24), wait_ms=5000)} <= {*Exit}
    up = prometheus.ask('up{job="ddnn"} == 1')
    assert {each["metric"]["tier"] for each in up} == {"cloud", "edge", *(f"device-{n}" for n in range(6))}
    assert not prometheus.ask('ALERTS{alertstate="firing", alertname!="DegradedAnswers"}')


def test_the_dashboard_shows_every_panel_once_and_none_over_another() -> None:
    panels = json.loads(watch_files({})[DASHBOARD])["panels"]
    assert [panel["title"] for panel in panels] == [panel.title for panel in PANELS]
    cells = [
        (x, y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
