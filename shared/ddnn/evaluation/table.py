"""The evaluation document, for people."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ddnn.evaluation.agreement import Agreement
from ddnn.evaluation.classes import balanced, worst
from ddnn.evaluation.sent import sent_lines
from ddnn.evaluation.yardstick import best_alone, named
from ddnn.formatting import count, interval, number, percent, table, threshold
from ddnn.types import Exit

__all__ = ["accuracies_table", "classes_table", "exits_table", "say", "show"]

Document = Mapping[str, Any]
_MOST_CLASSES: Final = 10  #: rows of the table of classes: those that suffer most


def show(document: Document, console: Console) -> None:
    """Print the `evaluate --json` document as tables."""
    console.print(
        f"\n[bold]{document['events']:,}[/bold] {document['split']} events · {document['classes']} classes"
        f" · {count(document['devices'], 'device')}\n"
    )
    missing = document.get("missing") or {}
    console.print(exits_table(document))
    console.print(classes_table(document["by_class"]))
    console.print(_bytes(document["bytes"]))
    for line in sent_lines(document["sent"]):
        console.print(line, style="dim")
    console.print(_devices(document, missing.get("one")))
    if missing.get("subsets"):
        console.print(_subsets(missing["subsets"]))
    if "fleet" in document:
        console.print(_fleet(document["fleet"]))


def say(served: Agreement, console: Console, most: int = 20) -> None:
    """Print what a fleet answered otherwise, event by event, at most `most` of them."""
    for reason, answers in served.degraded.most_common():
        console.print(f"{count(answers, 'answer')} degraded: {reason}")
    for event in served.differing[:most]:
        console.print(f"[red]✗[/red] {_event(event)}: {event['why']}")
    if len(served.differing) > most:
        console.print(f"[red]✗[/red] and {len(served.differing) - most} more")


def accuracies_table(splits: Mapping[str, Any]) -> Table:
    """Each split's events and every exit's accuracy there, of `{"validation": {"events": …, "exits": …}}`."""
    made = table("Accuracy of each exit if it answered all", "exit", *splits)
    made.add_row("[dim]events[/dim]", *(f"[dim]{split['events']:,}[/dim]" for split in splits.values()))
    for exit in Exit:
        of_splits = [split["exits"][exit.value] for split in splits.values()]
        if of_splits[0] is not None:
            made.add_row(exit.value, *(_accuracy(figures["accuracy"]) for figures in of_splits))
    return made


def exits_table(document: Document, title: str = "Exits, each as if it answered all") -> Table:
    """Every exit's accuracy, share of the answers and threshold; the same overall, and of simple classifiers."""
    overall, by_class = document["overall"], document["by_class"]
    made = table(title, "exit", "accuracy", "balanced", "answers", "threshold")
    for exit in Exit:
        figures, limit = document["exits"][exit.value], overall["thresholds"].get(exit.value)
        if figures is None:
            made.add_row(exit.value, "-", "-", "-", "-")
            continue
        answers = "always" if exit is Exit.CLOUD else threshold(limit)
        recall, share = by_class["exits"].get(exit.value), percent(overall["exit_share"][exit.value])
        made.add_row(exit.value, _accuracy(figures["accuracy"]), percent(recall and balanced(recall)), share, answers)
    made.add_section()
    made.add_row("overall", f"[bold]{percent(overall['accuracy'])}[/bold]", percent(by_class["balanced_accuracy"]))
    least = worst(by_class["recall"])
    made.add_row(f"recall of class {escape(by_class['names'][least])}, the worst", percent(by_class["recall"][least]))
    if "yardstick" in document:
        made.add_section()
        for label, figures in _simple(document["yardstick"], document["split"]):
            made.add_row(label, percent(figures["accuracy"]), percent(figures["balanced_accuracy"]))
    return made


def _simple(found: Document, split: str) -> Iterator[tuple[str, Document]]:
    """Rows of the yardstick: the best on validation, the best device alone, and what else saw all devices."""
    best, alone = found["best"], best_alone(found)
    yield f"best simple: {named(best)}", best[split]
    if alone and best["device"] is None:
        yield f"best single device ({alone['device']}): {alone['classifier']}", alone[split]
    for name, figures in found["all"].items():
        if best["device"] is not None or name != best["classifier"]:
            yield f"[dim]{name}, all devices[/dim]", figures[split]


def classes_table(by_class: Document) -> Table:
    """Recall and precision of the classes with the lowest recall, each with its most frequent wrong answer."""
    exits = [exit for exit, recall in by_class["exits"].items() if recall is not None]
    rows = sorted((share, row) for row, share in enumerate(by_class["recall"]) if share is not None)
    left = len(rows) - _MOST_CLASSES
    title = "Classes: recall" + (f", the {_MOST_CLASSES} lowest of {len(rows)}" if left > 0 else "")
    made = table(title, "class", "events", *exits, "overall", "precision", "taken for")
    for share, row in rows[:_MOST_CLASSES]:
        wrong = [0 if column == row else count for column, count in enumerate(by_class["confusion"][row])]
        taken = f"{escape(by_class['names'][wrong.index(max(wrong))])} ({max(wrong):,})" if max(wrong) else ""
        alone = (percent(by_class["exits"][exit][row]) for exit in exits)
        events, precision = f"{by_class['events'][row]:,}", percent(by_class["precision"][row])
        made.add_row(escape(by_class["names"][row]), events, *alone, percent(share), precision, taken)
    return made


def _bytes(document: Document) -> Table:
    made = table("Bytes per event, all devices together", "link", "payload", "HTTP body")
    for link, name in (("device_to_edge", "devices → edge"), ("edge_to_cloud", "edge → cloud")):
        made.add_row(name, *(number(document[link][kind]) for kind in ("payload", "body")))
    made.add_section()
    made.add_row("the paper's formula, c × D", number(document["formula"]), "")
    made.add_row("raw views", number(document["raw_views"]), "")
    return made


def _devices(document: Document, one: Document | None) -> Table:
    made = table("Devices", "device", "accuracy alone", *(["overall when it is lost"] if one else []))
    alone = document["exits"]["device"]
    for index in range(document["devices"]):
        accuracy = percent(alone["accuracy"][index]) if alone else "-"
        made.add_row(str(index), accuracy, *([percent(one["each"][index])] if one else []))
    if one:
        made.add_section()
        made.add_row("mean", "", percent(one["mean"]))
        made.add_row("worst", "", percent(one["worst"]))
    return made


def _subsets(subsets: Mapping[str, float]) -> Table:
    title = "Overall accuracy with some devices left"
    made = table(title, "left", "subsets", "mean", "worst", "those", "best", "those")
    for left in sorted({key.count("+") + 1 for key in subsets}, reverse=True):
        group = {key: value for key, value in subsets.items() if key.count("+") + 1 == left}
        best, worst = max(group, key=group.__getitem__), min(group, key=group.__getitem__)
        extremes = [text for key in (worst, best) for text in (percent(group[key]), f"[dim]{key}[/dim]")]
        made.add_row(str(left), str(len(group)), percent(sum(group.values()) / len(group)), *extremes)
    return made


def _fleet(document: Document) -> Table:
    made = table("The running fleet against this run", "", "agreement")
    made.add_row("label", percent(document["label_agreement"]))
    made.add_row("exit", percent(document["exit_agreement"]))
    made.add_row("largest difference of a probability", f"{document['max_probability_difference']:.1e}")
    made.add_row("events that rounding may decide", str(len(document["ties"])))
    for tie in document["ties"]:
        made.add_row(f"[dim]  {_event(tie)}: {tie['why']}[/dim]", "")
    return made


def _event(event: Document) -> str:
    return (
        f"event {event['index']}: {event['label_offline']} at {event['exit_offline']} offline,"
        f" {event['label_served']} at {event['exit_served']} served"
    )


def _accuracy(value: float | list[float | None] | None) -> str:
    """Of an exit, or from the least to the most accurate of the devices that have any."""
    if not isinstance(value, list):
        return percent(value)
    known = [each for each in value if each is not None]
    return interval(min(known), max(known)) if known else percent(None)
