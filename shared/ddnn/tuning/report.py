"""What tuning changed: the document of `ddnn tune --json`, and the same for people."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from ddnn.evaluation import Scores
from ddnn.policy import Policy
from ddnn.tier import Exit
from ddnn.tuning.tune import figures

__all__ = ["change", "show"]


def change(before: Policy, after: Policy, scores: Mapping[str, Scores]) -> dict[str, Any]:
    """Both policies and what each does on every split of `scores`, by split name."""
    return {
        name: {
            "version": policy.version,
            "criterion": policy.criterion,
            "thresholds": policy.thresholds.model_dump(),
            "temperatures": policy.temperatures.model_dump(),
            **{split: figures(recorded, policy) for split, recorded in scores.items()},
        }
        for name, policy in (("before", before), ("after", after))
    } | {"objective": (after.tuned or {}).get("objective")}


def show(document: dict[str, Any], console: Console) -> None:
    """Print the document as a table, and what happened to the policy."""
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
    for split, purpose in (("validation", "chosen on"), ("test", "for information")):
        table.add_section()
        table.add_row(f"[bold]{split}[/bold], {after[split]['events']:,} events, {purpose}", "", "")
        for key, label in (("accuracy", "overall accuracy"), ("cloud_accuracy", "cloud exit's accuracy")):
            table.add_row(f"  {label}", *(_percent(told[split][key]) for told in (before, after)))
        for exit in there:
            shown = (_percent(told[split]["exit_share"][exit]) for told in (before, after))
            table.add_row(f"  answered at {exit}", *shown)
    console.print(table)
    drop = document["objective"]["max_accuracy_drop"]
    console.print(
        f"The fewest events to the cloud with an overall accuracy at most {_points(drop)} below the cloud exit's."
    )
    end = f"Written as version {after['version']}." if document["written"] else "Nothing written; --write does."
    console.print(f"[bold]{end}[/bold]")


def _threshold(value: float) -> str:
    return f"{value:.4g}" if value else "off"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.4g} points"
