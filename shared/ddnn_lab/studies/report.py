"""`report.md`: the tables of a study, made of `results.json` alone."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from ddnn.formatting import number, percent, signed
from ddnn_lab.reporting import mean, render
from ddnn_lab.studies.study import PARTS

__all__ = ["report"]

Document = Mapping[str, Any]


def report(results: Document, plots: Collection[str] = ()) -> str:
    """The whole page, with the plots that there are, under their tables; what no run was made for is left out."""
    parts: dict[str, Any] = {part: results["parts"].get(part) for part in PARTS}
    joint, added, runs = parts["joint"], parts["added"] or {"order": (), "first": ()}, results["runs"]
    of_size = _by_size((joint and joint["subsets"]) or {})
    return render(
        "study.md",
        **{**results, "parts": parts},
        plots=plots,
        headed=lambda exits: [f"{exit}, %" for exit in exits],
        bytes_at=lambda exit: _bytes_at(parts["joint"]["exits"]["bytes"], exit),
        notes=Counter(note for run in runs for note in run.get("notes", ())),
        claims=list(_claims(parts)),
        differences=list(_differences(parts)),
        without=_made(parts["without"], "exits"),
        subsets=of_size,
        thirds=_thirds([pair for _, group, *_ in of_size for pair in group.items()]),
        added=[(device, run["exits"]) for device, run in zip(added["order"], added["first"], strict=False) if run],
        filters=_made(parts["filters"], "exits"),
        pairs=_made(parts["pairs"], "exits"),
        ablations=_made(parts["ablations"]),
        times=_times(runs),
        seconds=sum(run.get("training_seconds", 0) + run.get("export_seconds", 0) for run in runs),
        versions=next((run["versions"] for run in runs if run.get("versions")), {}),
    )


def _made(part: Document | None, measure: str | None = None) -> dict[str, Any]:
    """The variants of a part that are made, in its order; one measure of each, if that is asked for."""
    return {name: figures[measure] if measure else figures for name, figures in (part or {}).items() if figures}


def _bytes_at(sent: Document, exit: str) -> str:
    """Bytes a device if every event left at `exit`; a device that sees nothing sends nothing."""
    if not sent["scores"]:
        return mean(sent["per_device"])
    scores, features, present = (sent[key]["mean"] for key in ("scores", "features", "present"))
    return number(round(present * (scores if exit == "local" else scores + features), 1))


def _claims(parts: Document) -> Iterator[tuple[str, str, bool]]:
    """What a network of this kind should show, what was found, and whether it is so."""
    joint, separate, alone = (parts[part] for part in ("joint", "separate_exits", "separate_devices"))
    if joint and len(joint["exits"]["always"]) > 1:
        exits = joint["exits"]
        above = exits["overall"]["accuracy"]["mean"] - exits["always"]["cloud"]["accuracy"]["mean"]
        yield "overall at most 0.5 points below the cloud exit", signed(100 * above), above >= -0.005
        below = exits["below_cloud"]["mean"]
        yield "at least half of the events answered below the cloud", percent(below), below >= 0.5
    if separate and separate["overall"]["difference"]:
        lows = {name: run["difference"]["low"] for name, run in _apart(separate).items() if run["difference"]}
        name = min(lows, key=lambda key: lows[key] or 0.0)
        if lows[name] is not None:
            claim = "joint − trained apart: lower bound of every exit's difference at least −0.3 points"
            yield claim, f"{name} {signed(100 * lows[name])}", lows[name] >= -0.003
    if alone and alone["joint_above_vote"]:
        above = alone["joint_above_vote"]["mean"]
        yield "overall above the vote of separately trained devices", signed(100 * above), above > 0


def _differences(parts: Document) -> Iterator[tuple[str, Any, Any]]:
    """What is trained apart, its accuracy, and the joint network's paired difference to it."""
    separate, alone, uncut = (parts[part] for part in ("separate_exits", "separate_devices", "uncut"))
    for name, figures in _apart(separate).items() if separate else ():
        if figures["accuracy"]:
            yield f"{name}: joint − trained apart", figures["accuracy"], figures["difference"]
    if alone and alone["joint_above_vote"]:
        vote = alone["votes"]["bar"]["accuracy"]
        yield "overall: joint − vote of separately trained devices", vote, alone["joint_above_vote"]
    if uncut and uncut["joint_above"]:
        yield "overall: joint − uncut float network", uncut["exits"]["overall"]["accuracy"], uncut["joint_above"]


def _apart(separate: Document) -> dict[str, Any]:
    return {**separate["exits"], "overall": separate["overall"]}


def _by_size(subsets: Document) -> list[tuple[int, dict[str, Any], float, str, str]]:
    """Subsets of devices by how many are left, most first: their accuracies, the mean, the worst and the best."""
    groups: dict[int, dict[str, Any]] = defaultdict(dict)
    for left, figures in subsets.items():
        groups[left.count("+") + 1][left] = figures["accuracy"]
    rows = []
    for size, group in sorted(groups.items(), reverse=True):
        means = {left: accuracy["mean"] for left, accuracy in group.items()}
        worst, best = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
        rows.append((size, group, fmean(means.values()), worst, best))
    return rows


def _thirds(pairs: Sequence[tuple[str, Any]]) -> list[tuple[tuple[str, Any], ...]]:
    """Rows of three pairs that are read column by column."""
    count = -(-len(pairs) // 3)
    columns = [pairs[start : start + count] for start in range(0, len(pairs), count or 1)]
    return [tuple(column[row] if row < len(column) else ("", None) for column in columns) for row in range(count)]


def _times(runs: Sequence[Document]) -> dict[str, list[Document]]:
    """Trained runs by their label."""
    groups: dict[str, list[Document]] = defaultdict(list)
    for run in runs:
        if "training_seconds" in run:
            groups[run["label"]].append(run)
    return groups
