"""The first table: the study's network, and beside it everything that it should be compared with."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ddnn_lab.studies.markdown import number, percent, points, table

__all__ = ["claims", "differences", "summary"]

Document = Mapping[str, Any]
Row = tuple[str, ...]
CLASSIFIERS: Final = {
    "majority": "majority class",
    "presence": "presence mask only",
    "nearest": "1-nearest neighbour on pixels",
    "linear": "linear, all views",
    "linear_best": "linear, best single device",
}


def summary(results: Document) -> Iterator[str]:
    """Overall, each exit, and the baselines."""
    parts = results["parts"]
    rows = [*_network(parts.get("joint")), *_apart(parts), *_uncut(parts.get("uncut")), *_classifiers(parts)]
    if not rows:
        return
    yield "## Accuracy, and what to compare it with\n"
    yield table(("", "accuracy, %", "bytes a device and event", "events it answers, %"), rows)
    yield from _sent(parts.get("joint"))
    told = parts.get("baselines")
    if told and told["near_duplicates"]:
        yield f"Test events with a near-duplicate in training: {percent(told['near_duplicates'])} %.\n"


def differences(results: Document) -> Iterator[str]:
    """The joint network against what is trained apart, run by run."""
    parts = results["parts"]
    rows = []
    separate = parts.get("separate_exits")
    if separate:
        told = {**separate["exits"], "overall": separate["overall"]}
        rows += [
            (f"{name}: joint − trained apart", percent(each["accuracy"]), points(each["difference"]))
            for name, each in told.items()
            if each["accuracy"]
        ]
    for part, key, name in (
        ("separate_devices", "joint_above_vote", "overall: joint − vote of separately trained devices"),
        ("uncut", "joint_above", "overall: joint − uncut float network"),
    ):
        found = parts.get(part)
        if found and found[key]:
            other = found["votes"]["bar"] if part == "separate_devices" else found["exits"]["overall"]
            rows.append((name, percent(other["accuracy"]), points(found[key])))
    if rows:
        yield "## Differences, paired by seed and fold\n"
        yield table(("", "the other, %", "difference, points"), rows)


def claims(results: Document) -> Iterator[str]:
    """What a network of this kind should show, and whether this one does."""
    parts = results["parts"]
    joint, separate, alone = (parts.get(part) for part in ("joint", "separate_exits", "separate_devices"))
    rows = []
    if joint and len(joint["exits"]["always"]) > 1:
        found = joint["exits"]
        above = _mean(found["overall"]["accuracy"]) - _mean(found["always"]["cloud"]["accuracy"])
        rows.append(_claim("overall at most 0.5 points below the cloud exit", f"{100 * above:+.2f}", above >= -0.005))
        below = _mean(found["below_cloud"])
        rows.append(
            _claim("at least half of the events answered below the cloud", f"{100 * below:.1f} %", below >= 0.5)
        )
    if separate and separate["overall"]["difference"]:
        told = {**separate["exits"], "overall": separate["overall"]}
        lows = {name: each["difference"]["low"] for name, each in told.items() if each["difference"]}
        name = min(lows, key=lambda key: lows[key] or 0.0)
        if lows[name] is not None:
            claim = "joint − trained apart: lower bound of every exit's difference at least −0.3 points"
            rows.append(_claim(claim, f"{name} {100 * lows[name]:+.2f}", lows[name] >= -0.003))
    if alone and alone["joint_above_vote"]:
        above = _mean(alone["joint_above_vote"])
        rows.append(_claim("overall above the vote of separately trained devices", f"{100 * above:+.2f}", above > 0))
    if rows:
        yield "## What it should show\n"
        yield table(("", "found", "so it is"), rows)


def _claim(claim: str, found: str, held: bool) -> Row:
    return (claim, found.replace("-", "−"), "yes" if held else "**no**")


def _mean(told: Document) -> float:
    return float(told["mean"])


def _network(joint: Document | None) -> Iterator[Row]:
    if not joint:
        return
    found, votes = joint["exits"], joint["votes"]
    sent, shares, always = found["bytes"], found["overall"]["exit_share"], found["always"]
    yield _row("**overall**, thresholds tuned on validation", found["overall"], number(sent["per_device"]))
    for exit, told in always.items():
        name = {"local": "local only: every event at the local exit", "cloud": "cloud only: every event sent up"}
        yield _row(name.get(exit, f"{exit} exit for every event"), told, _always(sent, exit), percent(shares[exit]))
    yield _row("random offload, the same shares", found["random_offload"], number(sent["per_device"]))
    yield _row("oracle: leaves at the first exit that is right", found["oracle"])
    if votes:
        yield _row("best single device of the joint network", votes["best"])


def _always(sent: Document, exit: str) -> str:
    """Bytes a device if every event left at `exit`; who sees nothing sends nothing."""
    if not sent["scores"]:
        return number(sent["per_device"])
    scores, features, present = (_mean(sent[key]) for key in ("scores", "features", "present"))
    each = present * (scores if exit == "local" else scores + features)
    return number({"mean": round(each, 1)})


def _apart(parts: Document) -> Iterator[Row]:
    alone = parts.get("separate_devices")
    if alone and alone["votes"]:
        votes = alone["votes"]
        yield _row("best single device, trained for itself", votes["best"])
        yield _row("vote of separately trained devices, majority of labels", votes["majority"])
        yield _row("vote of separately trained devices, mean probability", votes["mean_probability"])
    separate = parts.get("separate_exits")
    if separate:
        for exit, told in separate["exits"].items():
            yield _row(f"{exit} exit, trained for itself", told)
        if separate["overall"]["accuracy"]:
            yield _row("overall of separately trained exits", separate["overall"])


def _uncut(found: Document | None) -> Iterator[Row]:
    if found:
        raw = number(found["exits"]["bytes"]["per_device"])
        yield _row("uncut float network, all raw views", found["exits"]["overall"], raw)


def _classifiers(parts: Document) -> Iterator[Row]:
    found = parts.get("baselines")
    if found:
        for key, name in CLASSIFIERS.items():
            yield _row(name, found[key])


def _row(name: str, told: Document | None, sent: str = "", share: str = "") -> Row:
    return (name, percent(told and told["accuracy"], 2), sent, share)


def _sent(joint: Document | None) -> Iterator[str]:
    if not joint:
        return
    found = joint["exits"]
    sent = found["bytes"]
    yield f"{percent(found['below_cloud'])} % of events are answered below the cloud.\n"
    if sent["features"]:
        yield (
            f"Bytes are payload from devices to the edge, the mean over all devices, of which one that sees nothing"
            f" sends nothing. Features go up when the local exit is not sure:"
            f" {number(sent['scores'])} B of scores, {number(sent['features'])} B of features a device. The paper's"
            f" formula gives {number(sent['formula_per_device'])} B a device; edge to cloud"
            f" {number(sent['edge_to_cloud']['payload'])} B an event; raw views {number(sent['raw_views'])} B an event,"
            f" all devices together.\n"
        )
