"""Tables about fewer devices: failed after training, trained without, added one by one."""

from collections.abc import Iterator, Mapping
from typing import Any

from ddnn_lab.studies.markdown import percent, table

__all__ = ["added", "lost", "subsets"]

Document = Mapping[str, Any]


def lost(results: Document) -> Iterator[str]:
    """One device gone: failed after training, and trained again without it."""
    joint, without = results["parts"].get("joint"), results["parts"].get("without") or {}
    told = joint and joint["one_lost"]
    made = {device: each["exits"] for device, each in without.items() if each}
    if told or made:
        yield "## One device lost\n"
    if joint and told:
        yield from _failed(joint, told)
    if made:
        yield from _without(made, told)


def _failed(joint: Document, told: Document) -> Iterator[str]:
    alone, exits = joint["exits"]["exits"]["device"], list(joint["exits"]["always"])
    columns = ("device", "alone, %", *(f"{name}, %" for name in exits), "overall, %")
    yield "**Failed after training**: the network stays as it is and masks the device out.\n"
    rows = [
        (
            str(device),
            percent(alone and alone["accuracy"][device]),
            *(percent(each[exit]["accuracy"]) for exit in (*exits, "overall")),
        )
        for device, each in enumerate(told["each"])
    ]
    blank = [""] * (len(exits) + 1)
    rows += [(name, *blank, percent(told[name]["accuracy"])) for name in ("mean", "worst")]
    whole = [percent(joint["exits"]["always"][exit]["accuracy"]) for exit in exits]
    yield table(columns, [*rows, ("none lost", "", *whole, percent(joint["exits"]["overall"]["accuracy"]))])


def _without(made: Document, told: Document | None) -> Iterator[str]:
    exits = list(next(iter(made.values()))["always"])
    columns = ("device", *(f"{name}, %" for name in exits), "overall, %", "overall, failed after training, %")
    yield "**Trained without**: a network of its own for the devices that are left, the paper's figure 10.\n"
    rows = []
    for device, each in made.items():
        failed = percent(told["each"][int(device)]["overall"]["accuracy"]) if told else ""
        always = (percent(each["always"][exit]["accuracy"]) for exit in exits)
        rows.append((device, *always, percent(each["overall"]["accuracy"]), failed))
    yield table(columns, rows)


def subsets(results: Document) -> Iterator[str]:
    """Overall accuracy with only some devices left."""
    joint = results["parts"].get("joint")
    told = joint and joint["subsets"]
    if not told:
        return
    by_size: dict[int, dict[str, Any]] = {}
    for group, value in told.items():
        by_size.setdefault(group.count("+") + 1, {})[group] = value["accuracy"]
    yield "## Only some devices left after training\n"
    rows = []
    for size, groups in sorted(by_size.items(), reverse=True):
        means = {group: value["mean"] for group, value in groups.items()}
        worst, best = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
        mean = f"{100 * sum(means.values()) / len(means):.1f}"
        rows.append((str(size), str(len(groups)), mean, percent(groups[worst]), worst, percent(groups[best]), best))
    yield table(("left", "subsets", "mean, %", "worst, %", "those", "best, %", "those"), rows)
    yield f"<details><summary>All {len(told)} subsets</summary>\n"
    every = [
        (group, percent(value))
        for _, groups in sorted(by_size.items(), reverse=True)
        for group, value in groups.items()
    ]
    third = -(-len(every) // 3)
    columns = [every[start : start + third] for start in range(0, len(every), third)]
    padded = [[*column, *[("", "")] * (third - len(column))] for column in columns]
    rows3 = [[cell for pair in line for cell in pair] for line in zip(*padded, strict=True)]
    yield table(("left", "overall, %") * len(columns), rows3)
    yield "</details>\n"


def added(results: Document) -> Iterator[str]:
    """More and more devices, the paper's figure 8."""
    found = results["parts"].get("added")
    if not found:
        return
    yield "## Devices added, worst first\n"
    exits = list(next(each for each in found["first"] if each)["exits"]["always"])
    joint = results["parts"].get("joint")  # trained, but no part of the report when only some parts are asked for
    alone = joint["exits"]["exits"]["device"]["accuracy"] if joint else {}
    rows = []
    for place, (device, each) in enumerate(zip(found["order"], found["first"], strict=False)):
        if each:
            told = [percent(each["exits"]["always"][exit]["accuracy"]) for exit in exits]
            overall = percent(each["exits"]["overall"]["accuracy"])
            own = percent(alone[int(device)]) if alone else ""
            rows.append((str(place + 1), device, own, *told, overall))
    yield table(("devices", "the one added", "alone, %", *(f"{exit}, %" for exit in exits), "overall, %"), rows)
    yield "The order is by the devices' own exits on validation; each row is a network of its own.\n"
