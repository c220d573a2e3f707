"""The plots of a tuning report, as SVG that takes its ink from the page around it; made of the document alone."""

from collections.abc import Mapping
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes

from ddnn.plot_style import COLOURS, INK, STYLE, name, panels, svg

__all__ = ["frontier", "reliability", "sweeps"]

Document = Mapping[str, Any]
_SPLITS: Final = {"validation": "-", "test": "--"}
_MARKERS: Final = {"device": "o", "local": "^", "edge": "s", "cloud": "D"}
_NEAR: Final = 0.01  #: how far from the chosen point's accuracy the second frontier panel reaches


def frontier(document: Document) -> str:
    """Accuracy against cost: all points worth having, and again what is near the chosen one."""
    cost = document["cost"]
    unit = "ms until its answer" if cost["unit"] == "seconds" else f"{cost['kind']} bytes"
    unit += "" if cost["over"] == "all" else f" {cost['over']}"
    with matplotlib.rc_context(STYLE):
        figure, (whole, near) = panels(2, height=4.2, columns=2)
        for on in (whole, near):
            for split in _splits(document):
                _operating_points(on, document, split)
        name(whole, "All points worth having", f"cost of an event, {unit}", "overall accuracy, %")
        name(near, "Near the chosen point", f"cost of an event, {unit}", "")
        _look_near(near, document)
        labels, handles = zip(*sorted(_legend(whole).items(), key=_place), strict=True)
        figure.legend(handles, labels, loc="outside lower center", ncols=4, title="filled: validation, hollow: test")
        return svg(figure, "accuracy against cost")


def _operating_points(on: Axes, document: Document, split: str) -> None:
    """The frontier, each exit alone and the chosen point on one split, named once."""
    study, first = document["study"], split == "validation"
    x, y = zip(*(_at(document, point[split]) for point in study["frontier"]), strict=True)
    width = 1.8 if first else 1.2
    on.plot(x, y, _SPLITS[split], color=COLOURS["another"], linewidth=width, label=f"frontier, {split}")

    def mark(figures: Document, marker: str, colour: str, label: str, size: int, **how: Any) -> None:
        place, fill = _at(document, figures), colour if first else "none"
        shown = label if first else None
        on.plot(*place, marker, color=colour, markerfacecolor=fill, markersize=size, label=shown, **how)

    for exit, alone in study["alone"].items():
        mark(alone[split], _MARKERS[exit], COLOURS[exit], f"{exit} alone", 8)
    mark(document["after"][split], "*", COLOURS["other"], "chosen", 15, zorder=5)


def _look_near(on: Axes, document: Document) -> None:
    """Show the frontier's points that are about as right as the chosen one, on every split."""
    after, splits = document["after"], _splits(document)
    chosen = after["validation"]["accuracy"]
    around = [p for p in document["study"]["frontier"] if abs(p["validation"]["accuracy"] - chosen) <= _NEAR]
    x, y = zip(*(_at(document, point[split]) for point in (*around, after) for split in splits), strict=True)
    wide, high = max(max(x) - min(x), 0.02 * max(x), 1e-9), max(max(y) - min(y), 0.2)
    on.set_xlim(min(x) - 0.08 * wide, max(x) + 0.08 * wide)
    on.set_ylim(min(y) - 0.08 * high, max(y) + 0.12 * high)


def sweeps(document: Document) -> str:
    """Accuracy and the share of each exit against each threshold, the others as chosen."""
    tried = document["study"]["sweeps"]
    with matplotlib.rc_context(STYLE):
        figure, every = panels(2 * len(tried), height=5.6, columns=len(tried))
        above, below = every[: len(tried)], every[len(tried) :]
        for upper, lower, exit in zip(above, below, tried, strict=True):
            for split in _splits(document):
                _sweep(upper, lower, exit, tried[exit], split)
            for on in (upper, lower):
                on.axvline(document["after"]["thresholds"][exit], color=COLOURS["other"], linewidth=1, label="chosen")
                on.set_xlim(0, 1)
            name(upper, f"The {exit} exit's threshold", "", "overall accuracy, %")
            name(lower, "", f"threshold of the {exit} exit", "events answered, %")
            lower.set_ylim(-2, 102)
        named = _legend(above[0]) | _legend(below[0])
        figure.legend([*named.values()], [*named], loc="outside lower center", ncols=len(named))
        return svg(figure, "accuracy and exit shares against thresholds")


def _sweep(upper: Axes, lower: Axes, exit: str, tried: list[Document], split: str) -> None:
    """Accuracy above and exit shares below, on one split."""
    x, style = [each["thresholds"][exit] for each in tried], _SPLITS[split]
    upper.plot(x, [100 * each[split]["accuracy"] for each in tried], style, color=INK, linewidth=1.4, label=split)
    for answering in tried[0][split]["exit_share"]:
        share = [100 * each[split]["exit_share"][answering] for each in tried]
        label = f"at {answering}" if split == "validation" else None
        lower.plot(x, share, style, color=COLOURS[answering], linewidth=1.6, label=label)


def reliability(document: Document) -> str:
    """How often each exit's label is right against how probable the exit says it is, on the last split there is."""
    by_split, splits = document["study"]["reliability"], _splits(document)
    split = splits[-1]
    with matplotlib.rc_context(STYLE):
        figure, every = panels(len(by_split[split]), height=2.9, columns=len(by_split[split]))
        for on, (exit, figures) in zip(every, by_split[split].items(), strict=True):
            bins = figures["bins"]
            there = [place for place, share in enumerate(bins["share"]) if share > 0]
            x, y, share = ([100 * bins[key][place] for place in there] for key in ("confidence", "right", "share"))
            on.plot([0, 100], [0, 100], ":", color=INK, alpha=0.6, linewidth=1)
            on.plot(x, y, "-", color=COLOURS[exit], linewidth=1)
            size = [12 + 2.2 * s for s in share]
            on.scatter(x, y, s=size, color=COLOURS[exit], alpha=0.75, linewidth=0, clip_on=False)
            eces = "\n".join(f"ECE {100 * by_split[s][exit]['ece']:.1f}, {s}" for s in splits)
            name(on, f"{exit}\n{eces}", "said: probability, %", f"was: right on {split}, %" if on is every[0] else "")
            on.set_title(on.get_title(loc="left"), loc="left", fontsize=9)
            on.set(xlim=(0, 100), ylim=(0, 100), aspect="equal")
        return svg(figure, "reliability of each exit")


def _legend(on: Axes) -> dict[str, Any]:
    """What is drawn, by its name."""
    handles, labels = on.get_legend_handles_labels()
    return dict(zip(map(str, labels), handles, strict=True))


def _place(entry: tuple[str, Any]) -> tuple[bool, bool]:
    """In the legend, lines come first, then the chosen point."""
    return not entry[0].startswith("frontier"), entry[0] != "chosen"


def _splits(document: Document) -> list[str]:
    return [split for split in _SPLITS if split in document["after"]]


def _at(document: Document, figures: Document) -> tuple[float, float]:
    """Mean cost, in the unit that is drawn, and accuracy in percent."""
    cost = figures["cost"]["mean"] if isinstance(figures["cost"], Mapping) else figures["cost"]
    return (1000 * cost if document["cost"]["unit"] == "seconds" else cost), 100 * figures["accuracy"]
