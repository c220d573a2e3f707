"""`ddnn train`: from a data set to a bundle."""

import os
import shlex
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ddnn.cli import options
from ddnn.cli.options import bars, command_name, note_shortfall, open_bundle, print_json
from ddnn.errors import BadInput
from ddnn.formatting import percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ddnn.evaluation.scores import Progress
    from ddnn.recipe import Recipe
    from ddnn.training import Config, Run
    from ddnn.training.distributed import Group

__all__ = ["Watcher", "train"]

Source = Annotated[
    str | None,
    Argument(help="`mnist5k`, `synthetic`, a .npz file under the data contract, a folder or table of photographs."),
]
Size = Annotated[
    str | None, Option(metavar="PIXELS", help="Side of the views that photographs become, or width x height; 96.")
]
ConfigFiles = Annotated[list[str] | None, Option(help="TOML file, or packaged config: a to f, paper; later ones win.")]
Initial = Annotated[
    Path | None, Option("--from", metavar="BUNDLE", help="Start from this bundle's weights, by default its config.")
]
Also = Annotated[
    list[str] | None,
    Option(metavar="DATA", help="With --from: learn from these too, such as what `ddnn doubts export` made; again."),
]
Freeze = Annotated[
    list[str] | None, Option(metavar="SECTION", help="Keep `device`, `local`, `edge`, `cloud`, or `device_0` as it is.")
]
MaxDrop = Annotated[float, Option(help="How far below the best exit's the tuned overall accuracy may be.")]
Minutes = Annotated[
    float,
    Option(
        min=0,
        help="Where no config, weights or epochs are given: time to look for a recipe in, before the training.",
    ),
]

Workers = Annotated[
    int | None,
    Option(min=1, help="Overrides workers.count: processes that learn together, started here or by torchrun."),
]
Codistill = Annotated[
    int | None,
    Option(min=2, metavar="REPLICAS", help="So many networks that learn from each other; the best one is kept."),
]
Mode = Annotated[
    str | None, Option(help="Overrides workers.mode: sync, average, softsync, downpour, admm or codistill.")
]
Every = Annotated[
    int | None, Option(min=1, metavar="STEPS", help="Overrides workers.every: steps between two exchanges of a worker.")
]
Yardstick = Annotated[
    bool, Option("--yardstick/--no-yardstick", help="Fit simple classifiers on the same events, to be shown beside it.")
]


def train(
    source: Source = None,
    out: Annotated[Path | None, Option(help="Folder of the bundle to make.")] = None,
    grid: Annotated[str | None, Option(help="Cut whole images into views, columns x rows: 3x2.")] = None,
    size: Size = None,
    config: ConfigFiles = None,
    seed: Annotated[int, Option(min=0, help="Where chance plays: split, first weights, order, changes.")] = 0,
    epochs: Annotated[int | None, Option(help="Overrides training.epochs.")] = None,
    batch: Annotated[int | None, Option(help="Overrides training.batch.")] = None,
    learning_rate: Annotated[float | None, Option(help="Overrides training.learning_rate.")] = None,
    workers: Workers = None,
    mode: Mode = None,
    every: Every = None,
    codistill: Codistill = None,
    group_by: options.GroupBy = None,
    test_groups: options.TestGroups = None,
    initial: Initial = None,
    also: Also = None,
    freeze: Freeze = None,
    max_accuracy_drop: MaxDrop = 0.005,
    min_recall: options.MinRecall = None,
    balanced: options.Balanced = False,
    minutes: Minutes = 10.0,
    yardstick: Yardstick = True,
    name: Annotated[str | None, Option(help="What the bundle is called; by default as its data.")] = None,
    resume: Annotated[bool, Option("--resume", help="Go on with the run in OUT.run.")] = False,
    force: Annotated[bool, Option("--force", help="Replace an existing bundle, or an unfinished run.")] = False,
    as_json: options.Json = False,
    show_config: Annotated[bool, Option("--show-config", help="Print every key of the config and end.")] = False,
) -> None:
    """Train all exits of a network jointly, export it, prove the export, and write a bundle.

    Example: `ddnn train mnist5k --grid 3x2 --out digits`, `ddnn train photos/ --size 96 --out shelf`

    With --from, the report says what that gained: what was right before and is now, of events that neither learnt.
    Without --config a recipe is looked for on the training and validation events: what was tried, and what it was
    worth, is shown in the end. Everything is kept in OUT.run while it goes on; after Ctrl-C, the same command with
    `--resume` continues.
    """
    from ddnn.configs import config_file
    from ddnn.data import load, mixed
    from ddnn.data.photographs import SIZE, Photographs, parse_size
    from ddnn.data.summary import describe, doubts
    from ddnn.evaluation.source import photographs_for
    from ddnn.extensions import needed_for, refuse_unlisted
    from ddnn.settings import Settings
    from ddnn.tuning import Objective
    from ddnn.tuning.recall import parse_recalls, recalls

    with needed_for("training"):
        from ddnn.export import refuse_existing
        from ddnn.recipe import TRIALS_FILE, find
        from ddnn.training import Config, Run
        from ddnn.training import train as learn
        from ddnn.training.distributed import exchange_of, seed_of, started
    from ddnn.pipeline import make_bundle

    first = open_bundle(initial) if initial else None
    base = Config.of(first.manifest.training.config) if first else None
    files = [config_file(each) for each in config or ()]
    wanted = Config.read(*files, base=base).changed(epochs=epochs, batch=batch, learning_rate=learning_rate)
    if codistill:
        if workers or mode:
            raise BadInput("--codistill goes without --workers and --mode; expected its number of replicas alone")
        workers, mode = codistill, "codistill"
    wanted = wanted.changed("workers", count=workers, mode=mode, every=every)
    if first:  # a bundle must not choose what is imported
        named = wanted.network.extensions - Config.read(*files).network.extensions
        refuse_unlisted(named, Settings.load().extensions)
    if show_config:
        typer.echo(wanted.to_toml(), nl=False)
        return
    if source is None or out is None:
        raise BadInput(
            "train needs a SOURCE and --out BUNDLE, for example `ddnn train mnist5k --grid 3x2 --out digits`"
        )
    if also and not first:
        raise BadInput("--also adds events for a network to go on with; expected --from BUNDLE beside it")
    refuse_existing(out, force=force)
    run, given = Run.beside(out), bool(config or epochs or batch or learning_rate or workers or mode or every)
    begun = not run.unfinished and (run.path / TRIALS_FILE).is_file()
    looking = not (given or first) and (begun or not resume)
    if resume and not looking and not started():
        wanted = _resumed(run, wanted, changed=given)
    with _joined(wanted, looking) as (group, wanted):
        exchange = exchange_of(group, wanted.workers, run.path) if group else None
        groups, devices = test_groups.split(",") if test_groups else None, wanted.network.devices
        photographs = photographs_for(first) if first and size is None else Photographs(parse_size(size or str(SIZE)))
        wished: dict[str, Any] = {"grid": grid, "group_by": group_by, "test_groups": groups, "devices": devices}
        with bars() as progress:
            data = load(source, **wished, seed=seed, photographs=photographs, progress=progress)
            more = [load(each, seed=seed, photographs=photographs, progress=progress) for each in also or ()]
            fitting = [each if each.devices == data.devices else each.of_devices(devices) for each in more]
            data = mixed(data, *fitting)
        if size is not None and data.picture is None:
            raise BadInput(f"--size {size} does not apply to {source}, which is no folder or table of photographs")
        if group and group.rank:
            own = seed_of(wanted.workers, group.rank, seed)
            learn(wanted, data, seed=own, initial=first, freeze=freeze or (), exchange=exchange)
            return
        typer.echo(describe(data), err=True)
        for doubt in doubts(data):
            typer.echo(f"warning: {doubt}", err=True)
        least = parse_recalls(min_recall or [], data.classes)
        known = data.split != "test" if looking else data.split == "validation"
        recalls(least, data.y[known], data.classes)  # refused now, not after training
        objective = Objective(max_accuracy_drop, min_recall=least, balanced=balanced)
        wishes: dict[str, Any] = {"seed": seed, "run": run, "force": force, "initial": first}
        wishes |= {"yardstick": yardstick, "freeze": freeze or (), "objective": objective, "command": _command()}
        wishes |= {"name": name}
        recipe = None
        try:
            with bars() as progress:
                if looking:
                    recipe = find(data, seed=seed, minutes=minutes, run=run, progress=progress)
                    wanted, resume = recipe.config, False
                    if recipe.scores is None:  # thresholds are tuned on validation then
                        recalls(least, data.y[data.split == "validation"], data.classes)
                    wishes |= {"recipe": recipe}
                    typer.echo(recipe.sentence(), err=True)
                wishes |= {"phase": lambda what: progress(what, 0, 1), "say": lambda doubt: typer.echo(doubt, err=True)}
                watcher = Watcher(wanted.training.epochs, progress)
                bundle = make_bundle(data, wanted, out, resume=resume, watcher=watcher, exchange=exchange, **wishes)
        except KeyboardInterrupt:
            typer.echo(f"stopped; `--resume` goes on after the last whole trial or epoch, kept in {run.path}", err=True)
            raise
        report = bundle.manifest.training.test
        training = run.summary()
        told = bundle.manifest.training.data.get("workers", {})
        if "kept" in told:
            scores = ", ".join(percent(score) for score in told["scores"])
            typer.echo(
                f"replica {told['kept']} is kept, the best by validation: their best epochs score {scores}", err=True
            )
        if as_json:
            test = {key: value for key, value in report.items() if key != "proof"}
            made = {"training": training, "recipe": recipe.document() if recipe else None, "test": test}
            made |= {"workers": told} if told else {}
            print_json({"bundle": str(out), "fingerprint": bundle.fingerprint, **made})
            note_shortfall(bundle, report)
            return
        if speed := training["speed"]:
            threads = "1 thread" if speed["threads"] == 1 else f"{speed['threads']} threads"
            typer.echo(f"the last epoch learnt {speed['events_per_s']:,.0f} events/s with {threads}", err=True)
        if recipe and recipe.trials:
            _show_trials(recipe)
        _show(out, report)
        note_shortfall(bundle, report)


@contextmanager
def _joined(wanted: "Config", looking: bool) -> "Iterator[tuple[Group | None, Config]]":
    """Those that learn together, and the config that the first one has; nobody, where one learns alone."""
    from ddnn.training.distributed import joined, placed, same_command, started

    if looking and wanted.workers.count:
        raise BadInput("--workers learn by a config; expected --config, or --epochs for the default one")
    if not (wanted.workers.count or started()):
        if "TORCHELASTIC_RUN_ID" in os.environ:
            raise BadInput("torchrun has started this, but it is to learn alone; expected --workers")
        yield None, wanted
        return
    with joined(None if placed() else wanted, same_command()) as (group, told):
        yield group, told


def _resumed(run: "Run", wanted: "Config", *, changed: bool) -> "Config":
    """The config that the run was started with; raise `BadInput` if other wishes were given with --resume."""
    kept = run.config()
    if changed and kept != wanted:
        raise BadInput(f"--resume goes on with {run.path}'s own config; leave --config and its overrides out")
    return kept


def _command() -> str:
    """How to make the bundle again: what changes nothing in the network is left out."""
    return shlex.join(["ddnn", *(word for word in sys.argv[1:] if word not in {"--resume", "--force", "--json"})])


class Watcher:
    """A line on stderr for every epoch, and a bar above which they pass where a terminal is looked at."""

    def __init__(self, epochs: int, progress: "Progress") -> None:
        self.epochs, self.progress, self.since = epochs, progress, time.monotonic()

    def step(self, epoch: int, done: int, steps: int) -> None:
        self.progress("training", epoch * steps + done, self.epochs * steps)

    def epoch(self, record: "Mapping[str, Any]") -> None:
        now = time.monotonic()
        seconds, self.since = now - self.since, now
        line = f"epoch {record['epoch'] + 1} of {self.epochs}: loss {record['loss']:.4f}, validation {_shares(record)}"
        typer.echo(f"{line}, {seconds:.1f} s", err=True)


def _shares(record: "Mapping[str, Any]") -> str:
    """What the exits got right on validation, in a few words."""
    exits = ("local", "edge", "cloud")
    shares = " ".join(f"{exit} {percent(record[exit])}" for exit in exits if record[exit] is not None)
    lost = record["cloud_one_lost"]
    return f"{shares} one lost {percent(min(lost))}" if lost else shares


def _show_trials(recipe: "Recipe") -> None:
    """What was tried, and what each choice was worth."""
    from rich.console import Console

    from ddnn.formatting import percent, table

    exits = list(recipe.trials[0].exits)
    shown = table("tried on folds of the training and validation events", "", *exits, "score", "kept")
    for trial in recipe.trials:
        kept = "yes" if trial.kept else ""
        shown.add_row(trial.name, *(percent(trial.exits[exit]) for exit in exits), percent(trial.score), kept)
    Console(stderr=True).print(shown)
    if recipe.left:
        typer.echo(f"no time was left to try {', '.join(recipe.left)}; --minutes gives more", err=True)


def _show(out: Path, report: dict[str, Any]) -> None:
    from rich.console import Console

    from ddnn.evaluation.gain import gained_lines
    from ddnn.evaluation.sent import sent_lines
    from ddnn.evaluation.table import classes_table, exits_table

    console = Console(stderr=True)
    console.print(exits_table(report, f"{out} on {report['events']} test events, each exit as if it answered all"))
    console.print(classes_table(report["by_class"]))
    for line in (*sent_lines(report["sent"]), *gained_lines(report.get("gained", []))):
        typer.echo(line, err=True)
    typer.echo(f"serve it with `{shlex.join([command_name(), 'up', str(out)])}`", err=True)
