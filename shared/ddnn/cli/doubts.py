"""`ddnn doubts`: the events that a fleet is not sure of, kept, labelled, and learnt from."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Argument, Option

from ddnn.cli.options import BasePort, Json, Token, Urls, bars, note, print_json, screen, tier_addresses
from ddnn.errors import BadInput
from ddnn.formatting import NONE, count, percent, plain_table

if TYPE_CHECKING:
    from ddnn.fleet.doubts import FleetDoubts

__all__ = ["doubts"]

doubts = typer.Typer(
    name="doubts",
    help="""Events that a fleet keeps, as it was not sure of them: list, show, export, label, delete.

    `ddnn policy doubts` says which are kept.

    Example: `ddnn doubts export doubts.npz`, `ddnn doubts label doubts.npz`
    """,
    no_args_is_help=True,
)

AdminToken = Annotated[
    str | None, Option(envvar="DDNN_ADMIN_TOKEN", show_envvar=True, help="Admin token of edges and devices.")
]
Kinds = Annotated[
    list[str] | None, Option("--kind", help="`disagreeing`, `degraded`, `unsure` or `random`; again; all by default.")
]
Most = Annotated[int | None, Option(min=1, help="So many at most, the most doubtful.")]
LabelFile = Annotated[Path, Argument(metavar="FILE.npz", help="Made by `ddnn doubts export`.")]


@doubts.command(name="list")
def list_(
    kind: Kinds = None,
    most: Most = None,
    base_port: BasePort = 8000,
    url: Urls = None,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List what is kept, the most doubtful first.

    Example: `ddnn doubts list --kind unsure --most 20`
    """
    from ddnn.fleet.doubts import chosen

    fleet = _fleet(base_port, url, token, admin_token)
    found = chosen(fleet.listed(), kind or [], most)
    if as_json:
        print_json([doubt.document() for doubt in found])
        return
    for why in fleet.why_none:
        note(why)
    table = plain_table("event", "kind", "label", "exit", "confidence", "devices", "views")
    for doubt in found:
        record = doubt.record
        devices = "".join("1" if there else "0" for there in record["devices"])
        confidence, label = percent(record["confidence"]), record["class"]
        table.add_row(doubt.name[:40], doubt.kind, label, record["exit"], confidence, devices, str(len(doubt.seen)))
    if found:
        screen().print(table)
    kinds = Counter(doubt.kind for doubt in found)
    says = ", ".join(f"{number} {kind}" for kind, number in kinds.items()) or "none yet"
    typer.echo(f"{count(len(found), 'event')}: {says}")


@doubts.command()
def show(
    event: Annotated[str, Argument(metavar="EVENT", help="Event id, as `ddnn doubts list` shows it.")],
    base_port: BasePort = 8000,
    url: Urls = None,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show what each exit said of one event, who took part, and which devices keep their view of it.

    Example: `ddnn doubts show "round 1 event 7"`
    """
    import time

    doubt = _fleet(base_port, url, token, admin_token).one(event)
    if as_json:
        print_json(doubt.document())
        return
    record, values = doubt.record, plain_table()
    when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(doubt.at))
    values.add_row("event", doubt.name)
    values.add_row("kept", f"{doubt.kind}, {when}")
    values.add_row("views at", ", ".join(doubt.seen) or NONE)
    if record:
        reason = f", degraded: {record['reason']}" if record["reason"] else ""
        values.add_row("answer", f"{record['class']} at {record['exit']}, {percent(record['confidence'])}{reason}")
        if record["cloud"]:
            values.add_row("the cloud", f"{record['cloud']['class']}, {percent(record['cloud']['confidence'])}")
        values.add_row("took part", ", ".join(str(n) for n, there in enumerate(record["devices"]) if there) or NONE)
        for exit, scores in record["exits"].items():
            values.add_row(f"scores, {exit}", " ".join(f"{score:.2f}" for score in scores))
        for place, scores in record["below"].items():
            values.add_row(f"scores, place {place}", " ".join(f"{score:.2f}" for score in scores))
    screen().print(values)


@doubts.command()
def export(
    out: Annotated[Path, Argument(metavar="FILE.npz", help="Made, or added to: what is there keeps its labels.")],
    kind: Kinds = None,
    most: Annotated[int | None, Option(min=1, help="So many at most, by chance: the most doubtful are alike.")] = None,
    clear: Annotated[bool, Option("--clear", help="Delete in the fleet what is in the file then.")] = False,
    base_port: BasePort = 8000,
    url: Urls = None,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Fetch events with the views of all devices into a file to label, which `ddnn train` reads.

    Needs a policy by which views are `given`.

    Example: `ddnn doubts export doubts.npz --most 200`
    """
    from ddnn.data.labelled import Labelled
    from ddnn.fleet.doubts import chosen, drawn

    if out.suffix != ".npz" or not out.parent.is_dir():
        raise BadInput(f"the file is {out}; expected one that ends in .npz, in a folder that exists")
    before = Labelled.read(out) if out.exists() else None
    fleet = _fleet(base_port, url, token, admin_token)
    if fleet.away:
        note(f"{', '.join(fleet.away)} do not answer; what they keep is missing")
    known = set(before.events) if before else set[str]()
    doubted = [doubt for doubt in chosen(fleet.listed(), kind or []) if doubt.name not in known]
    doubted = drawn(doubted, most)
    if not doubted:
        raise BadInput(f"nothing is kept to be exported; {'; '.join(fleet.why_none) or 'no such event came yet'}")
    with bars() as progress:
        fetched, blind = fleet.fetched(doubted, progress)
        whole = before.joined(fetched) if before else fetched
        if len(whole):
            whole.write(out)
        deleted = fleet.delete([each for each in doubted if each.name in set(whole.events)], progress) if clear else 0
    new = len(whole) - (len(before) if before else 0)
    report = {"file": str(out), "events": len(whole), "new": new, "without_views": blind, "deleted": deleted}
    if as_json:
        print_json({**report, "labelled": len(whole) - whole.left})
        return
    if blind:
        note(f"{count(blind, 'event')} left out, as no device gives a view of them")
    if not len(whole):
        raise BadInput("no device keeps a view of these events; `ddnn policy doubts --views given` lets them")
    typer.echo(f"{out}: {count(len(whole), 'event')}, {new} of them new, {whole.left} to be labelled")
    typer.echo(f"label them with `ddnn doubts label {out}`")


@doubts.command()
def label(
    file: LabelFile,
    table: Annotated[
        Path | None, Option("--csv", metavar="FILE.csv", help="Labels: the columns `event` and `label`, a class.")
    ] = None,
    labels: Annotated[
        list[str] | None,
        Option("--set", metavar="EVENT=CLASS", help="One label; nothing as class takes it away; again."),
    ] = None,
    port: Annotated[int, Option(min=0, max=65535, help="Port of the page, on this machine alone; 0: a free one.")] = 0,
    as_json: Json = False,
) -> None:
    """Label events by a table, one by one, or else by keys on a page that is served until Ctrl-C.

    Example: `ddnn doubts label doubts.npz`, `ddnn doubts label doubts.npz --csv labels.csv`
    """
    from ddnn.data.labelled import Labelled, read_labels

    found = Labelled.read(file)
    if table is None and not labels:
        from ddnn.serving.labelling import serve_page

        serve_page(file, port, say=lambda sentence: typer.echo(sentence, err=True))
        found = Labelled.read(file)
        changed = 0
    else:
        given = list(read_labels(table)) if table else []
        for each in labels or []:
            event, equals, name = each.rpartition("=")
            if not equals:
                raise BadInput(f"--set is {each[:80]!r}; expected EVENT=CLASS")
            given.append((event, name))
        found, changed = found.set(given)
        found.write(file)
    if as_json:
        print_json({"file": str(file), "events": len(found), "labelled": len(found) - found.left, "changed": changed})
        return
    typer.echo(f"{file}: {len(found) - found.left} of {count(len(found), 'event')} labelled")


@doubts.command()
def delete(
    events: Annotated[list[str] | None, Argument(metavar="EVENT…", help="Event ids; or --all.")] = None,
    everything: Annotated[bool, Option("--all", help="All that is kept, at every tier.")] = False,
    base_port: BasePort = 8000,
    url: Urls = None,
    admin_token: AdminToken = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Delete events at all tiers, views too.

    Example: `ddnn doubts delete --all`
    """
    if bool(events) == everything:
        raise BadInput("delete needs either event ids or --all")
    fleet = _fleet(base_port, url, token, admin_token)
    gone = fleet.delete(None if everything else [fleet.one(event) for event in events or []])
    if as_json:
        print_json({"deleted": gone, "away": fleet.away})
        return
    if fleet.away:
        note(f"{', '.join(fleet.away)} do not answer; what they keep is there still")
    typer.echo(f"{gone} deleted, counting each tier's part, at {count(len(fleet.tiers), 'tier')}")


def _fleet(base_port: int, urls: list[str] | None, token: str | None, admin_token: str | None) -> "FleetDoubts":
    from ddnn.fleet.doubts import FleetDoubts

    return FleetDoubts(tier_addresses(urls, base_port), token, admin_token=admin_token)
