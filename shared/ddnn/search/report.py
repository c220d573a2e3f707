"""What a search leaves in its folder: `front.json`, everything there is to know; `front.svg` and `front.html` of it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ddnn.formatting import size
from ddnn.pages import render
from ddnn.seal import write_atomically

__all__ = ["FRONT_FILE", "sentences", "write_report"]

FRONT_FILE: Final = "front.json"
PLOT_FILE: Final = "front.svg"
PAGE_FILE: Final = "front.html"


def write_report(folder: Path, document: Mapping[str, Any]) -> Path:
    """Write the three files; the page is the one that is returned. It asks the network for nothing."""
    from markupsafe import Markup

    from ddnn.search.plot import front

    write_atomically(folder / FRONT_FILE, json.dumps(document, indent=1) + "\n")
    drawn = front(document)
    write_atomically(folder / PLOT_FILE, drawn + "\n")
    told = {
        "trained": [each for each in document["trials"] if each["refused"] is None],
        "sentences": sentences(document),
    }
    keys = list(dict.fromkeys(key for each in document["trials"] for key in each["genes"]))
    plot = Markup(drawn)  # nosec B704: SVG by matplotlib, which escapes its text
    text = render("search.html", {"plot": plot, "keys": keys, **told, **document}, size=lambda count: size(int(count)))
    write_atomically(folder / PAGE_FILE, text)
    return folder / PAGE_FILE


def sentences(document: Mapping[str, Any]) -> list[str]:
    """Whether anything that was found is better than where the search started, and what came of the chosen network."""
    trials = {trial["number"]: trial for trial in document["trials"]}
    start, front = trials[0], document["front"]
    told, better = list[str](), document["better"]
    if start["refused"] is not None:
        told.append(f"Where the search started is not to be had: {start['refused']}.")
    elif better:
        names = " and ".join([", ".join(map(str, better[:-1])), str(better[-1])] if better[1:] else [str(better[0])])
        what = f"numbers {names} are" if better[1:] else f"number {names} is"
        told.append(f"On validation, after short trainings, {what} no worse than the start in both, and better in one.")
    elif 0 in front:
        told.append("On validation, no network that was tried is better than the start in both, which is on the front.")
    else:
        told.append("On validation, no network that was tried is better than the start in both.")
    if (made := document.get("made")) and (beside := document.get("beside")):
        told.append(_against(made, beside))
    return told


def _against(made: Mapping[str, Any], beside: Mapping[str, Any]) -> str:
    """On test events, the network that was trained in full against another bundle."""
    less, right = made["bytes"] <= beside["bytes"], made["error"] <= beside["error"]
    same = made["bytes"] == beside["bytes"] and made["error"] == beside["error"]
    verdict = "dominates" if less and right and not same else "does not dominate"
    return (
        f"On test, number {made['number']}, trained in full, {verdict} {beside['name']}: "
        f"{100 * made['error']:.2f} % wrong and {made['bytes']:.1f} bytes an event, "
        f"against {100 * beside['error']:.2f} % and {beside['bytes']:.1f}."
    )
