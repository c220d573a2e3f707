"""The tables of the study's own network."""

from collections.abc import Iterator, Mapping
from typing import Any

from ddnn.bench.markdown import number, percent, table

__all__ = ["lost", "subsets", "summary"]

Document = Mapping[str, Any]


def summary(results: Document) -> Iterator[str]:
    """Overall, each exit, and everything they should be compared with."""
    joint = results["parts"].get("joint")
    if not joint:
        return
    found = joint["exits"]
    sent = found["bytes"]
    yield "## Accuracy\n"
    rows = [_row("**overall, thresholds tuned on validation**", found["overall"], sent["per_device"])]
    for exit, told in found["always"].items():
        rows.append(_row(f"{exit} exit alone", told, None, found["overall"]["exit_share"][exit]))
    rows.append(_row("random offload at the same shares", found["random_offload"], sent["per_device"]))
    rows.append(_row("oracle: some exit is right", found["oracle"], None))
    yield table(("", "accuracy, %", "bytes a device and event", "answers, %"), rows)
    yield (
        f"Below the cloud: {percent(found['below_cloud'])} % of events."
        f" Scores are {number(sent['scores'])} B and features {number(sent['features'])} B a device;"
        f" the paper's formula gives {number(sent['formula_per_device'])} B a device,"
        f" raw views are {number(sent['raw_views'])} B an event, all devices together.\n"
    )


def _row(name: str, told: Document | None, sent: Document | None, share: Document | None = None) -> tuple[str, ...]:
    accuracy = None if told is None else told["accuracy"]
    return (name, percent(accuracy), number(sent), "" if share is None else percent(share))


def lost(results: Document) -> Iterator[str]:
    """One device lost after training."""
    joint = results["parts"].get("joint")
    told = joint and joint.get("one_lost")
    if not joint or not told:
        return
    alone = joint["exits"]["exits"]["device"]["accuracy"]
    exits = [name for name in told["each"][0] if name != "overall"]
    yield "## One device lost after training\n"
    rows = [
        (str(device), percent(alone[device]), *(percent(each[name]["accuracy"]) for name in (*exits, "overall")))
        for device, each in enumerate(told["each"])
    ]
    blank = [""] * (len(exits) + 1)
    rows += [(name, *blank, percent(told[name]["accuracy"])) for name in ("mean", "worst")]
    yield table(("device", "alone, %", *(f"{name} without it, %" for name in exits), "overall without it, %"), rows)


def subsets(results: Document) -> Iterator[str]:
    """Overall accuracy with only some devices left."""
    joint = results["parts"].get("joint")
    told = joint and joint.get("subsets")
    if not told:
        return
    by_size: dict[int, dict[str, Any]] = {}
    for group, value in told.items():
        by_size.setdefault(group.count("+") + 1, {})[group] = value["accuracy"]
    yield "## Only some devices left after training\n"
    rows = []
    for size in sorted(by_size, reverse=True):
        groups = by_size[size]
        means = {group: value["mean"] for group, value in groups.items()}
        worst, best = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
        mean = f"{100 * sum(means.values()) / len(means):.1f}"
        rows.append((str(size), str(len(groups)), mean, percent(groups[worst]), worst, percent(groups[best]), best))
    yield table(("left", "subsets", "mean, %", "worst, %", "those", "best, %", "those"), rows)
    yield "<details><summary>Every subset</summary>\n"
    yield table(
        ("left", "overall, %"),
        (
            (group, percent(told[group]["accuracy"]))
            for size in sorted(by_size, reverse=True)
            for group in by_size[size]
        ),
    )
    yield "</details>\n"
