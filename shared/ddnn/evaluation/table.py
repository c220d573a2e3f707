"""The evaluation document, for people."""

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ddnn.evaluation.agreement import Agreement
from ddnn.types import Exit

__all__ = ["accuracies_table", "say", "show"]


def show(document: dict[str, Any], console: Console) -> None:
    """Print the `evaluate --json` document as tables."""
    console.print(
        f"\n[bold]{document['events']:,}[/bold] {document['split']} events · {document['classes']} classes"
        f" · {_count(document['devices'], 'device')}\n"
    )
    console.print(_exits(document))
    console.print(_bytes(document["bytes"]))
    missing = document.get("missing")
    console.print(_devices(document, missing["one"] if missing else None))
    if missing and missing["subsets"]:
        console.print(_subsets(missing["subsets"]))
    if "fleet" in document:
        console.print(_fleet(document["fleet"]))


def say(served: Agreement, console: Console, most: int = 20) -> None:
    """Print what a fleet answered otherwise, event by event, at most `most` of them."""
    for reason, count in served.degraded.most_common():
        console.print(f"{_count(count, 'answer')} degraded: {reason}")
    for event in served.differing[:most]:
        console.print(f"[red]✗[/red] {_event(event)}: {event['why']}")
    if len(served.differing) > most:
        console.print(f"[red]✗[/red] and {len(served.differing) - most} more")


def accuracies_table(splits: Mapping[str, Any]) -> Table:
    """Each split's events and every exit's accuracy there, of `{"validation": {"events": …, "exits": …}}`."""
    table = _table("Accuracy of each exit if it answered all", "exit", *splits)
    table.add_row("[dim]events[/dim]", *(f"[dim]{told['events']:,}[/dim]" for told in splits.values()))
    for exit in Exit:
        told = [each["exits"][exit.value] for each in splits.values()]
        if told[0] is not None:
            table.add_row(exit.value, *(_accuracy(each["accuracy"]) for each in told))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold", pad_edge=False)
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if place else "left")
    return table


def _exits(document: dict[str, Any]) -> Table:
    overall = document["overall"]
    table = _table("Exits", "exit", "accuracy if it answered all", "answers", "threshold")
    for exit in Exit:
        told = document["exits"][exit.value]
        if told is None:
            table.add_row(exit.value, "-", "-", "-")
            continue
        accuracy = told["accuracy"]
        threshold = overall["thresholds"].get(exit.value)
        table.add_row(
            exit.value,
            _accuracy(accuracy),
            _percent(overall["exit_share"][exit.value]),
            "always" if exit is Exit.CLOUD else f"{threshold:.4g}" if threshold else "off",
        )
    table.add_section()
    table.add_row("overall", f"[bold]{_percent(overall['accuracy'])}[/bold]", "", "")
    return table


def _bytes(told: dict[str, Any]) -> Table:
    table = _table("Bytes per event, all devices together", "link", "payload", "HTTP body")
    table.add_row("devices → edge", _number(told["device_to_edge"]["payload"]), _number(told["device_to_edge"]["body"]))
    table.add_row("edge → cloud", _number(told["edge_to_cloud"]["payload"]), _number(told["edge_to_cloud"]["body"]))
    table.add_section()
    table.add_row("the paper's formula, c × D", _number(told["formula"]), "")
    table.add_row("raw views", _number(told["raw_views"]), "")
    return table


def _devices(document: dict[str, Any], one: dict[str, Any] | None) -> Table:
    table = _table("Devices", "device", "accuracy alone", *(["overall when it is lost"] if one else []))
    alone = document["exits"]["device"]
    for index in range(document["devices"]):
        accuracy = _percent(alone["accuracy"][index]) if alone else "-"
        table.add_row(str(index), accuracy, *([_percent(one["each"][index])] if one else []))
    if one:
        table.add_section()
        table.add_row("mean", "", _percent(one["mean"]))
        table.add_row("worst", "", _percent(one["worst"]))
    return table


def _subsets(subsets: dict[str, float]) -> Table:
    table = _table(
        "Overall accuracy with some devices left", "left", "subsets", "mean", "worst", "those", "best", "those"
    )
    for size, group in _by_size(subsets):
        best, worst = max(group, key=group.__getitem__), min(group, key=group.__getitem__)
        table.add_row(
            str(size),
            str(len(group)),
            _percent(sum(group.values()) / len(group)),
            _percent(group[worst]),
            f"[dim]{worst}[/dim]",
            _percent(group[best]),
            f"[dim]{best}[/dim]",
        )
    return table


def _fleet(told: dict[str, Any]) -> Table:
    table = _table("The running fleet against this run", "", "agreement")
    table.add_row("label", _percent(told["label_agreement"]))
    table.add_row("exit", _percent(told["exit_agreement"]))
    table.add_row("largest difference of a probability", f"{told['max_probability_difference']:.1e}")
    table.add_row("events that rounding may decide", str(len(told["ties"])))
    for tie in told["ties"]:
        table.add_row(f"[dim]  {_event(tie)}: {tie['why']}[/dim]", "")
    return table


def _event(told: dict[str, Any]) -> str:
    """Where and what an event was answered, offline and served."""
    return (
        f"event {told['index']}: {told['label_offline']} at {told['exit_offline']} offline,"
        f" {told['label_served']} at {told['exit_served']} served"
    )


def _by_size(subsets: dict[str, float]) -> Iterator[tuple[int, dict[str, float]]]:
    """The subsets by how many devices are left, most first."""
    for size in sorted({key.count("+") + 1 for key in subsets}, reverse=True):
        yield size, {key: value for key, value in subsets.items() if key.count("+") + 1 == size}


def _accuracy(value: float | list[float | None] | None) -> str:
    return _spread(value) if isinstance(value, list) else _percent(value)


def _spread(values: list[float | None]) -> str:
    there = [value for value in values if value is not None]
    if not there:
        return _percent(None)
    return _percent(there[0]) if len(there) == 1 else f"{100 * min(there):.1f} to {_percent(max(there))}"


def _percent(value: float | None) -> str:
    return "—" if value is None else f"{100 * value:.1f} %"


def _number(value: float) -> str:
    return f"{value:,.1f}" if value % 1 else f"{value:,.0f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
