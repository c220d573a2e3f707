"""What tuning changed: the document of `ddnn tune --json`, and the same for people."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ddnn.evaluation import Scores
from ddnn.policy import Policy
from ddnn.tuning.asked import Asked
from ddnn.tuning.cost import Price
from ddnn.tuning.frontier import Frontier
from ddnn.tuning.objective import amount
from ddnn.tuning.page_tables import tests
from ddnn.tuning.tune import figures
from ddnn.types import Exit

__all__ = ["change", "frontier_document", "show"]


def change(before: Policy, after: Policy, scores: Mapping[str, Scores], price: Price | None = None) -> dict[str, Any]:
    """Both policies and what each does on every split of `scores`, by split name."""
    price = price or Price()
    told = after.tuned or {}
    return {
        name: {
            "version": policy.version,
            "criterion": policy.criterion,
            "thresholds": policy.thresholds.model_dump(),
            "temperatures": policy.temperatures.model_dump(),
            "live": sorted(policy.live),
            **{split: figures(recorded, policy, price) for split, recorded in scores.items()},
        }
        for name, policy in (("before", before), ("after", after))
    } | {
        "objective": told.get("objective"),
        "cost": price.document(),
        "search": told.get("search"),
        "promise": after.promise and after.promise.model_dump(mode="json"),
    }


def frontier_document(points: Frontier, asked: Asked, events: int) -> dict[str, Any]:
    """The points of a frontier found on so many events, each with its thresholds, accuracy and mean cost."""
    return {
        **points.document(),
        "points": [
            {
                **{exit.value: float(t) for exit, t in zip(asked.exits, points.thresholds[row], strict=True)},
                "accuracy": 1 - int(points.wrong[row]) / events,
                "cost": float(points.cost[row]) / events,
            }
            for row in points.some()
        ],
    }


def show(document: dict[str, Any], console: Console, price: Price, sentence: str) -> None:
    """Print the document as a table, what was asked for (`sentence`), and what happened to the policy."""
    before, after = document["before"], document["after"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for told, name in ((before, "before"), (after, "after")):
        table.add_column(f"{name}, version {told['version']}", justify="right")
    table.add_row("criterion", before["criterion"], after["criterion"])
    shares = after["validation"]["exit_share"]
    there = [exit.value for exit in Exit if shares[exit.value] is not None]
    for exit in there:
        if exit != Exit.CLOUD.value:
            table.add_row(f"threshold, {exit}", *(_threshold(told["thresholds"][exit]) for told in (before, after)))
    for exit in there:
        table.add_row(f"temperature, {exit}", *(f"{told['temperatures'][exit]:.4g}" for told in (before, after)))
    chosen = "learnt and tested on" if document["guarantee"] else "chosen on"
    for split, purpose in (("validation", chosen), ("test", "for information")):
        if split not in after:
            continue
        table.add_section()
        table.add_row(f"[bold]{split}[/bold], {after[split]['events']:,} events, {purpose}", "", "")
        for key, label in (("accuracy", "overall accuracy"), ("cloud_accuracy", "cloud exit's accuracy")):
            table.add_row(f"  {label}", *(_percent(told[split][key]) for told in (before, after)))
        for exit in there:
            shown = (_percent(told[split]["exit_share"][exit]) for told in (before, after))
            table.add_row(f"  answered at {exit}", *shown)
        table.add_row("  cost of an event", *(amount(told[split]["cost"]["mean"], price) for told in (before, after)))
    console.print(table)
    console.print(f"{sentence} {_searched(document['search'], price)}".rstrip(), soft_wrap=True)
    if document["guarantee"]:
        console.print(f"{document['guarantee']['events']['learning']:,} events learnt. {tests(document['guarantee'])}")
    if bounds := (document["promise"] or {}).get("disagreement"):
        told = ", ".join(f"{_percent(share)} at {exit}" for exit, share in bounds.items())
        sure = f"with {100 * document['promise']['confidence']:g} % confidence"
        console.print(f"Answers that the cloud would change, {sure} at most: {told}.", soft_wrap=True)
    end = f"Written as version {after['version']}." if document["written"] else "Nothing written; --write does."
    console.print(f"[bold]{end}[/bold]")


def _searched(search: Mapping[str, Any] | None, price: Price) -> str:
    """How far the search went."""
    if search is None:
        return ""
    loss = search["largest_loss"]["cost"]
    if search["exact"]:
        return f"No other of the {search['combinations']:,} combinations of thresholds does better."
    if loss is None:
        return f"Searched {search['looked_at']:,} of {search['combinations']:,} combinations; others may do better."
    wrong = search["largest_loss"]["wrong_answers"]
    return f"Others could save at most {amount(loss, price)} in all, or have {wrong:,} fewer wrong answers."


def _threshold(value: float) -> str:
    return f"{value:.4g}" if value else "off"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"
