"""`ddnn federate`: sites keep their pictures, and learn one network."""

import shlex
import ssl
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from ddnn.cli import options
from ddnn.cli.options import bars, print_json
from ddnn.errors import BadInput
from ddnn.formatting import percent

__all__ = ["federate", "tls"]

federate = typer.Typer(
    name="federate",
    help="""Sites keep their pictures, and learn one network: only weights travel.

    Example: `ddnn federate simulate mnist5k --grid 3x2 --config mnist5k --sites 4 --rounds 20 --out digits`
    """,
    no_args_is_help=True,
)

Source = Annotated[str, Argument(metavar="DATA", help="As of `ddnn train`.")]
Out = Annotated[Path, Option(help="Folder of the bundle to make.")]
ConfigFiles = Annotated[list[str] | None, Option(help="TOML file, or packaged config; later ones win.")]
Rounds = Annotated[int, Option(min=1, help="How often weights go to sites and back.")]
Epochs = Annotated[int, Option(min=1, help="A site's passes over its own events in a round.")]
Share = Annotated[float, Option(min=0.001, max=1, help="Share of the sites that are drawn for a round.")]
MethodName = Annotated[
    str, Option("--method", help="fedavg, fedprox (a pull to what was sent), fedbn (own norms), scaffold (no drift).")
]
Mu = Annotated[float, Option(min=0, help="The pull of fedprox.")]

What = Annotated[str, Option(help="What is averaged: network, or device: the section all share, of each its labels.")]
ServerOptimizer = Annotated[str, Option(help="How the server moves to the mean: sgd, or adam.")]
ServerRate = Annotated[float, Option(min=0, help="Rate of that; 1 of sgd is the mean itself.")]
ServerMomentum = Annotated[float, Option(min=0, max=0.999, help="Its momentum.")]
ServerAverage = Annotated[
    float, Option(min=0, max=0.999, help="Share of the past in what is kept, a mean over rounds.")
]
Steady = Annotated[float, Option(min=0, max=1, help="Share of the rounds after which batch norms stay as they are.")]
Secret = Annotated[bool, Option("--secret", help="Sites mask what they send: the server sees their sum alone.")]
Clip = Annotated[float, Option(min=0, help="Most that a site changes the weights by, as a norm; 0: as it likes.")]
NoiseOption = Annotated[float, Option("--noise", min=0, help="Noise on the sum of changes, in multiples of --clip.")]
Delta = Annotated[float, Option(min=1e-12, max=0.5, help="Chance that the ε which is told does not hold.")]


@federate.command()
def simulate(
    source: Source,
    out: Out,
    sites: Annotated[
        int | None, Option(min=1, help="How many sites the training events are dealt to.  [default: 4]")
    ] = None,
    by: Annotated[
        str | None, Option(help="How: iid, unequal, classes:2 (two classes a site), groups.  [default: iid]")
    ] = None,
    rounds: Rounds = 20,
    epochs: Epochs = 1,
    share: Share = 1.0,
    method: MethodName = "fedavg",
    mu: Mu = 0.01,
    what: What = "network",
    server_optimizer: ServerOptimizer = "sgd",
    server_rate: ServerRate = 1.0,
    server_momentum: ServerMomentum = 0.0,
    server_average: ServerAverage = 0.0,
    steady: Steady = 1.0,
    secret: Secret = False,
    clip: Clip = 0.0,
    noise: NoiseOption = 0.0,
    delta: Delta = 1e-5,
    drop: Annotated[float, Option(min=0, max=0.99, help="Chance that a drawn site is lost in a round.")] = 0.0,
    grid: options.Grid = None,
    group_by: options.GroupBy = None,
    config: ConfigFiles = None,
    batch: Annotated[int | None, Option(min=2, help="Overrides training.batch: of each site.")] = None,
    learning_rate: Annotated[float | None, Option(help="Overrides training.learning_rate.")] = None,
    seed: Annotated[int, Option(min=0, help="Where chance plays.")] = 0,
    resume: Annotated[bool, Option("--resume", help="Go on after the last whole round, kept in OUT.run.")] = False,
    force: Annotated[bool, Option("--force", help="Replace an existing bundle, or an unfinished run.")] = False,
    as_json: options.Json = False,
) -> None:
    """Deal one data set's training events to sites of this machine, and train a bundle without joining them.

    Example: `ddnn federate simulate mnist5k --grid 3x2 --by classes:2 --sites 5 --out digits`

    The server has the validation and the test events, the sites the others. Every site is a whole group of devices.
    """
    from ddnn.configs import config_file
    from ddnn.data import load
    from ddnn.extensions import needed_for

    with needed_for("training"):
        from ddnn.training import Config
        from ddnn.training.federated import Simulated, Site, devices_of, parts_of
    settings = _settings(
        rounds, epochs, share, method, mu, drop, what=what, secret=secret, clip=clip, noise=noise, delta=delta,
        steady=steady, server_optimizer=server_optimizer, server_rate=server_rate, server_momentum=server_momentum,
    )  # fmt: skip
    wanted = Config.read(*(config_file(each) for each in config or ())).changed(
        batch=batch, learning_rate=learning_rate
    )
    with bars() as progress:
        data = load(source, grid=grid, group_by=group_by, devices=wanted.network.devices, seed=seed, progress=progress)
    if what == "device":
        if sites is not None or by is not None:
            raise BadInput("--what device makes each device of the data a site; expected neither --sites nor --by")
        own, by = devices_of(data), "a device each"
    else:
        by = by or "iid"
        own = {f"site-{at}": data.take(rows) for at, rows in enumerate(parts_of(data, sites or 4, by, seed))}
    there = [Site(name, wanted, each, settings, seed + at) for at, (name, each) in enumerate(own.items())]
    sizes = [site.events for site in there]
    typer.echo(f"{len(there)} sites of {min(sizes)} to {max(sizes)} training events, {by}", err=True)
    simulated = Simulated(there, drop=drop, seed=seed)
    wanted = wanted.changed(average=server_average)  # of rounds: a site's own steps have none
    _train(simulated, data, wanted, settings, out, seed=seed, resume=resume, force=force, as_json=as_json)


@federate.command()
def serve(
    context: typer.Context,
    source: Source,
    out: Out,
    sites: Annotated[int, Option(min=1, help="How many sites the first round waits for; more may come later.")] = 2,
    host: Annotated[str, Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen at; 0: any.")] = 8700,
    rounds: Rounds = 20,
    epochs: Epochs = 1,
    share: Share = 1.0,
    method: MethodName = "fedavg",
    mu: Mu = 0.01,
    what: What = "network",
    server_optimizer: ServerOptimizer = "sgd",
    server_rate: ServerRate = 1.0,
    server_momentum: ServerMomentum = 0.0,
    server_average: ServerAverage = 0.0,
    steady: Steady = 1.0,
    secret: Secret = False,
    clip: Clip = 0.0,
    noise: NoiseOption = 0.0,
    delta: Delta = 1e-5,
    wait: Annotated[float, Option(min=1, metavar="SECONDS", help="Longest wait for the sites of a round.")] = 600.0,
    silent: Annotated[
        float, Option(min=5, metavar="SECONDS", help="After so long without a word a site is lost.")
    ] = 10.0,
    certificate: Annotated[Path | None, Option(help="The server's certificate, for https; with --key.")] = None,
    key: Annotated[Path | None, Option(help="Its key.")] = None,
    token: options.Token = None,
    grid: options.Grid = None,
    config: ConfigFiles = None,
    batch: Annotated[int | None, Option(min=2, help="Overrides training.batch: of each site.")] = None,
    learning_rate: Annotated[float | None, Option(help="Overrides training.learning_rate.")] = None,
    seed: Annotated[int, Option(min=0, help="Where chance plays.")] = 0,
    resume: Annotated[bool, Option("--resume", help="Go on after the last whole round, kept in OUT.run.")] = False,
    force: Annotated[bool, Option("--force", help="Replace an existing bundle, or an unfinished run.")] = False,
    as_json: options.Json = False,
) -> None:
    """Serve weights to sites that come over the network, and make the bundle: it has events to test by, no others.

    Example: `ddnn federate serve public.npz --out shelf --sites 3 --certificate server.pem --key server.key`
    """
    from ddnn.configs import config_file
    from ddnn.data import load
    from ddnn.extensions import needed_for

    with needed_for("training"):
        from ddnn.training import Config
        from ddnn.training.federated import FlowerSites, Networked
        from ddnn.training.federated.served import largest_parcel
        from ddnn.training.federated.told import told_of
    if context.obj:
        _refuse_own_network(context)
    secured = tls(certificate, key)
    settings = _settings(
        rounds, epochs, share, method, mu, what=what, secret=secret, clip=clip, noise=noise, delta=delta,
        steady=steady, wait_s=wait, server_optimizer=server_optimizer, server_rate=server_rate,
        server_momentum=server_momentum,
    )  # fmt: skip
    wanted = Config.read(*(config_file(each) for each in config or ())).changed(
        batch=batch, learning_rate=learning_rate
    )
    with bars() as progress:
        own: Any = {"splits": ("validation", "test"), "progress": progress}
        data = load(source, grid=grid, devices=wanted.network.devices, seed=seed, **own)
    told = told_of(data, wanted, settings, seed)
    of_rounds = wanted.changed(average=server_average)  # a site's own steps have none
    wishes: dict[str, Any] = {"seed": seed, "resume": resume, "force": force, "as_json": as_json}
    if context.obj:
        typer.echo(f"waiting for {sites} sites on Flower", err=True)
        on_flower = FlowerSites(context.obj, told, settings, count=sites, say=lambda line: typer.echo(line, err=True))
        _train(on_flower, data, of_rounds, settings, out, **wishes)
        return
    most = largest_parcel(data, wanted)
    there = Networked(told, settings, count=sites, largest=most, silent_s=silent, token=token)
    there.start(host, port, secured)
    scheme = "https" if certificate else "http"
    typer.echo(f"waiting for {sites} sites at {scheme}://{host}:{there.port}", err=True)
    try:
        _train(there, data, of_rounds, settings, out, **wishes)
    finally:
        there.stop()


@federate.command()
def join(
    url: Annotated[str, Argument(metavar="URL", help="Address of the server.")],
    source: Source,
    name: Annotated[str, Option(help="What this site is called: letters, digits, dots, dashes.")],
    token: options.Token = None,
    authority: Annotated[
        Path | None, Option("--ca", metavar="FILE", help="Certificate that the server's is checked by.")
    ] = None,
    grid: options.Grid = None,
    group_by: options.GroupBy = None,
    device: Annotated[
        int | None,
        Option(min=0, metavar="N", help="Which device of the data this is, where these learn one section."),
    ] = None,
    seed: Annotated[int, Option(min=0, help="Of the split: training events alone are learnt from.")] = 0,
) -> None:
    """Learn as a site of a server: this machine's events stay here, and weights go to and fro.

    Example: `ddnn federate join https://server:8700 shop.npz --name shop-3 --ca site.pem`
    """
    from ddnn.data import load
    from ddnn.extensions import needed_for, refuse_unlisted
    from ddnn.settings import Settings

    with needed_for("training"):
        from ddnn.training.federated import Visitor
    visitor = Visitor(url, name, token=token, authority=str(authority) if authority else None)
    wanted = visitor.told.config.network
    refuse_unlisted(wanted.extensions, Settings.load().extensions)  # a server must not choose what is imported
    with bars() as progress:
        own: Any = {"splits": ("train",), "progress": progress}
        data = load(source, grid=grid, group_by=group_by, devices=wanted.devices, seed=seed, **own)
    made = visitor.stay(visitor.told.own(data, device), lambda line: typer.echo(line, err=True))
    typer.echo(f"training is over; this site took part in {made} rounds", err=True)


def _refuse_own_network(context: typer.Context) -> None:
    """Raise `BadInput` for what is said of a network of our own, where Flower has one."""
    for name in ("host", "port", "silent", "certificate", "key", "token"):
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise BadInput(
                f"--{name} is given, and Flower carries the parcels; expected the options of flower-superlink"
            )


def tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What a server of learners listens with; raise `BadInput` where the two do not make one."""
    if (certificate is None) != (key is None):
        raise BadInput("--certificate and --key go together; expected both, or none")
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as error:
        raise BadInput(
            f"{certificate} and {key} cannot be used ({error}); expected a certificate and its key"
        ) from error
    return context


def _settings(*given: Any, **named: Any) -> Any:
    """All of them, if they go together; raise `BadInput` naming the first that does not."""
    from ddnn.extensions import needed_for
    from ddnn.training.federated import Federated

    settings = Federated(*given, **named)
    for flag, value, expected in (
        ("--method", settings.method, ("fedavg", "fedprox", "fedbn", "scaffold")),
        ("--what", settings.what, ("network", "device")),
        ("--server-optimizer", settings.server_optimizer, ("sgd", "adam")),
    ):
        if value not in expected:
            raise BadInput(f"{flag} is {value}; expected {', '.join(expected[:-1])} or {expected[-1]}")
    if settings.clip and settings.method == "scaffold":
        raise BadInput("--method scaffold sends gradients, which --clip does not limit; expected another one")
    if settings.noise and not settings.clip:
        raise BadInput(f"--noise is {settings.noise:g} of nothing; expected a --clip beside it")
    with needed_for("a private federation", extra="private"):
        if settings.secret:
            from Crypto.Protocol import SecretSharing  # noqa: F401  # nosec B413  # of pycryptodome, which is kept
        if settings.noise:
            import dp_accounting  # noqa: F401
    return settings


def _train(
    sites: Any, data: Any, config: Any, settings: Any, out: Path, *, seed: int, as_json: bool, **wishes: Any
) -> None:
    """Make the rounds, and the bundle."""
    from ddnn.pipeline import make_bundle
    from ddnn.training import Run
    from ddnn.training.federated import Federation
    from ddnn.training.federated.served import server_data

    federation, run = Federation(sites, settings, seed), Run.beside(out)
    wanted = config.changed(epochs=settings.rounds)
    if settings.what == "device":  # the other exits learn nothing, and choose nothing
        wanted = wanted.changed(device_weight=1.0, local_weight=0.0, edge_weight=0.0, cloud_weight=0.0)
    command = shlex.join(["ddnn", *(word for word in sys.argv[1:] if word not in {"--resume", "--force", "--json"})])
    with bars() as progress:
        watcher = _Watcher(settings.rounds, progress)
        bundle = make_bundle(
            server_data(data), wanted, out, seed=seed, run=run, exchange=federation, watcher=watcher, command=command,
            yardstick=False, phase=lambda what: progress(what, 0, 1), say=lambda it: typer.echo(it, err=True), **wishes,
        )  # fmt: skip
    report = bundle.manifest.training.test
    if as_json:
        test = {key: value for key, value in report.items() if key != "proof"}
        made = {"workers": bundle.manifest.training.data["workers"], "training": run.summary(), "test": test}
        print_json({"bundle": str(out), "fingerprint": bundle.fingerprint, **made})
        return
    from ddnn.evaluation.table import exits_table

    title = f"{out} on {report['events']} test events, each exit as if it answered all"
    options.screen(stderr=True).print(exits_table(report, title))


class _Watcher:
    """A line on stderr for every round."""

    def __init__(self, rounds: int, progress: Any) -> None:
        self.rounds, self.progress = rounds, progress

    def step(self, epoch: int, done: int, steps: int) -> None:
        self.progress(f"round {epoch + 1}", done, steps)

    def epoch(self, record: Any) -> None:
        lost = f", lost {', '.join(record['lost'])}" if record["lost"] else ""
        right = " ".join(
            f"{name} {percent(record[name])}" for name in ("local", "edge", "cloud") if record[name] is not None
        )
        line = f"round {record['epoch'] + 1} of {self.rounds}: {len(record['drawn'])} sites, loss {record['loss']:.4f}"
        told = ""
        if privacy := record.get("privacy"):
            epsilon = "∞" if privacy["epsilon"] is None else f"{privacy['epsilon']:.2f}"
            told = f", ε {epsilon} at δ {privacy['delta']:g}"
        typer.echo(f"{line}, validation {right}{lost}{told}", err=True)
