"""`ddnn deploy`: what runs a fleet elsewhere."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

from ddnn.cli import options
from ddnn.cli.options import open_bundle, print_json, screen
from ddnn.errors import BadInput
from ddnn.formatting import plain_table

__all__ = ["deploy"]

deploy = typer.Typer(
    name="deploy",
    help="""Write what runs a fleet elsewhere or watches it: for `docker compose`, Kubernetes, Prometheus; slices.

    Example: `ddnn deploy compose runs/mine > docker-compose.yml`
    """,
    no_args_is_help=True,
)


@deploy.callback()
def _root() -> None:
    pass


@deploy.command("slice")
def slice_(
    tier: Annotated[str, Option(metavar="TIER", help="cloud, edge, edge-1, device-0 …")],
    bundle: options.BundleArgument = None,
    out: Annotated[
        Path | None, Option(metavar="DIR", help="Where it is written; TIER in this folder by default.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Write what one tier needs of a bundle: its sections and golden events, under the manifest and signature of all.

    A tier serves it as it does the whole, and verifies it by the same keys.

    Example: ddnn deploy slice runs/mine --tier device-0 --out device-0
    """
    from ddnn.parts import tier_named
    from ddnn.slices import slice_bundle

    opened = open_bundle(bundle)
    which = tier_named(tier, opened.topology)
    folder = out or Path(f"{which[0]}-{which[1]}")
    size = slice_bundle(opened, *which, folder)
    if as_json:
        print_json({"tier": f"{which[0]}-{which[1]}", "folder": str(folder), "bytes": size})
    else:
        whole = sum(entry.bytes for entry in opened.manifest.files.values())
        typer.echo(f"{folder}: {size:,} bytes of the {whole:,} that the bundle has")


@deploy.command()
def compose(
    bundle: options.BundleArgument = None,
    base_port: Annotated[
        int, Option(min=1, max=65535, help="Port of the cloud on this machine; others follow.")
    ] = 8000,
) -> None:
    """Print a compose file with the tiers that a bundle's network has, each a container.

    The images are built of the folder of the sources, here or DDNN_SOURCE. CLOUD_PORT, EDGE_PORT, DEVICE_0_PORT … give
    other ports without a new file, DDNN_BUNDLE_DIR another folder of the bundle, which user 10001 must be able to read.

    Example: ddnn deploy compose runs/mine --base-port 9000 > docker-compose.yml
    """
    from ddnn.bundle import shipped_as
    from ddnn.fleet.compose import compose_file

    given = [
        *([shipped_as(bundle) or str(bundle)] if bundle else []),
        *(["--base-port", str(base_port)] if base_port != 8000 else []),
    ]
    command = shlex.join(["ddnn", "deploy", "compose", *given])
    typer.echo(compose_file(bundle, base_port=base_port, command=command), nl=False)


@deploy.command()
def federation(
    source: Annotated[str, Argument(metavar="DATA", help="The server's: events to choose and to test by.")],
    site: Annotated[
        list[str], Option(metavar="NAME=DATA", help="A site and its events, which it alone sees; again for the next.")
    ],
    options_: Annotated[
        list[str] | None, Argument(metavar="[-- OPTIONS]", help="Of `ddnn federate serve`, after two dashes.")
    ] = None,
    grid: options.Grid = None,
    config: Annotated[list[str] | None, Option(help="TOML file, or packaged config; later ones win.")] = None,
) -> None:
    """Print a compose file for a federated training: a server and its sites, each a container, over https.

    The image is built of the folder of the sources, here or DDNN_SOURCE, with torch. Data are mounted read-only, each
    site's into its own container; user 10001 must be able to read them.

    Example: ddnn deploy federation public.npz --site a=a.npz --site b=b.npz -- --rounds 30 > federation.yml
    """
    from typer.main import get_group

    from ddnn.cli.federate import federate
    from ddnn.fleet.federation import federation_file

    own = dict(each.partition("=")[::2] for each in site)
    if unnamed := [name for name, data in own.items() if not data]:
        raise BadInput(f"--site is {unnamed[0]}; expected NAME=DATA")
    if len(own) < len(site):
        raise BadInput(f"{len(site)} sites have {len(own)} names; expected one for each")
    wishes = options_ or []
    serve = get_group(federate).commands["serve"]
    serve.make_context("ddnn federate serve", [source, "--out", "bundle", *wishes])
    given = [source, *(word for each in site for word in ("--site", each))]
    given += [*(["--grid", grid] if grid else []), *(word for each in config or () for word in ("--config", each))]
    command = shlex.join(["ddnn", "deploy", "federation", *given, *(["--", *wishes] if wishes else [])])
    typer.echo(federation_file(source, own, grid=grid, configs=config or (), options=wishes, command=command), nl=False)


@deploy.command()
def pin(
    file: Annotated[
        Path, Argument(metavar="FILE", help="A compose file by `ddnn deploy compose`; by default that of this folder.")
    ] = Path("docker-compose.yml"),
    env: Annotated[Path, Option(help="Where the digests go, for `docker compose`; what else is in it stays.")] = Path(
        ".env"
    ),
    as_json: options.Json = False,
) -> None:
    """Write down which bytes the images of a compose file are: their digests, as their registries say now.

    The base image of the tiers, and what `--profile watch` starts, of which the file has digests: the last column says
    whether a registry means other bytes now. Docker asks; where a registry cannot be reached, nothing is written, and
    the exit code is 1. Again, it takes the digests of that day.

    Example: ddnn deploy pin && docker compose up --build
    """
    from ddnn.fleet.pins import digest_of, images_in, pinned, write_pins

    with options.bars() as progress:
        images, asked = images_in(file), list[str]()

        def ask(image: str) -> str:
            progress("images", len(asked), len(images))
            asked.append(image)
            return digest_of(image)

        pins = pinned(images, ask)
    write_pins(env, pins)
    if as_json:
        print_json({"env": str(env), "images": pins, "named": images})
        return
    table = plain_table("setting", "image", "in the file")
    for name, image in pins.items():
        table.add_row(
            name, image, "the same" if image == images[name] else "another" if "@" in images[name] else "none"
        )
    screen(soft_wrap=True).print(table)
    typer.echo(f"{env} has them; `docker compose` reads it.")


@deploy.command()
def site(
    out: Annotated[Path, Argument(metavar="OUT", help="Where the folders go, one a host.")],
    bundle: options.BundleArgument = None,
    cloud: Annotated[str, Option(metavar="ADDRESS", help="IP address of the cloud's machine.")] = "127.0.0.1",
    edge: Annotated[list[str] | None, Option(metavar="ADDRESS", help="Of the edge's; again for another edge.")] = None,
    device: Annotated[list[str] | None, Option(metavar="ADDRESS", help="Of a device's; again for the next.")] = None,
    at: Annotated[str, Option(metavar="DIR", help="Where a host's folder will be, on that host.")] = "/opt/ddnn/site",
    base_port: options.BasePort = 8000,
    as_json: options.Json = False,
) -> None:
    """Write what each machine of a site needs: slices, certificates, a compose file, and units for systemd.

    A tier listens on its machine's address, the cloud on the base port, edges from +1, devices from +10, over https.
    OUT/site is the authority, and stays here. Again, it renews what is due.

    Example: ddnn deploy site out runs/mine --cloud 10.0.0.2 --edge 10.0.0.3 --device 10.0.0.10 --device 10.0.0.11
    """
    from pathlib import PurePosixPath

    from ddnn.fleet.hosts import AUTHORITY, hosted, write_site

    opened = open_bundle(bundle)
    addresses = {"cloud": cloud, "edges": edge or [cloud], "devices": device or edge or [cloud]}
    tiers = hosted(opened.topology, **addresses, base_port=base_port)  # type: ignore[arg-type]
    sizes = write_site(out, opened, tiers, PurePosixPath(at))
    if as_json:
        rows = [{"name": each.name, "url": each.url, "upstream": each.above or None} for each in tiers]
        print_json({"tiers": rows, "bytes": sizes, "authority": str(out / AUTHORITY / "authority.pem")})
        return
    table = plain_table("tier", "listens on", "asks", "folder")
    for each in tiers:
        table.add_row(each.name, each.netloc, each.above, str(out / each.host.replace(":", "-")))
    screen().print(table)
    typer.echo(f"\nCallers trust {out / AUTHORITY / 'authority.pem'}; {out / AUTHORITY} itself stays here.")


@deploy.command()
def kubernetes(
    folder: Annotated[Path, Argument(metavar="DIR", help="Where the files go.")],
    bundle: options.BundleArgument = None,
    clouds: Annotated[int, Option(min=1, max=99, help="Clouds that there always are.")] = 2,
    most_clouds: Annotated[int, Option(min=1, max=99, help="That there may be under load; edges name them all.")] = 6,
    edge: Annotated[
        list[str] | None,
        Option(
            metavar="ADDRESS", help="Address or name by which devices reach an edge; then its standby's, and so on."
        ),
    ] = None,
    devices: Annotated[
        list[str] | None,
        Option(metavar="NETWORK", help="Network that devices are in, or edges outside; 10.0.0.0/8 by default."),
    ] = None,
    outside: Annotated[bool, Option("--outside", help="Edges are at their sites: the clouds alone.")] = False,
    cloud: Annotated[
        list[str] | None, Option(metavar="ADDRESS", help="By which edges outside reach the clouds; again for more.")
    ] = None,
    images: Annotated[str, Option(help="What the images' names begin with, before `-cloud` and `-edge`.")] = "ddnn",
    tag: Annotated[str, Option(help="Tag of the images.")] = "latest",
    namespace: Annotated[str, Option(help="Namespace of all that is made.")] = "ddnn",
    monitoring: Annotated[str, Option(help="Namespace of what scrapes metrics.")] = "monitoring",
) -> None:
    """Write what runs a bundle's cloud and edges on Kubernetes, by `kubectl apply --kustomize DIR/base`.

    Clouds that scale, each edge with a standby; certificates, tokens, network policies, disruption budgets. DIR/load
    scales by what waits. DIR/site is the authority, and stays here; devices take theirs from it. Again, it renews what
    is due.

    Example: ddnn deploy kubernetes out runs/mine --images registry.example.org/ddnn --tag 3 --devices 10.77.0.0/16
    """
    import sys

    from ddnn.fleet.kubernetes import AUTHORITY, BASE, Cluster, write_cluster

    opened = open_bundle(bundle)
    cluster = Cluster(
        namespace=namespace,
        clouds=clouds,
        most_clouds=most_clouds,
        images=images,
        tag=tag,
        devices=devices or Cluster.devices,
        edges=edge or (),
        outside=outside,
        reached=cloud or (),
        monitoring=monitoring,
    )
    write_cluster(folder, opened, cluster, shlex.join(["ddnn", *sys.argv[1:]]))
    typer.echo(f"kubectl apply --kustomize {folder / BASE}")
    typer.echo(
        f"What is outside trusts {folder / AUTHORITY / 'authority.pem'}; {folder / AUTHORITY} itself stays here."
    )


@deploy.command()
def watch(
    folder: Annotated[Path, Argument(metavar="DIR", help="Where the files go.")],
    bundle: options.BundleArgument = None,
    base_port: options.BasePort = 8000,
    host: Annotated[str, Option(help="Where the fleet of --base-port is, as Prometheus sees it.")] = "127.0.0.1",
    containers: Annotated[bool, Option("--containers", help="The services of the compose file instead.")] = False,
    authority: Annotated[Path | None, Option(help="`authority.pem` of tiers with certificates.")] = None,
    credentials: Annotated[Path | None, Option(help="File that holds the metrics token.")] = None,
) -> None:
    """Write what Prometheus and Grafana need to watch the tiers of a bundle's network.

    Whom to scrape, alert rules, a data source and a dashboard. `docker compose --profile watch up` does all of it.

    Example: ddnn deploy watch watch && prometheus --config.file watch/prometheus.yml
    """
    from ddnn.bundle import Bundle, shipped_bundle
    from ddnn.fleet.addresses import ports
    from ddnn.fleet.compose import INSIDE
    from ddnn.fleet.watch import check_host, watch_files, write_watch

    topology = Bundle.open(bundle or shipped_bundle()).topology
    check_host("--host", host)
    own = ports(base_port, len(topology.devices), len(topology.edges))
    if containers:
        files = watch_files(
            {name: f"{name}:{INSIDE}" for name in own},
            scheme="https",
            authority="/site/authority.pem",
            prometheus="http://prometheus:9090",
            dashboards=f"{folder}/grafana/dashboards",
            traces="jaeger:4317",
            traces_page="http://jaeger:16686",
        )
    else:
        files = watch_files(
            {name: f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for name, port in own.items()},
            scheme="https" if authority else "http",
            authority=str(authority.resolve()) if authority else "",
            credentials=str(credentials.resolve()) if credentials else "",
            dashboards=str(folder.resolve() / "grafana" / "dashboards"),
        )
    write_watch(folder, files)
    typer.echo(f"{folder / 'prometheus.yml'} scrapes {len(own)} tiers; alerts are in rules.yml, Grafana's in grafana/.")
