"""`ddnn split`: the devices of one group keep their views, and learn one network with the tiers above them."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer import Argument, Option

from ddnn.cli import options
from ddnn.cli.federate import tls
from ddnn.cli.options import bars, print_json
from ddnn.cli.train import Watcher
from ddnn.formatting import size

__all__ = ["split"]

split = typer.Typer(
    name="split",
    help="""Devices keep their views and learn one network with the tiers above: features go up, gradients come down.

    Example: `ddnn split simulate mnist5k --grid 3x2 --config mnist5k --epochs 10 --out digits`
    """,
    no_args_is_help=True,
)

Source = Annotated[str, Argument(metavar="DATA", help="As of `ddnn train`.")]
Out = Annotated[Path, Option(help="Folder of the bundle to make.")]
ConfigFiles = Annotated[list[str] | None, Option(help="TOML file, or packaged config; later ones win.")]
Epochs = Annotated[int | None, Option(min=1, help="Overrides training.epochs.")]
Batch = Annotated[int | None, Option(min=2, help="Overrides training.batch.")]
Rate = Annotated[float | None, Option(help="Overrides training.learning_rate.")]
Resume = Annotated[bool, Option("--resume", help="Go on after the last whole epoch, kept in OUT.run.")]
Force = Annotated[bool, Option("--force", help="Replace an existing bundle, or an unfinished run.")]


@split.command()
def simulate(
    source: Source,
    out: Out,
    grid: options.Grid = None,
    group_by: options.GroupBy = None,
    config: ConfigFiles = None,
    epochs: Epochs = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    seed: Annotated[int, Option(min=0, help="Where chance plays.")] = 0,
    resume: Resume = False,
    force: Force = False,
    as_json: options.Json = False,
) -> None:
    """Train split on this machine: every device has its own part of the network, and only that part sees its views.

    Example: `ddnn split simulate mnist5k --grid 3x2 --config mnist5k --epochs 10 --out digits`
    """
    from ddnn.extensions import needed_for
    from ddnn.topology import View

    with needed_for("training"):
        from ddnn.training.split import Device, Simulated
        from ddnn.training.split.device import alone_of
    wanted, data = _read(source, grid, group_by, config, seed, epochs=epochs, batch=batch, learning_rate=learning_rate)
    shapes = [View.of(view, data.picture) for view in data.views]
    own: dict[str, Any] = {"shapes": shapes, "classes": len(data.classes), "seed": seed}
    devices = [Device(wanted, index, *alone_of(data, index), **own) for index in range(data.devices)]
    typer.echo(f"{len(devices)} devices, each with its views of {devices[0].events} training events", err=True)
    _train(Simulated(devices), data, wanted, out, seed=seed, resume=resume, force=force, as_json=as_json)


@split.command()
def serve(
    source: Source,
    out: Out,
    host: Annotated[str, Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, Option(min=0, max=65535, help="Port to listen at; 0: any.")] = 8701,
    wait: Annotated[float, Option(min=1, metavar="SECONDS", help="Longest wait for all devices to come.")] = 600.0,
    silent: Annotated[
        float, Option(min=1, metavar="SECONDS", help="After so long without an answer a device is lost.")
    ] = 30.0,
    certificate: Annotated[Path | None, Option(help="The server's certificate, for https; with --key.")] = None,
    key: Annotated[Path | None, Option(help="Its key.")] = None,
    token: options.Token = None,
    grid: options.Grid = None,
    group_by: options.GroupBy = None,
    config: ConfigFiles = None,
    epochs: Epochs = None,
    batch: Batch = None,
    learning_rate: Rate = None,
    seed: Annotated[int, Option(min=0, help="Where chance plays; the devices' split is by it, too.")] = 0,
    resume: Resume = False,
    force: Force = False,
    as_json: options.Json = False,
) -> None:
    """Have the labels, and the sections above the devices; make the bundle when the devices have learnt with them.

    Example: `ddnn split serve labels.npz --out yard --certificate server.pem --key server.key`

    Of the training events only labels and presence are looked at: their views in DATA may be blank. Those of the
    validation and test events are the server's own, to choose, tune and test by.
    """
    from ddnn.extensions import needed_for

    with needed_for("training"):
        from ddnn.training.split import Networked, told_of
        from ddnn.training.split.served import largest_answer
    context = tls(certificate, key)
    wanted, data = _read(source, grid, group_by, config, seed, epochs=epochs, batch=batch, learning_rate=learning_rate)
    most = largest_answer(data, wanted)
    waits: dict[str, Any] = {"wait_s": wait, "silent_s": silent}
    there = Networked(told_of(data, wanted, seed), count=data.devices, largest=most, token=token, **waits)
    there.start(host, port, context)
    scheme = "https" if certificate else "http"
    typer.echo(f"waiting for {data.devices} devices at {scheme}://{host}:{there.port}", err=True)
    try:
        _train(there, data, wanted, out, seed=seed, resume=resume, force=force, as_json=as_json)
    finally:
        there.stop()


@split.command()
def join(
    url: Annotated[str, Argument(metavar="URL", help="Address of the server.")],
    source: Source,
    index: Annotated[int, Option(min=0, help="Which device this is.")],
    token: options.Token = None,
    authority: Annotated[
        Path | None, Option("--ca", metavar="FILE", help="Certificate that the server's is checked by.")
    ] = None,
    grid: options.Grid = None,
    group_by: options.GroupBy = None,
    seed: Annotated[int, Option(min=0, help="Of the split, as at the server.")] = 0,
) -> None:
    """Learn as a device of a server: this machine's views stay here; scores and features go up, gradients come down.

    Example: `ddnn split join https://server:8701 camera-3.npz --index 3 --ca site.pem`

    DATA has this device's view alone, or all devices' of which this one's are taken; its labels are not looked at.
    """
    from ddnn.data import load
    from ddnn.extensions import needed_for, refuse_unlisted
    from ddnn.settings import Settings

    with needed_for("training"):
        from ddnn.training.split import Visitor
    with Visitor(url, index, token=token, authority=str(authority) if authority else None) as visitor:
        extensions = visitor.config.network.extensions
        refuse_unlisted(extensions, Settings.load().extensions)  # a server must not choose what is imported
        with bars() as progress:
            data = load(source, grid=grid, group_by=group_by, seed=seed, progress=progress)
        obeyed = visitor.stay(data, lambda line: typer.echo(line, err=True))
    typer.echo(f"training is over; this device did {obeyed} orders", err=True)


def _read(
    source: str, grid: str | None, group_by: str | None, config: list[str] | None, seed: int, **changes: Any
) -> tuple[Any, Any]:
    """The config, without what split training cannot have; and the data."""
    from ddnn.configs import config_file
    from ddnn.data import load
    from ddnn.extensions import needed_for

    with needed_for("training"):
        from ddnn.training import Config
        from ddnn.training.split import refuse_unsplit
    wanted = Config.read(*(config_file(each) for each in config or ())).changed(**changes, average=0.0)
    refuse_unsplit(wanted)
    with bars() as progress:
        data = load(source, grid=grid, group_by=group_by, devices=wanted.network.devices, seed=seed, progress=progress)
    return wanted, data


def _train(devices: Any, data: Any, wanted: Any, out: Path, *, seed: int, as_json: bool, **wishes: Any) -> None:
    """Make the epochs, and the bundle."""
    from ddnn.evaluation.table import exits_table
    from ddnn.pipeline import make_bundle
    from ddnn.training import Run
    from ddnn.training.federated.served import server_data
    from ddnn.training.split import Split

    run, exchange = Run.beside(out), Split(devices, data)
    command = shlex.join(["ddnn", *(word for word in sys.argv[1:] if word not in {"--resume", "--force", "--json"})])
    with bars() as progress:
        watcher = Watcher(wanted.training.epochs, progress)
        bundle = make_bundle(
            server_data(data), wanted, out, seed=seed, run=run, exchange=exchange, watcher=watcher, command=command,
            yardstick=False, phase=lambda what: progress(what, 0, 1), say=lambda it: typer.echo(it, err=True), **wishes,
        )  # fmt: skip
    report, told = bundle.manifest.training.test, bundle.manifest.training.data["workers"]
    if as_json:
        test = {key: value for key, value in report.items() if key != "proof"}
        made = {"workers": told, "training": run.summary(), "test": test}
        print_json({"bundle": str(out), "fingerprint": bundle.fingerprint, **made})
        return
    title = f"{out} on {report['events']} test events, each exit as if it answered all"
    options.screen(stderr=True).print(exits_table(report, title))
    up, down = (size(told["exchanged"][way]) for way in ("received", "sent"))
    typer.echo(f"devices sent {up} in all, and got {down}", err=True)
