"""`ddnn tune`: choose the thresholds of a bundle's policy on the validation split."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddnn.cli.evaluate import BundleFolder, Data, Grid, GroupBy, Seed, TestGroups
from ddnn.cli.target import Json

if TYPE_CHECKING:
    from ddnn.bundle import Bundle

__all__ = ["tune"]

MaxDrop = Annotated[
    float, typer.Option(metavar="SHARE", help="How far the overall accuracy may lie below the cloud exit's.")
]
Write = Annotated[bool, typer.Option("--write", help="Write the policy into the bundle, one version on.")]
Criterion = Annotated[
    str | None, typer.Option(help="`entropy`, `max_probability` or `margin`; by default the policy's own.")
]


def tune(
    bundle: BundleFolder,
    data: Data,
    grid: Grid = None,
    group_by: GroupBy = None,
    test_groups: TestGroups = None,
    seed: Seed = None,
    max_accuracy_drop: MaxDrop = 0.005,
    criterion: Criterion = None,
    write: Write = False,
    as_json: Json = False,
) -> None:
    """Fit thresholds and temperatures on validation so that the fewest events go up, and report them on test too.

    Exit code 3, and nothing written, when no thresholds reach the accuracy.

    Example: `ddnn tune BUNDLE mnist5k --grid 3x2 --max-accuracy-drop 0.005 --write`
    """
    from rich.console import Console

    from ddnn.evaluation import record
    from ddnn.evaluation.bars import bars
    from ddnn.evaluation.source import load_for, split_note
    from ddnn.tuning import change, show
    from ddnn.tuning import tune as tuned

    opened = _open(bundle)
    groups = test_groups.split(",") if test_groups else None
    events = load_for(opened, data, grid=grid, group_by=group_by, test_groups=groups, seed=seed)
    if note := split_note(opened, events):
        typer.echo(f"note: {note}", err=True)
    with bars() as progress:
        scores = {split: record(opened, events.subset(split), progress=progress) for split in ("validation", "test")}
    policy = tuned(scores["validation"], opened.policy, max_accuracy_drop=max_accuracy_drop, criterion=criterion)
    document: dict[str, Any] = {**change(opened.policy, policy, scores), "written": write}
    if write:
        policy.write(bundle)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        show(document, Console(highlight=False))


def _open(path: Path) -> "Bundle":
    """Open a bundle, with a fresh policy where the one it has is none of its own: tuning makes the next."""
    from ddnn.bundle import MANIFEST_FILE, Bundle, Manifest
    from ddnn.errors import BadBundle
    from ddnn.policy import POLICY_FILE, Policy
    from ddnn.seal import read_sealed

    try:
        return Bundle.open(path)
    except BadBundle as error:
        if not str(error).startswith(POLICY_FILE):
            raise
        typer.echo(f"note: starting from a fresh policy, because {error}", err=True)
        manifest = Manifest.model_validate(read_sealed(path / MANIFEST_FILE, seal="fingerprint"))
        return Bundle(path, manifest, Policy(bundle=manifest.fingerprint))
