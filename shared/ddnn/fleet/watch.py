"""What Prometheus and Grafana need to watch a fleet: whom to scrape, alert rules, a data source, a dashboard."""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from ddnn.errors import BadInput
from ddnn.fleet.dashboard import dashboard
from ddnn.pages import render
from ddnn.seal import write_atomically

__all__ = ["COLLECTOR", "FILES", "check_host", "watch_files", "write_watch"]

FILES: Final = ("prometheus.yml", "rules.yml", "grafana/datasources/ddnn.yml", "grafana/dashboards/ddnn.yml")
"""Out of templates; beside them the dashboard itself."""
_NAME: Final = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)(\.(?!-)[A-Za-z0-9_-]{1,63}(?<!-))*\.?")
COLLECTOR: Final = "collector.yml"
DASHBOARD: Final = "grafana/dashboards/ddnn.json"


def watch_files(
    targets: Mapping[str, str],
    *,
    scheme: str = "http",
    authority: str = "",
    credentials: str = "",
    prometheus: str = "http://127.0.0.1:9090",
    dashboards: str = "/etc/grafana/provisioning/dashboards",
    traces: str = "",
    traces_page: str = "",
) -> dict[str, str]:
    """The files by name.

    Args:
        targets: `host:port` of each tier by its name.
        scheme: `https` where tiers have certificates, of the `authority` in that file.
        authority: File that Prometheus trusts; none for those that the machine trusts.
        credentials: File with the metrics token, where there is one.
        prometheus: Address at which Grafana finds Prometheus.
        dashboards: Folder in which Grafana finds the dashboard.
        traces: `host:port` that a collector sends spans on to; without it there is no file for one.
        traces_page: Address at which Grafana finds them.
    """
    about = {"targets": targets, "scheme": scheme, "authority": authority, "credentials": credentials}
    places = {"prometheus": prometheus, "dashboards": dashboards, "traces": traces, "traces_page": traces_page}
    templates = dict(zip(FILES, ("prometheus.yml", "rules.yml", "datasource.yml", "dashboards.yml"), strict=True))
    templates |= {COLLECTOR: "collector.yml"} if traces else {}
    found = {name: render(f"watch/{template}", about | places) for name, template in templates.items()}
    return found | {DASHBOARD: json.dumps(dashboard(), indent=1) + "\n"}


def check_host(flag: str, host: str) -> None:
    """Raise `BadInput` unless `host` is an IP address or a name that a machine can have."""
    with suppress(ValueError):
        ip_address(host)
        return
    if len(host) > 253 or not _NAME.fullmatch(host):
        raise BadInput(f"{flag} is {host[:60]!r}; expected an IP address, or a name such as fleet.example.org")


def write_watch(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files into a folder, each atomically; what else is there stays."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda part, text=text: part.write_text(text, "utf-8"))  # type: ignore[misc]
