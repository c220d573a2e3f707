"""Tables of the network with one thing changed."""

from collections.abc import Iterator, Mapping
from typing import Any

from ddnn_lab.studies.markdown import number, percent, points, table

__all__ = ["ablations", "filters", "pairs"]

Document = Mapping[str, Any]


def filters(results: Document) -> Iterator[str]:
    """Features against bytes, the paper's figure 9."""
    found = _made(results, "filters")
    if not found:
        return
    exits = list(next(iter(found.values()))["exits"]["always"])
    rows = []
    for count, told in found.items():
        each, sent = told["exits"], told["exits"]["bytes"]
        rows.append(
            (
                count,
                "×".join(str(int(side["mean"])) for side in sent["cut"]),
                *(percent(each["always"][exit]["accuracy"]) for exit in exits),
                percent(each["overall"]["accuracy"]),
                percent(each["overall"]["exit_share"]["local"]),
                number(sent["per_device"]),
                number(sent["formula_per_device"]),
            )
        )
    yield "## Filters sent up\n"
    names = (*(f"{exit}, %" for exit in exits), "overall, %", "local exit answers, %")
    yield table(("filters", "features", *names, "bytes a device", "paper's formula"), rows)


def pairs(results: Document) -> Iterator[str]:
    """The nine aggregation pairs."""
    found = _made(results, "pairs")
    if not found:
        return
    rows = []
    for name, told in found.items():
        always = told["exits"]["always"]
        overall = told["exits"]["overall"]["accuracy"]
        rows.append((name, *(percent(always[exit]["accuracy"]) for exit in ("local", "cloud")), percent(overall)))
    yield "## Aggregation: local–cloud\n"
    yield table(("pair", "local, %", "cloud, %", "overall, %"), rows)
    yield "MP is the maximum, AP the mean, CC concatenation; no edge section.\n"


def ablations(results: Document) -> Iterator[str]:
    """Each change of the recipe against the recipe itself."""
    found = _made(results, "ablations")
    if not found:
        return
    names = list(next(iter(found.values()))["difference"])
    yield "## Ablations\n"
    yield "Changed minus the study's own recipe, paired by seed and fold, in points.\n"
    rows = [
        (label, str(told["runs"]), *(points(told["difference"][name]) for name in names))
        for label, told in found.items()
    ]
    yield table(("change", "runs", *names), rows)


def _made(results: Document, part: str) -> dict[str, Any]:
    """What is made of a part, in its order."""
    return {name: told for name, told in (results["parts"].get(part) or {}).items() if told}
