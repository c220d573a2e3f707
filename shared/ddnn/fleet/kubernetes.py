"""Cloud and edges as objects of Kubernetes: plain files, put together by a kustomization."""

import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Final

from ddnn.bundle import Bundle, shipped_as
from ddnn.errors import BadInput
from ddnn.fleet.addresses import edge_names
from ddnn.fleet.site import furnish
from ddnn.fleet.watch import check_host, write_watch
from ddnn.pages import render
from ddnn.topology import Topology

__all__ = ["AUTHORITY", "BASE", "LOAD", "Cluster", "cluster_files", "write_cluster"]

BASE: Final = "base"  #: folder that is applied
LOAD: Final = "load"  #: the same, scaled by what waits
IMAGE: Final = "image"  #: what an image with the bundle is built of
AUTHORITY: Final = "site"  #: the site's authority, which stays where the files were written
PORT: Final = 8000
_DRAIN_S, _PAUSE_S, _SPARE_S = 10, 5, 5
_PER_POD: Final = 16  #: of what a cloud works on, or what waits there for other edges
_COPIES: Final = 2  #: of an edge: the first and its standby
_TOKENS: Final = ("DDNN_TOKEN", "DDNN_ADMIN_TOKEN", "DDNN_METRICS_TOKEN")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_IMAGES: Final = re.compile(r"[a-z0-9]([a-z0-9._:/-]{0,180}[a-z0-9])?")
_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Cluster:
    """What a person chooses."""

    namespace: str = "ddnn"
    clouds: int = 2
    """That there always are."""
    most_clouds: int = 6
    """That there may be under load; the edges know all their addresses."""
    images: str = "ddnn"
    """What their names begin with, before `-cloud` and `-edge`."""
    tag: str = "latest"
    devices: Sequence[str] = ("10.0.0.0/8",)
    """Networks that devices are in, or the edges outside."""
    edges: Sequence[str] = field(default=())
    """Addresses by which devices reach the edges, each with its standby after it; none yet."""
    outside: bool = False
    """Whether the edges are at their sites, and the clouds alone here."""
    reached: Sequence[str] = field(default=())
    """Addresses by which edges outside reach the clouds; none yet."""
    monitoring: str = "monitoring"
    """Namespace of what scrapes metrics."""

    def check(self, topology: Topology) -> None:
        """Raise `BadInput` for what no cluster takes."""
        for flag, value, pattern in (
            ("--namespace", self.namespace, _LABEL),
            ("--monitoring", self.monitoring, _LABEL),
            ("--images", self.images, _IMAGES),
            ("--tag", self.tag, _TAG),
        ):
            if not pattern.fullmatch(value):
                raise BadInput(f"{flag} is {value[:60]!r}; expected a name that fits {pattern.pattern}")
        if not 1 <= self.clouds <= self.most_clouds:
            raise BadInput(f"--clouds is {self.clouds}; expected 1 to the {self.most_clouds} of --most-clouds")
        for network in self.devices:
            try:
                ip_network(network)
            except ValueError as error:
                raise BadInput(f"--devices is {network[:60]!r}; expected a network such as 10.0.0.0/8") from error
        for flag, addresses in (("--edge", self.edges), ("--cloud", self.reached)):
            for address in addresses:
                check_host(flag, address)
        if self.edges and self.outside:
            raise BadInput("--edge is given, and --outside; expected one of the two")
        if self.reached and not self.outside:
            raise BadInput("--cloud is given; expected it with --outside alone, as edges here know the clouds by name")
        wanted = _COPIES * len(topology.edges)
        if len(self.edges) not in (0, wanted):
            raise BadInput(f"--edge is given {len(self.edges)} times; expected {wanted}: each edge, and its standby")


@dataclass(frozen=True)
class Edge:
    """An edge with its standby."""

    name: str
    index: int
    devices: Sequence[int]

    @property
    def pods(self) -> list[str]:
        """The first and its standby."""
        return [f"{self.name}-{copy}" for copy in range(_COPIES)]


def cluster_files(
    bundle: Bundle, cluster: Cluster, identities: Mapping[str, Sequence[str]], command: str
) -> dict[str, str]:
    """The files by name, but for the secrets; `identities` are those by the folder of their tier."""
    topology, shipped = bundle.topology, shipped_as(bundle.path)
    names_of = [] if cluster.outside else edge_names(len(topology.edges))
    edges = [Edge(name, n, topology.edges[n].devices) for n, name in enumerate(names_of)]
    joins = len(topology.edges) > 1
    values: dict[str, Any] = {
        "command": command,
        "bundle": f"{bundle.manifest.name} {bundle.fingerprint[:12]}",
        "inside": shipped or "/bundle",
        "edges": edges,
        "identities": identities,
        "above": ",".join(f"https://{host}:{PORT}" for host in _cloud_hosts(cluster)),
        "port": PORT,
        "drain_s": _DRAIN_S,
        "pause_s": _PAUSE_S,
        "grace_s": _PAUSE_S + _DRAIN_S + _SPARE_S,
        # Where nothing is joined no event waits for others: there, what is worked on tells the load.
        "metric": "ddnn_queue_depth" if joins else "ddnn_in_flight",
        "per_pod": _PER_POD,
        **{name: getattr(cluster, name) for name in ("namespace", "clouds", "most_clouds", "images", "tag", "devices")},
        "monitoring": cluster.monitoring,
        "outside": cluster.outside,
        "joins": joins,
    }
    names = {f"{BASE}/{name}": name for name in ("kustomization.yaml", "namespace.yaml", "cloud.yaml", "network.yaml")}
    names |= {f"{LOAD}/{name}": f"load/{name}" for name in ("kustomization.yaml", "adapter.yml", "scrape.yml")}
    names |= {} if shipped else {f"{IMAGE}/Dockerfile": "Dockerfile"}
    files = {name: render(f"kubernetes/{template}", values) for name, template in names.items()}
    for edge in edges:
        files[f"{BASE}/{edge.name}.yaml"] = render("kubernetes/edge.yaml", values | {"edge": edge})
    return files


def write_cluster(folder: Path, bundle: Bundle, cluster: Cluster, command: str) -> None:
    """Write all into a folder, with certificates of the authority in `folder`/site; again, it renews what is due.

    Tokens that are there stay. Raises `BadInput`.
    """
    topology = bundle.topology
    cluster.check(topology)
    authority, own = folder / AUTHORITY, folder / BASE / "secrets"
    authority.mkdir(parents=True, exist_ok=True)
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    hosts = {"cloud-0": ["cloud", *_cloud_hosts(cluster), *cluster.reached]}
    for n, name in enumerate([] if cluster.outside else edge_names(len(topology.edges))):
        pods = [f"{name}-{copy}.{name}" for copy in range(_COPIES)]
        hosts[f"edge-{n}"] = [*pods, *cluster.edges[_COPIES * n : _COPIES * (n + 1)]]
    furnish(authority, topology, addresses=hosts)
    identities = {tier: sorted(file.name for file in (authority / tier).iterdir()) for tier in hosts}
    for tier in hosts:
        shutil.rmtree(own / tier, ignore_errors=True)
        shutil.copytree(authority / tier, own / tier)
    tokens = own / "tokens.env"
    if not tokens.exists():
        tokens.touch(mode=0o600)
        tokens.write_text("".join(f"{name}={secrets.token_urlsafe(24)}\n" for name in _TOKENS))
    if not shipped_as(bundle.path):
        shutil.copytree(bundle.path, folder / IMAGE / "bundle", dirs_exist_ok=True)
    write_watch(folder, cluster_files(bundle, cluster, identities, command))


def _cloud_hosts(cluster: Cluster) -> list[str]:
    """Names of all clouds that there may be, within their namespace."""
    return [f"cloud-{n}.cloud" for n in range(cluster.most_clouds)]
