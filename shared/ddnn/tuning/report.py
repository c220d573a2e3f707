"""What tuning changed: the document of `ddnn tune --json`, the same for people, and the report of `ddnn tune --out`.

The report is `tune.json`, everything there is to know, and `tune.html`, a page made of that document alone.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.markup import escape

from ddnn.evaluation.classes import worst
from ddnn.formatting import percent, table, threshold
from ddnn.pages import render
from ddnn.policy import Policy
from ddnn.seal import write_atomically
from ddnn.tuning.cost import CostModel
from ddnn.tuning.nearest import unmet_sentences
from ddnn.tuning.points import Points
from ddnn.tuning.sample import Sample
from ddnn.types import Exit

__all__ = [
    "HTML_FILE",
    "JSON_FILE",
    "change",
    "dropped_sentence",
    "frontier_document",
    "page",
    "report",
    "show",
    "write_report",
]

Document = Mapping[str, Any]
JSON_FILE: Final = "tune.json"
HTML_FILE: Final = "tune.html"
_MOST_PROMISED: Final = 3  #: classes whose promise a terminal shows
_MOST_CLASSES: Final = 12  #: rows of the page's tables of classes: those with the lowest recall


def change(before: Policy, after: Policy, samples: Mapping[str, Sample]) -> dict[str, Any]:
    """Both policies and what each does on every split, by split name."""
    tuned, cost = after.tuned or {}, next(iter(samples.values())).cost
    return {
        name: {
            "version": policy.version,
            "criterion": policy.criterion,
            "thresholds": policy.thresholds.model_dump(),
            "temperatures": policy.temperatures.model_dump(),
            "live": sorted(policy.live),
            **{
                split: sample.figures(sample.outcome(policy)) | {"by_class": sample.by_class(policy)}
                for split, sample in samples.items()
            },
        }
        for name, policy in (("before", before), ("after", after))
    } | {
        "objective": tuned.get("objective"),
        "cost": cost.document(),
        "search": tuned.get("search"),
        "best_exit": tuned.get("best_exit"),
        "dropped": tuned.get("dropped", []),
        "unmet": tuned.get("unmet", []),
        "promise": after.promise and after.promise.model_dump(mode="json"),
    }


def frontier_document(points: Points, measure: str) -> dict[str, Any]:
    """The points worth having, each with its thresholds, accuracy, named `measure`, and mean cost."""
    found, asked = points.frontier(), points.asked
    return {
        **found.document(),
        "points": [
            {
                **{exit.value: float(t) for exit, t in zip(asked.exits, found.thresholds[row], strict=True)},
                measure: 1 - int(found.wrong[row]) / points.total,
                "cost": float(found.cost[row]) / len(asked.labels),
            }
            for row in found.some()
        ],
    }


def show(document: Document, console: Console, asked: str) -> None:
    """Print the document as a table, what was `asked` for, and what happened to the policy."""
    both, cost = (document["before"], document["after"]), _cost_of(document)
    made = table(None, "", *(f"{name}, version {document[name]['version']}" for name in ("before", "after")))
    made.add_row("criterion", *(policy["criterion"] for policy in both))
    exits, guarantee = _exits(document), document["guarantee"]
    for exit in exits[:-1]:
        made.add_row(f"threshold, {exit}", *(threshold(policy["thresholds"][exit]) for policy in both))
    for exit in exits:
        made.add_row(f"temperature, {exit}", *(f"{policy['temperatures'][exit]:.4g}" for policy in both))
    purposes = {"validation": "learnt and tested on" if guarantee else "chosen on", "test": "for information"}
    for split in _splits(document):
        figures = [policy[split] for policy in both]
        made.add_section()
        made.add_row(f"[bold]{split}[/bold], {figures[1]['events']:,} events, {purposes[split]}", "", "")
        made.add_row("  overall accuracy", *(percent(each["accuracy"]) for each in figures))
        by_class = [each["by_class"] for each in figures]
        made.add_row("  balanced accuracy", *(percent(each["balanced_accuracy"]) for each in by_class))
        least = worst(by_class[1]["recall"])
        name = escape(by_class[1]["names"][least])
        made.add_row(f"  recall of class {name}, the worst", *(percent(each["recall"][least]) for each in by_class))
        made.add_row("  cloud exit's accuracy", *(percent(each["cloud_accuracy"]) for each in figures))
        for exit in exits:
            made.add_row(f"  answered at {exit}", *(percent(each["exit_share"][exit]) for each in figures))
        made.add_row("  cost of an event", *(cost.text(each["cost"]["mean"]) for each in figures))
    console.print(made)
    console.print(f"{asked} {_searched(document['search'], cost)}".rstrip(), soft_wrap=True)
    for sentence in _notes(document):
        console.print(sentence, soft_wrap=True, markup=False)
    if guarantee:
        console.print(f"{guarantee['events']['learning']:,} events learnt. {_tests(guarantee)}")
    if bounds := (document["promise"] or {}).get("disagreement"):
        shares = ", ".join(f"{percent(share)} at {exit}" for exit, share in bounds.items())
        sure = f"with {100 * document['promise']['confidence']:g} % confidence"
        console.print(f"Answers that the cloud would change, {sure} at most: {shares}.", soft_wrap=True)
    if recall := _promised_recall(document):
        console.print(recall, soft_wrap=True, markup=False)
    version = document["after"]["version"]
    end = f"Written as version {version}." if document["written"] else "Nothing written; --write does."
    console.print(f"[bold]{end}[/bold]")


def _promised_recall(document: Document) -> str:
    """The least recalls that are promised, the lowest first."""
    promised, names = document["promise"] or {}, document["after"]["validation"]["by_class"]["names"]
    kept = sorted(promised.get("recall", {}).items(), key=lambda item: item[1]["least"])
    if not kept:
        return ""
    said = ", ".join(
        f"{percent(each['least'])} of class {names[int(index)]} ({each['events']:,} events)"
        for index, each in kept[:_MOST_PROMISED]
    )
    others = f" and more of {len(kept) - _MOST_PROMISED:,} others" if len(kept) > _MOST_PROMISED else ""
    return f"Recall, with {100 * promised['confidence']:g} % confidence at least: {said}{others}."


def dropped_sentence(exits: Sequence[str]) -> str:
    """That no event goes up to these exits, and why."""
    return f"No event goes up to {' and '.join(exits)}: on validation an exit below is at least as accurate."


def report(document: Document) -> dict[str, str]:
    """Both files, by name; `document` is what `ddnn tune --json` prints, with `study`, `bundle`, `data` and `asked`."""
    return {JSON_FILE: json.dumps(document, indent=1, allow_nan=False) + "\n", HTML_FILE: page(document)}


def write_report(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files of `report` into `folder`, which is there; raise `OSError` where that cannot be."""
    for name, content in files.items():
        write_atomically(folder / name, content)


def page(document: Document) -> str:
    """The page: one file that asks the network for nothing; without plots where matplotlib is not installed."""
    guarantee = document["guarantee"]
    values = {
        **document,
        "counted": document["cost"],
        "search": document["study"]["search"],
        "tests": guarantee and _tests(guarantee),
        "exits": _exits(document),
        "splits": _splits(document),
        "notes": _notes(document),
        "most_classes": _MOST_CLASSES,
        "plots": _plots(document),
    }
    return render("tune.html", values, cost=_cost_of(document).text, worst=worst, lowest=_lowest)


def _lowest(recall: Sequence[float | None], most: int) -> list[int]:
    """The classes with the lowest recall."""
    known = [(share, index) for index, share in enumerate(recall) if share is not None]
    return [index for _, index in sorted(known)[:most]]


def _notes(document: Document) -> list[str]:
    """Sentences on exits that get no events, and on classes whose recall is out of reach."""
    dropped = [dropped_sentence(document["dropped"])] if document["dropped"] else []
    return dropped + [f"{sentence}." for sentence in unmet_sentences(document["unmet"])]


def _plots(document: Document) -> dict[str, Any] | None:
    try:
        from markupsafe import Markup

        from ddnn.tuning import plots
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        return None
    # SVG by matplotlib, which escapes its text.
    drawn = [(draw.__name__, draw(document)) for draw in (plots.frontier, plots.sweeps, plots.reliability)]
    return {name: Markup(svg) for name, svg in drawn}  # nosec B704


def _tests(guarantee: Document) -> str:
    """How the tests of a guarantee went."""
    passed, points = sum(each["passed"] for each in guarantee["tested"]), guarantee["points"]
    went = f"All {points} points passed" if passed == points else f"{passed} of {points} points passed, the next failed"
    seen = guarantee["events"]["seen"]
    which = "the last that passed"
    if guarantee["dropped"]:
        which += f" and sends nothing above {guarantee['best_exit']['exit']}"
    return (
        f"{went}; {which} is the policy, with {guarantee['losses']:,} losses in"
        f" {guarantee['events']['testing']:,} testing events, p = {guarantee['p_value']:.2g}."
        + (f" Training chose its best epoch on {seen:,} of them too." if seen else "")
    )


def _searched(search: Document | None, cost: CostModel) -> str:
    """How far the search went."""
    if search is None:
        return ""
    wrong, saved = search["largest_loss"]["wrong_answers"], search["largest_loss"]["cost"]
    if search["exact"]:
        return f"No other of the {search['combinations']:,} combinations of thresholds does better."
    if saved is None:
        return f"Searched {search['looked_at']:,} of {search['combinations']:,} combinations; others may do better."
    fewer = "" if wrong is None else f", or have {wrong:,} fewer wrong answers"
    return f"Others could save at most {cost.text(saved)} in all{fewer}."


def _cost_of(document: Document) -> CostModel:
    return CostModel(kind=document["cost"]["kind"])


def _exits(document: Document) -> list[str]:
    """Exits of the network, lowest first, the cloud's last."""
    shares = document["after"]["validation"]["exit_share"]
    return [exit.value for exit in Exit if shares[exit.value] is not None]


def _splits(document: Document) -> list[str]:
    return [split for split in ("validation", "test") if split in document["after"]]
