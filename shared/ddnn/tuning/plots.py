"""The plots of a tuning report, as SVG that takes its ink from the page around it; made of the document alone."""

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any, Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ddnn.plot_style import COLOURS, name, panels

__all__ = ["frontier", "reliability", "sweeps"]

Document = Mapping[str, Any]
_INK: Final = "#010203"
"""Stands for the page's own colour of text until the SVG is text."""
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "ddnn",
    "font.family": "sans-serif",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _INK),
    "grid.color": _INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
_SPLITS: Final = {"validation": "-", "test": "--"}
_MARKERS: Final = {"device": "o", "local": "^", "edge": "s", "cloud": "D"}
_NEAR: Final = 0.01
"""How far from the chosen point's accuracy the second frontier panel reaches."""


def frontier(document: Document) -> str:
    """Accuracy against cost: all points worth having, and again what is near the chosen one."""
    told, splits = document["study"], _splits(document)
    with matplotlib.rc_context(_STYLE):
        figure, (whole, near) = panels(2, height=4.2, columns=2)
        for on in (whole, near):
            for split in splits:
                points = [point[split] for point in told["frontier"]]
                x, y = _cost(document, [p["cost"] for p in points]), [100 * p["accuracy"] for p in points]
                style, width = _SPLITS[split], 1.8 if split == "validation" else 1.2
                on.plot(x, y, style, color=COLOURS["another"], linewidth=width, label=f"frontier, {split}")
                for exit, alone in told["alone"].items():
                    at = (_cost(document, [alone[split]["cost"]]), [100 * alone[split]["accuracy"]])
                    hollow = "none" if split == "test" else COLOURS[exit]
                    label = f"{exit} alone" if split == "validation" else None
                    on.plot(*at, _MARKERS[exit], color=COLOURS[exit], markerfacecolor=hollow, markersize=8, label=label)
                chosen = document["after"][split]
                at = (_cost(document, [chosen["cost"]["mean"]]), [100 * chosen["accuracy"]])
                hollow = "none" if split == "test" else COLOURS["other"]
                label = "chosen" if split == "validation" else None
                on.plot(*at, "*", color=COLOURS["other"], markerfacecolor=hollow, markersize=15, label=label, zorder=5)
        what = f"cost of an event, {_unit(document)}"
        name(whole, "All points worth having", what, "overall accuracy, %")
        name(near, "Near the chosen point", what, "")
        _look_near(near, document)
        handles, labels = zip(*sorted(zip(*_legend(whole), strict=True), key=_place), strict=True)
        figure.legend(handles, labels, loc="outside lower center", ncols=4, title="filled: validation, hollow: test")
        return _svg(figure, "accuracy against cost")


def sweeps(document: Document) -> str:
    """Accuracy and the share of each exit against each threshold, the others as chosen."""
    told, splits = document["study"]["sweeps"], _splits(document)
    with matplotlib.rc_context(_STYLE):
        figure, every = panels(2 * len(told), height=5.6, columns=len(told))
        above, below = every[: len(told)], every[len(told) :]
        for upper, lower, (exit, tried) in zip(above, below, told.items(), strict=True):
            x = [each["thresholds"][exit] for each in tried]
            for split in splits:
                y = [100 * each[split]["accuracy"] for each in tried]
                upper.plot(x, y, _SPLITS[split], color=_INK, linewidth=1.4, label=split)
                for answering in tried[0][split]["exit_share"]:
                    share = [100 * each[split]["exit_share"][answering] for each in tried]
                    label = f"at {answering}" if split == "validation" else None
                    lower.plot(x, share, _SPLITS[split], color=COLOURS[answering], linewidth=1.6, label=label)
            for on in (upper, lower):
                on.axvline(document["after"]["thresholds"][exit], color=COLOURS["other"], linewidth=1, label="chosen")
                on.set_xlim(0, 1)
            name(upper, f"The {exit} exit's threshold", "", "overall accuracy, %")
            name(lower, "", f"threshold of the {exit} exit", "events answered, %")
            lower.set_ylim(-2, 102)
        named = {label: line for on in (above[0], below[0]) for line, label in zip(*_legend(on), strict=True)}
        figure.legend([*named.values()], [*named], loc="outside lower center", ncols=len(named))
        return _svg(figure, "accuracy and exit shares against thresholds")


def reliability(document: Document) -> str:
    """How often each exit's label is right against how probable the exit says it is, on the last split there is."""
    told, splits = document["study"]["reliability"], _splits(document)
    split = splits[-1]
    with matplotlib.rc_context(_STYLE):
        figure, every = panels(len(told[split]), height=2.9, columns=len(told[split]))
        for on, (exit, each) in zip(every, told[split].items(), strict=True):
            bins = each["bins"]
            there = [place for place, share in enumerate(bins["share"]) if share > 0]
            x, y, share = ([100 * bins[key][place] for place in there] for key in ("confidence", "right", "share"))
            on.plot([0, 100], [0, 100], ":", color=_INK, alpha=0.6, linewidth=1)
            on.plot(x, y, "-", color=COLOURS[exit], linewidth=1)
            size = [12 + 2.2 * s for s in share]
            on.scatter(x, y, s=size, color=COLOURS[exit], alpha=0.75, linewidth=0, clip_on=False)
            eces = "\n".join(f"ECE {100 * told[s][exit]['ece']:.1f}, {s}" for s in splits)
            name(on, f"{exit}\n{eces}", "said: probability, %", f"was: right on {split}, %" if on is every[0] else "")
            on.set_title(on.get_title(loc="left"), loc="left", fontsize=9)
            on.set_xlim(0, 100)
            on.set_ylim(0, 100)
            on.set_aspect("equal")
        return _svg(figure, "reliability of each exit")


def _legend(on: Axes) -> tuple[list[Any], list[str]]:
    handles, labels = on.get_legend_handles_labels()
    return handles, [str(label) for label in labels]


def _place(entry: tuple[Any, str]) -> tuple[bool, bool]:
    """In the legend, lines come first, then the chosen point."""
    return not entry[1].startswith("frontier"), entry[1] != "chosen"


def _look_near(on: Axes, document: Document) -> None:
    """Show the frontier's points that are about as right as the chosen one, on every split."""
    splits, after = _splits(document), document["after"]
    around = [
        point
        for point in document["study"]["frontier"]
        if abs(point["validation"]["accuracy"] - after["validation"]["accuracy"]) <= _NEAR
    ]
    x = _cost(document, [point[split]["cost"] for point in around for split in splits])
    x += _cost(document, [after[split]["cost"]["mean"] for split in splits])
    y = [100 * point[split]["accuracy"] for point in around for split in splits]
    y += [100 * after[split]["accuracy"] for split in splits]
    wide, high = max(max(x) - min(x), 0.02 * max(x), 1e-9), max(max(y) - min(y), 0.2)
    on.set_xlim(min(x) - 0.08 * wide, max(x) + 0.08 * wide)
    on.set_ylim(min(y) - 0.08 * high, max(y) + 0.12 * high)


def _splits(document: Document) -> list[str]:
    return [split for split in _SPLITS if split in document["after"]]


def _cost(document: Document, values: Sequence[float]) -> list[float]:
    """In the unit that is drawn."""
    return [1000 * value if document["cost"]["unit"] == "seconds" else value for value in values]


def _unit(document: Document) -> str:
    cost = document["cost"]
    if cost["unit"] == "seconds":
        return "ms until its answer"
    return f"{cost['kind']} bytes" + ("" if cost["over"] == "all" else f" {cost['over']}")


def _svg(figure: Figure, label: str) -> str:
    """The same document gives the same text: no date, no chance in names; ids that several plots share are left out."""
    text = StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    width, height = figure.get_size_inches() * 72
    svg = re.sub(
        r'(<svg [^>]*?)width="[^"]+" height="[^"]+"', rf'\1width="{width:g}" height="{height:g}"', svg, count=1
    )
    return svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1).strip()
