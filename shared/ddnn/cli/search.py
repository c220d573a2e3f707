"""`ddnn search`: networks that err little and send little, and a bundle of one of them."""

import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ddnn.cli import options
from ddnn.cli.options import bars, print_json, screen
from ddnn.errors import BadInput
from ddnn.formatting import percent

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ddnn.search import Found, Space, Wishes
    from ddnn.training import Config

__all__ = ["search"]

SHARE: int = 8  #: of a full training's epochs a trial has one in so many

Source = Annotated[str, Argument(metavar="DATA", help="As of `ddnn train`.")]
Size = Annotated[str | None, Option(metavar="PIXELS", help="Side of the views that photographs become; 96.")]
ConfigFiles = Annotated[
    list[str] | None, Option(help="TOML file, or packaged config, where the search starts; by default as data look.")
]
SpaceFile = Annotated[
    Path | None, Option(help="TOML file: a config every value of which is a list of choices. --show-space prints one.")
]
Choose = Annotated[
    str, Option(help="What becomes the bundle: knee, accurate, smallest, a number of the front, or none.")
]
Against = Annotated[
    str | None,
    Option(metavar="BUNDLE", help="A bundle, or a shipped one's name, that the report compares with on test."),
]


def search(
    source: Source,
    out: Annotated[Path, Option(help="Folder of the bundle to make; the search is kept in OUT.search beside it.")],
    grid: options.Grid = None,
    size: Size = None,
    config: ConfigFiles = None,
    space: SpaceFile = None,
    trials: Annotated[int, Option(min=2, help="Networks that are tried, the start among them.")] = 40,
    population: Annotated[int, Option(min=4, help="Networks of a generation.")] = 8,
    epochs: Annotated[
        int | None, Option(min=1, help="Epochs that a network is tried in; an eighth of the config's by default.")
    ] = None,
    workers: Annotated[int, Option(min=1, help="Networks that are trained side by side.")] = 1,
    per: Annotated[str, Option(help="Bytes that count: of an event, or of a site in a federated round.")] = "event",
    device_memory: Annotated[
        int | None, Option(min=1, metavar="BYTES", help="Most that a device's weights may take, in single precision.")
    ] = None,
    choose: Choose = "knee",
    against: Against = None,
    group_by: options.GroupBy = None,
    test_groups: options.TestGroups = None,
    seed: Annotated[int, Option(min=0, help="Where chance plays: split, what is tried, each training.")] = 0,
    resume: Annotated[bool, Option("--resume", help="Go on with the search in OUT.search.")] = False,
    force: Annotated[bool, Option("--force", help="Replace an existing bundle and search.")] = False,
    show_space: Annotated[bool, Option("--show-space", help="Print what would be tried and end.")] = False,
    as_json: options.Json = False,
) -> None:
    """Look for networks with few errors and few bytes, and make a bundle of one.

    Example: `ddnn search mnist5k --grid 3x2 --config mnist5k --trials 40 --workers 2 --out digits`

    Networks are bred by NSGA-II; each is trained briefly and judged by validation events. What is worth having is in
    OUT.search as a page, a plot and JSON; of the front, the knee is trained in full. After Ctrl-C, the same command
    with `--resume` goes on. Needs pip install 'ddnn[search]'.
    """
    from ddnn.bundle import Bundle, named
    from ddnn.configs import config_file, read_toml
    from ddnn.data import load
    from ddnn.data.photographs import SIZE, Photographs, parse_size
    from ddnn.data.summary import describe
    from ddnn.extensions import needed_for

    with needed_for("training"):
        from ddnn.export import refuse_existing
        from ddnn.recipe import Looks, start
        from ddnn.training import Config, Run
    with needed_for("searching", extra="search"):
        import pymoo  # noqa: F401
    from ddnn.search import ARCHIVE_FILE, Space, Wishes, crew, look

    if per not in ("event", "round"):
        raise BadInput(f"--per is {per}; expected event or round")
    refuse_existing(out, force=force)
    beside = Bundle.open(named(Path(against)) or Path(against)) if against else None
    files = [config_file(each) for each in config or ()]
    given = Config.read(*files) if files else None
    wished: dict[str, Any] = {"grid": grid, "group_by": group_by, "seed": seed}
    wished |= {"test_groups": test_groups.split(",") if test_groups else None}
    wished |= {
        "devices": given.network.devices if given else (),
        "photographs": Photographs(parse_size(size or str(SIZE))),
    }
    fetch = partial(load, source, **wished)
    with bars() as progress:
        data = fetch(progress=progress)
    looks = Looks.of(data)
    base = given or start(looks)
    room = Space.of(base, read_toml(space)) if space else Space.usual(base, looks, rounds=per == "round")
    if show_space:
        typer.echo(room.to_toml(), nl=False)
        return
    typer.echo(describe(data), err=True)
    brief = epochs or max(base.training.epochs // SHARE, 2)
    wishes = Wishes(trials, population, brief, "round" if per == "round" else "event", device_memory)
    kept = Run(out.with_name(out.name + ".search"))
    with kept.alone():
        begun = (kept.path / ARCHIVE_FILE).is_file()
        if begun and not (resume or force):
            raise BadInput(
                f"{kept.path} holds a search already; add --resume to go on with it, or --force to start again"
            )
        if not (begun and resume):
            kept.start(base)
        (kept.path / "space.toml").write_text(room.to_toml(), "utf-8")
        try:
            with (
                bars() as progress,
                crew(fetch, data, seed=seed, most_memory=device_memory, workers=workers) as hands,
            ):
                found = look(room, data, hands, wishes, seed=seed, folder=kept.path, progress=progress)
        except KeyboardInterrupt:
            typer.echo(f"stopped; `--resume` goes on after the last whole trial, kept in {kept.path}", err=True)
            raise
        told = _told(found, room, wishes, data, base)
        page = _report(kept.path, told)
        _show(found, told)
        typer.echo(f"the search as a page: {page}", err=True)
        if choose == "none":
            if as_json:
                print_json({"bundle": None, "search": str(kept.path), **told})
            return
        _make(found, choose, told, data, out, kept.path, beside, seed=seed, resume=resume, force=force, as_json=as_json)


def _told(found: "Found", room: "Space", wishes: "Wishes", data: Any, base: "Config") -> dict[str, Any]:
    from dataclasses import asdict

    validation = int((data.split == "validation").sum())
    told = {"data": {"name": data.name, "fingerprint": data.fingerprint, "validation": validation}}
    told |= {"space": {"networks": len(room), "genes": [gene.key for gene in room.genes]}}
    return told | {"wishes": asdict(wishes), "base": base.model_dump(mode="json"), **found.document()}


def _report(folder: Path, told: dict[str, Any]) -> Path:
    from ddnn.search import write_report

    return write_report(folder, told)


def _show(found: "Found", told: dict[str, Any]) -> None:
    """The front, and what it says."""
    from ddnn.formatting import size, table
    from ddnn.search.report import sentences

    refused = [trial for trial in found.trials if trial.refused]
    title = f"the front of {len(found.trials) - len(refused)} networks; {len(refused)} more could not be had"
    shown = table(title, "number", "wrong", "bytes an event", "a round", "device's memory", "other than the start")
    start = found.trials[0].genes
    for trial in found.front:
        marks = [word for word, at in (("start", 0), ("knee", told["knee"])) if trial.number == at]
        sizes = f"{trial.event_bytes:.1f}", size(trial.round_bytes), size(trial.memory)
        other = {key: value for key, value in trial.genes.items() if key not in start or start[key] != value}
        shown.add_row(" ".join([str(trial.number), *marks]), percent(trial.error, 2), *sizes, _words(other))
    screen(stderr=True).print(shown)
    for sentence in sentences(told):
        typer.echo(sentence, err=True)


def _words(genes: "Mapping[str, Any]") -> str:
    return ", ".join(f"{key.removeprefix('network.')} {value}" for key, value in genes.items())


def _make(
    found: "Found",
    choose: str,
    told: dict[str, Any],
    data: Any,
    out: Path,
    folder: Path,
    beside: Any,
    *,
    seed: int,
    resume: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Train the chosen network in full; the bundle, and what it is worth on test."""
    from ddnn.pipeline import make_bundle
    from ddnn.search import chosen
    from ddnn.training import Run

    trial = chosen(found.front, choose, found.per)
    config, run = found.configs[trial.number], Run.beside(out)
    typer.echo(f"number {trial.number} is trained in full: {_words(trial.genes) or 'the start'}", err=True)
    command = shlex.join(["ddnn", *(word for word in sys.argv[1:] if word not in {"--resume", "--force", "--json"})])
    searched = {"trials": len(found.trials), "number": trial.number, "per": found.per, "genes": dict(trial.genes)}
    with bars() as progress:
        bundle = make_bundle(
            data, config, out, seed=seed, run=run, resume=resume and run.unfinished, force=force, command=command,
            watcher=_Watcher(config.training.epochs, progress), search=searched, yardstick=False,
            phase=lambda what: progress(what, 0, 1), say=lambda it: typer.echo(it, err=True),
        )  # fmt: skip
    told |= {"made": _figures(bundle, number=trial.number)}
    if beside is not None:
        told |= {"beside": _figures(beside, name=beside.manifest.name)}
    page = _report(folder, told)
    if as_json:
        print_json({"bundle": str(out), "fingerprint": bundle.fingerprint, "search": str(folder), **told})
        return
    from ddnn.evaluation.table import exits_table
    from ddnn.search.report import sentences

    report = bundle.manifest.training.test
    title = f"{out} on {report['events']} test events, each exit as if it answered all"
    screen(stderr=True).print(exits_table(report, title))
    typer.echo(f"{sentences(told)[-1]}\n{page}", err=True)


def _figures(bundle: Any, **named: Any) -> dict[str, Any]:
    test = bundle.manifest.training.test
    links = (test["bytes"][link]["payload"] for link in ("device_to_edge", "edge_to_cloud"))
    return {**named, "error": 1 - test["overall"]["accuracy"], "bytes": sum(links)}


class _Watcher:
    """A bar of a full training."""

    def __init__(self, epochs: int, progress: Any) -> None:
        self.epochs, self.progress = epochs, progress

    def step(self, epoch: int, done: int, steps: int) -> None:
        self.progress("training", epoch * steps + done, self.epochs * steps)

    def epoch(self, record: Any) -> None:
        """Nothing more."""
