"""Tables about when exits answer: thresholds, the frontier beside JPEG, and whether exits know when they are wrong."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from ddnn_lab.studies.markdown import number, percent, table

__all__ = ["confidence", "frontier", "thresholds"]

Document = Mapping[str, Any]
PAPER: Final = ("0.1", "0.3", "0.5", "0.6", "0.7", "0.8", "0.9", "1")
"""The thresholds of the paper's table."""


def thresholds(results: Document) -> Iterator[str]:
    """The paper's threshold table, and the same as a fleet with an edge answers."""
    joint = results["parts"].get("joint")
    told = joint and joint["thresholds"]
    if not joint or not told:
        return
    shown = [place for place, value in enumerate(told["T"]) if value in PAPER]
    edge = "edge" in joint["exits"]["always"]
    yield "## The local exit's threshold\n"
    yield "The paper's form: local and cloud exit alone, no temperatures, bytes by its formula.\n"
    yield _sweep(told, "paper", shown, edge=False)
    yield (
        "As a fleet answers: with temperatures"
        + (", the edge exit at its tuned threshold" if edge else "")
        + "; payload.\n"
    )
    yield _sweep(told, "served", range(len(told["T"])), edge=edge)
    yield "Both are told on test for every threshold; none is chosen by it.\n"


def _sweep(told: Document, form: str, places: Any, *, edge: bool) -> str:
    rows = []
    for place in places:
        each = told[form][place]
        shares = [percent(each["local_share"])] + ([percent(each["edge_share"])] if edge else [])
        sent = number(each["formula" if form == "paper" else "bytes"])
        rows.append((told["T"][place], *shares, percent(each["accuracy"]), sent))
    names = ["local exit, %"] + (["edge exit, %"] if edge else [])
    return table(("T", *names, "overall, %", "bytes a device"), rows)


def frontier(results: Document) -> Iterator[str]:
    """The best accuracy for a budget of bytes, and what JPEG pictures of the views would give."""
    parts = results["parts"]
    joint, uncut = parts.get("joint"), parts.get("uncut")
    rows = []
    for point in (joint and joint["frontier"]) or []:
        share = percent(point["local_share"])
        rows.append((f"exits, {share} % at the local exit", number(point["bytes"]), percent(point["accuracy"]), ""))
    told = uncut and uncut["jpeg"]
    for point in told["points"] if told else []:
        name = f"uncut network on JPEG, quality {point['quality']}"
        rows.append((name, number(point["file"]), percent(point["accuracy"]), number(point["scan"])))
    if uncut:
        raw = uncut["exits"]
        name = "uncut network on raw views"
        rows.append((name, number(raw["bytes"]["per_device"]), percent(raw["overall"]["accuracy"]), ""))
    if rows:
        yield "## Accuracy against bytes\n"
        yield table(("", "bytes a device and event", "accuracy, %", "coded pixels alone, bytes"), rows)
        yield "Exits: thresholds chosen on validation for each share that may pass the local exit.\n"
    if told:
        yield (
            f"JPEG: on {number(told['events'])} test events; bytes of a whole file a view, and of the coded pixels"
            " alone, as if both sides knew every header.\n"
        )


def confidence(results: Document) -> Iterator[str]:
    """AUROC of right against wrong, and calibration."""
    joint = results["parts"].get("joint")
    if not joint:
        return
    yield "## Does an exit know when it is wrong?\n"
    rows = []
    for exit, told in joint["confidence"].items():
        auroc = "—" if told["auroc"] is None else percent(told["auroc"])
        accuracy = joint["exits"]["always"][exit]["accuracy"]
        rows.append((exit, percent(accuracy), auroc, percent(told["ece"])))
    yield table(("exit", "accuracy, %", "AUROC, wrong less sure than right, %", "calibration error, points"), rows)
