"""The report of `ddnn tune --out`: `tune.json`, everything there is to know, and `tune.html`, the same to look at.

The page is one file that asks the network for nothing. It is made of the document alone.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

from ddnn.seal import write_atomically
from ddnn.tuning.page_tables import alternatives, criteria, guarantee, promise, result, sizes
from ddnn.tuning.page_words import escaped, paragraph, percent

__all__ = ["HTML_FILE", "JSON_FILE", "page", "report", "write_report"]

JSON_FILE: Final = "tune.json"
HTML_FILE: Final = "tune.html"
_NO_PLOTS: Final = "There are no plots: they need matplotlib, which comes with pip install 'ddnn[lab]'."

Document = Mapping[str, Any]

_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1d2126; --paper: #ffffff; --faint: #5b6570; --rule: #d5dae0; --mark: #f3f5f7 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e8ec; --paper: #15181c; --faint: #9aa5b1; --rule: #343b43; --mark: #1f242a } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.6rem; margin-bottom: 0 } h2 { font-size: 1.2rem; margin-top: 2.5rem }
p { max-width: 46rem } .faint, caption { color: var(--faint) } caption { text-align: left; padding-bottom: .4rem }
.wide { overflow-x: auto } svg { max-width: 100%; height: auto; color: var(--ink) }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
th, td { text-align: right; padding: .25rem .8rem; border-bottom: 1px solid var(--rule) }
th:first-child, td:first-child { text-align: left; padding-left: 0 } thead th { border-bottom: 2px solid var(--rule) }
tr.part td { font-weight: 600; padding-top: 1rem } tr.marked td { background: var(--mark); font-weight: 600 }
"""


def report(document: Document) -> dict[str, str]:
    """Both files, by name."""
    return {JSON_FILE: json.dumps(document, indent=1, allow_nan=False) + "\n", HTML_FILE: page(document)}


def write_report(folder: Path, files: Mapping[str, str]) -> None:
    """Write the files of `report` into `folder`, which is there; raise `OSError` where that cannot be."""
    for name, content in files.items():
        write_atomically(folder / name, partial(Path.write_text, data=content, encoding="utf-8"))


def page(document: Document) -> str:
    """The page; `document` is what `ddnn tune --json` prints, with `study`, `bundle`, `data` and `asked`."""
    name, fingerprint = document["bundle"]["name"], document["bundle"]["fingerprint"]
    body = [
        f"<h1>Thresholds of {escaped(name)}</h1>",
        f'<p class="faint">{escaped(sizes(document))}</p>',
        paragraph(document["asked"]),
        *result(document),
        *_plots(document),
        *alternatives(document),
        *guarantee(document),
        *promise(document),
        *criteria(document),
        f'<p class="faint">All figures are in {JSON_FILE}. Bundle {escaped(fingerprint[:12])}.</p>',
    ]
    return "\n".join(
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>Thresholds of {escaped(name)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>",
            *body,
            "</body>\n</html>\n",
        )
    )


def _plots(document: Document) -> list[str]:
    try:
        from ddnn.tuning import page_plots
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "matplotlib":
            raise
        return [paragraph(_NO_PLOTS)]
    drawn = (
        (
            "What accuracy costs",
            page_plots.frontier(document),
            f"{_searched(document)} Found on validation; the same thresholds on test. An exit alone answers all.",
        ),
        (
            "Each threshold",
            page_plots.sweeps(document),
            "The others stay as chosen. Solid: validation; dashed: test. A threshold of 0 is off, at 1 the exit answers"
            " whatever comes to it.",
        ),
        (
            "Does an exit know how sure it is?",
            page_plots.reliability(document),
            "On the diagonal, probabilities mean what they say. A larger dot stands for more answers; ECE is the mean"
            " distance from the diagonal, in points. A device's answers count against what it sees itself.",
        ),
    )
    return [f'<h2>{title}</h2>\n<div class="wide">{svg}</div>\n{paragraph(said)}' for title, svg, said in drawn]


def _searched(document: Document) -> str:
    """What the frontier is worth."""
    search = document["study"]["search"]
    if search["exact"]:
        return f"No others of the {search['combinations']:,} combinations of thresholds are better."
    told = f"The best found among {search['combinations']:,} combinations of thresholds"
    loss = search["largest_loss"]["wrong_answers"]
    if loss is None:
        return f"{told}; others may be better."
    events = document["after"]["validation"]["events"]
    return f"{told}; at equal cost others are better by at most {percent(loss / events, 3)} of accuracy."
