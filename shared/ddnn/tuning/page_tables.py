"""The tables of a tuning report; each is a list of pieces of the page, empty where there is nothing to tell."""

from collections.abc import Mapping
from typing import Any, Final

from ddnn.tuning.page_words import cost, paragraph, percent, row, table, threshold
from ddnn.types import Exit

__all__ = ["alternatives", "criteria", "guarantee", "promise", "result", "sizes", "tests"]

Document = Mapping[str, Any]
_LEFT_OUT: Final = (
    "Latency counts sections and messages. Queues, HTTP itself and waiting for who is late are left out; a link that is"
    " not given takes no time."
)
_LOSSES: Final = {
    "accuracy": "events that the cloud has right and the answer wrong",
    "disagreement": "events whose answer is not the cloud's",
}


def sizes(document: Document) -> str:
    """Which data, and how many events chose and how many report."""
    after = document["after"]
    how = "learnt from and tested on" if document["guarantee"] else "chosen on"
    told = f"{document['data']['name']}: {how} {after['validation']['events']:,} validation events"
    return f"{told}, reported on {after['test']['events']:,} test events." if "test" in after else f"{told}; no test."


def result(document: Document) -> list[str]:
    """Before and after."""
    before, after = document["before"], document["after"]
    exits = _exits(document)
    both = (before, after)
    rows = [row(("criterion", *(told["criterion"] for told in both)))]
    rows += [
        row((f"threshold, {exit}", *(threshold(told["thresholds"][exit]) for told in both))) for exit in exits[:-1]
    ]
    rows += [row((f"temperature, {exit}", *(f"{told['temperatures'][exit]:.4g}" for told in both))) for exit in exits]
    for split in _splits(document):
        pairs = (before[split], after[split])
        rows += [
            row((f"{split}, {after[split]['events']:,} events", "", ""), "part"),
            row(("overall accuracy", *(percent(told["accuracy"], 2) for told in pairs)), "marked"),
            row(("the cloud exit's accuracy", *(percent(told["cloud_accuracy"], 2) for told in pairs))),
            row(("cost of an event", *(cost(document, told["cost"]["mean"]) for told in pairs)), "marked"),
            *(row((f"answered at {exit}", *(percent(told["exit_share"][exit]) for told in pairs))) for exit in exits),
        ]
    heads = ("", f"before, version {before['version']}", f"after, version {after['version']}")
    pieces = [table(heads, rows), *([paragraph(_latency(document))] if document["cost"]["unit"] == "seconds" else [])]
    if after["live"]:
        counts = ", ".join(map(str, after["live"]))
        pieces.append(
            paragraph(
                f"With {counts} live devices the policy has thresholds and temperatures of their own; what is below"
                " has one set for all."
            )
        )
    return pieces


def alternatives(document: Document) -> list[str]:
    """What other margins would cost."""
    rows = []
    splits, exits = _splits(document), [*document["study"]["sweeps"]]
    for told in document["study"]["alternatives"]:
        margin = f"{100 * told['max_accuracy_drop']:.4g} points"
        if told["thresholds"] is None:
            rows.append(row((margin, "no thresholds", *[""] * (len(exits) - 1 + 3 * len(splits)))))
            continue
        cells = [margin, *(threshold(told["thresholds"][exit]) for exit in exits)]
        for split in splits:
            figures = told[split]
            cells += [percent(figures["accuracy"], 2), cost(document, figures["cost"]["mean"])]
            cells.append(percent(figures["exit_share"]["cloud"]))
        rows.append(row(cells))
    heads = ["at most below the cloud", *(f"threshold, {exit}" for exit in exits)]
    for split in splits:
        heads += [f"{split}: accuracy", "cost", "at the cloud"]
    said = "The cheapest thresholds for each margin, chosen on validation. On test a margin may be missed by chance."
    return ["<h2>What other margins would cost</h2>", paragraph(said), table(heads, rows)]


def guarantee(document: Document) -> list[str]:
    """The promised risk, and every test on the way to it."""
    told = document["guarantee"]
    if told is None:
        return []
    events = told["events"]
    said = (
        f"With confidence {told['confidence']:g} over the draw of the events, at most {percent(told['risk'], 2)} of all"
        f" events are lost: {_LOSSES[told['loss']]}. {events['learning']:,} events gave the order of testing;"
        f" {events['testing']:,} others, which chose nothing, were tested on, of at least {events['fewest']:,} that it"
        f" takes. {tests(told)}"
    )
    exits = [*told["tested"][0]["thresholds"]]
    last = max(place for place, each in enumerate(told["tested"]) if each["passed"])
    rows = [
        row(
            (
                place + 1,
                *(threshold(each["thresholds"][exit]) for exit in exits),
                f"{each['losses']:,}",
                f"{each['p_value']:.3g}",
                "chosen" if place == last else "passed" if each["passed"] else "failed",
            ),
            "marked" if place == last else "",
        )
        for place, each in enumerate(told["tested"])
        if place > last - 10
    ]
    heads = ("test", *(f"threshold, {exit}" for exit in exits), "losses", "p-value", "")
    caption = f"The last of {len(told['tested'])} tests; a point passes at {1 - told['confidence']:.3g} or less."
    return ["<h2>The guarantee</h2>", paragraph(said), table(heads, rows, caption)]


def tests(told: Mapping[str, Any]) -> str:
    """How the tests of a guarantee went."""
    passed, points = sum(each["passed"] for each in told["tested"]), told["points"]
    went = f"All {points} points passed" if passed == points else f"{passed} of {points} points passed, the next failed"
    events = told["events"]["testing"]
    return (
        f"{went}; the last that passed is the policy, with {told['losses']:,} losses in {events:,} testing events,"
        f" p = {told['p_value']:.2g}."
        + (f" Training chose its best epoch on {seen:,} of them too." if (seen := told["events"]["seen"]) else "")
    )


def promise(document: Document) -> list[str]:
    """What audits will be held against."""
    told = document["promise"]
    if not told or not told["disagreement"]:
        return []
    rows = [row((exit, percent(share, 2))) for exit, share in told["disagreement"].items()]
    said = (
        f"The share of an exit's answers that the cloud would change is at most this, with {100 * told['confidence']:g}"
        f" % confidence for each exit (Clopper and Pearson, on {told['events']:,} events, as if they had no part in the"
        " choice). Audits of a running fleet are held against it."
    )
    return ["<h2>What the policy promises</h2>", paragraph(said), table(("exit", "at most"), rows)]


def criteria(document: Document) -> list[str]:
    """How the criteria compare, where they were."""
    told = document["criteria"]
    if told is None:
        return []
    splits, exits = [*told["events"]], _exits(document)
    shown = splits[-1]
    rows = []
    for name, each in told["criteria"].items():
        gain = each["gain"]
        cells = [name, *(percent(each[split]["area"], 2) for split in splits)]
        default = name == told["default"]
        cells.append(
            "—" if default else f"{100 * gain['area']:+.2f} ({100 * gain['low']:+.2f} to {100 * gain['high']:+.2f})"
        )
        for exit in exits:
            calibration = each[shown]["calibration"][exit]
            cells.append(f"{percent(calibration['auroc'])} / {100 * calibration['ece']:.1f}")
        rows.append(row(cells, "marked" if name == told["chosen"] else ""))
    heads = ("criterion", *(f"area, {split}" for split in splits), f"gain over {told['default']}, points", *exits)
    said = (
        "Area: mean accuracy over all budgets between the cheapest exit's cost and the cloud's. Another criterion than"
        f" {told['default']} is taken only if its whole 95 % interval of the gain, on validation, is above 0. For each"
        f" exit: AUROC of right against wrong, and ECE of 1 − criterion in points, on {shown}."
    )
    return ["<h2>Criteria compared</h2>", paragraph(said), table(heads, rows)]


def _latency(document: Document) -> str:
    """Links and sections, and what does not count."""
    links, sections = document["cost"]["links"], document["cost"]["sections"]
    told = []
    for name in ("device-edge", "edge-cloud"):
        rate = links[name]["bits_per_s"]
        speed = "any rate" if rate is None else f"{rate / 1e6:g} Mbit/s"
        told.append(f"{name} {1000 * links[name]['round_trip_s']:g} ms, {speed}")
    if sections is None:
        measured = "Sections take no time: no profile was given."
    else:
        measured = f"Section times are medians of {sections['repeat']:,} runs on {sections['threads']} thread(s)."
    shared = " shared by the devices of an edge" if links["shared"] else ""
    return f"Links: {told[0]}{shared}; {told[1]}. {measured} {_LEFT_OUT}"


def _exits(document: Document) -> list[str]:
    """Exits of the network, lowest first, the cloud's last."""
    shares = document["after"]["validation"]["exit_share"]
    return [exit.value for exit in Exit if shares[exit.value] is not None]


def _splits(document: Document) -> list[str]:
    return [split for split in ("validation", "test") if split in document["after"]]
