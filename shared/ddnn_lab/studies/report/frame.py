"""What stands around the tables: what was done to which data, and how long it took."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ddnn_lab.studies.markdown import clock, table

__all__ = ["head", "times"]

MOST: Final = 12
"""Missing runs that are named."""

Document = Mapping[str, Any]


def head(results: Document) -> Iterator[str]:
    """Title, command, data, split, seeds."""
    yield f"# {results['study']['name']}\n\n```\n{results['command']}\n```\n"
    yield "\n".join(f"- {note}" for note in _notes(results)) + "\n"


def _notes(results: Document) -> Iterator[str]:
    study, data = results["study"], results["data"]
    yield f"Data: {data['described']}; fingerprint `{data['fingerprint'][:12]}`."
    if len(data["folds"]) > 1:
        told = "; ".join(", ".join(fold) for fold in data["folds"])
        each = "each seed trains on every fold" if data["every_fold"] else "each seed has a fold of its own"
        yield f"That is the first of {len(data['folds'])} folds. {data['group_by']} in test: {told}; {each}."
    yield f"Seeds {', '.join(map(str, study['seeds']))}; {len(results['runs'])} runs made."
    yield (
        "Numbers in parentheses are 95 % intervals: Student's t over seeds, or Wilson's over the test events where"
        " there is one run. Thresholds and temperatures come from validation; each run looked at test once."
    )
    yield from (f"Warning: {doubt}" for doubt in data["doubts"])
    notes = Counter(note for run in results["runs"] for note in run.get("notes", ()))
    yield from (f"Warning, of {count} runs: {note}." for note, count in notes.items())
    if missing := results["missing"]:
        few = "; ".join(missing[:MOST]) + (" …" if len(missing) > MOST else "")
        yield f"**Not made yet**, {len(missing)} runs: {few}."
    yield from (f"**Failed**: {name}: {sentence}" for name, sentence in results["failed"].items())


def times(results: Document) -> Iterator[str]:
    """What the trainings cost."""
    groups: dict[str, list[Document]] = {}
    for run in results["runs"]:
        if "training_seconds" in run:
            groups.setdefault(run["label"], []).append(run)
    if not groups:
        return
    yield "## Time\n"
    rows = []
    for label, runs in groups.items():
        seconds = [run["training_seconds"] for run in runs]
        speed = sum(run["samples_per_second"] for run in runs) / len(runs)
        epochs = ", ".join(map(str, sorted({run["epochs"] for run in runs})))
        rows.append((label, str(len(runs)), epochs, clock(sum(seconds) / len(seconds)), f"{speed:,.0f}"))
    yield table(("network", "runs", "epochs", "training, each", "training events a second"), rows)
    total = sum(run.get("training_seconds", 0) + run.get("export_seconds", 0) for run in results["runs"])
    versions: Document = next((run["versions"] for run in results["runs"] if run.get("versions")), {})
    told = ", ".join(f"{name} {version}" for name, version in versions.items())
    yield f"All training and export together: {clock(total)} of one process. {told}.\n"
