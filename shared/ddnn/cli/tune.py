"""`ddnn tune`: choose the thresholds of a bundle's policy on the validation split."""

import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ddnn.cli.evaluate import BundleFolder, Grid, GroupBy, Seed, TestGroups
from ddnn.cli.options import Json

if TYPE_CHECKING:
    from ddnn.bundle import Bundle
    from ddnn.evaluation import Recorder, Scores
    from ddnn.tuning import CostModel

__all__ = ["tune"]

Data = Annotated[
    str,
    typer.Argument(metavar="DATA", help="`mnist5k`, `synthetic`, a `.npz` file, or scores by `ddnn record`."),
]
MaxDrop = Annotated[
    float | None,
    typer.Option(
        metavar="SHARE",
        help="How far the overall accuracy may lie below the cloud exit's; 0.005 by default, no limit with --max-cost.",
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(metavar="X", help="The best accuracy at a mean cost of an event of at most X: bytes, or ms."),
]
MaxShare = Annotated[
    list[str] | None, typer.Option(metavar="EXIT=SHARE", help="The most that an exit may answer; once for each exit.")
]
Cost = Annotated[str, typer.Option(help="What is to be small: `payload` or `body` bytes, or `latency`.")]
Over = Annotated[str, typer.Option(help="Whose bytes count: `all`, or those of `device-edge` or `edge-cloud` alone.")]
LinkOption = Annotated[
    list[str] | None,
    typer.Option(
        "--link", metavar="NAME=RTT,RATE", help="A link's round trip and rate, for latency: `edge-cloud=40ms,10mbit`."
    ),
]
SharedLink = Annotated[bool, typer.Option("--shared-link", help="The devices of an edge share one link to it.")]
ProfileFile = Annotated[
    Path | None, typer.Option("--profile", metavar="FILE", help="Times of the sections, by `ddnn profile`.")
]
Offload = Annotated[str | None, typer.Option(help="`staged` or `eager`; by default as the policy has it.")]
Criterion = Annotated[
    str | None,
    typer.Option(
        help="`entropy`, `max_probability`, `margin`, `agreement`, your own as `package.module:function`, or `auto`:"
        " entropy unless another is clearly better. By default the policy's own."
    ),
]
Live = Annotated[
    bool, typer.Option("--live", help="Thresholds and temperatures for each number of live devices too; needs data.")
]
Risk = Annotated[
    float | None,
    typer.Option(metavar="SHARE", help="Promise that at most this share of events is lost by not asking the cloud."),
]
Confidence = Annotated[float | None, typer.Option(help="How sure a promise by --risk is; 0.95 by default.")]
Unlabelled = Annotated[
    bool, typer.Option("--unlabelled", help="With --risk: lost is what the cloud would answer otherwise; no labels.")
]
Out = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Write a report there: `tune.json`, and `tune.html`, a page with plots."),
]
Write = Annotated[bool, typer.Option("--write", help="Write the policy into the bundle, one version on.")]


def tune(
    bundle: BundleFolder,
    data: Data,
    grid: Grid = None,
    group_by: GroupBy = None,
    test_groups: TestGroups = None,
    seed: Seed = None,
    max_accuracy_drop: MaxDrop = None,
    max_cost: MaxCost = None,
    max_share: MaxShare = None,
    cost: Cost = "payload",
    over: Over = "all",
    link: LinkOption = None,
    shared_link: SharedLink = False,
    profile: ProfileFile = None,
    offload: Offload = None,
    criterion: Criterion = None,
    live: Live = False,
    risk: Risk = None,
    confidence: Confidence = None,
    unlabelled: Unlabelled = False,
    out: Out = None,
    write: Write = False,
    as_json: Json = False,
) -> None:
    """Fit thresholds and temperatures on validation to an objective, and report them on test too.

    By default the fewest bytes with an accuracy at most half a point below the cloud's. Exit code 3, the nearest
    points, and nothing written, when no thresholds keep to what is asked.

    Example: `ddnn tune BUNDLE mnist5k --grid 3x2 --max-accuracy-drop 0.005 --write`
    """
    from rich.console import Console

    from ddnn.errors import BadInput, Infeasible
    from ddnn.evaluation.source import seen
    from ddnn.tuning import Objective, Risk, Sample, tune_policy
    from ddnn.tuning.comparison import comparison
    from ddnn.tuning.objective import DROP, parse_shares
    from ddnn.tuning.report import HTML_FILE, report, show, write_report

    limited = max_accuracy_drop is not None or max_cost is not None or max_share
    if risk is not None and (limited or live):
        raise BadInput("--risk is an objective by itself; expected none of the --max options and no --live beside it")
    if unlabelled and risk is None:
        raise BadInput("--unlabelled says what a loss is; expected --risk beside it")
    if confidence is not None and risk is None:
        raise BadInput("--confidence says how sure a promise is; expected --risk beside it")
    if out is not None and out.exists() and not out.is_dir():
        raise BadInput(f"--out is {out}, which is a file; expected a folder")
    if offload not in (None, "staged", "eager"):
        raise BadInput(f"offload is {offload!r}; expected staged or eager")
    opened = _open(bundle)
    model = _cost_model(opened, cost, over, link or [], shared_link, profile)
    budget = max_cost / 1000 if max_cost is not None and model.unit == "seconds" else max_cost
    drop = DROP if max_accuracy_drop is None and max_cost is None else max_accuracy_drop
    aim: Objective | Risk = Objective(drop, budget, parse_shares(max_share or []))
    if risk is not None:
        aim = Risk(risk, 0.95 if confidence is None else confidence, labelled=not unlabelled)
    groups = test_groups.split(",") if test_groups else None
    scores, recorder = _scores(opened, data, grid=grid, group_by=group_by, test_groups=groups, seed=seed)
    if live and recorder is None:
        raise BadInput("--live judges events with devices left out, which recorded scores do not have; expected data")
    samples = {split: Sample(each, model) for split, each in scores.items()}
    try:
        tuned = tune_policy(
            samples,
            opened.policy,
            aim,
            offload=offload,  # type: ignore[arg-type]  # checked above
            criterion=criterion,
            live=recorder if live else None,
            seen=seen(opened, scores["validation"]),
            seed=seed or 0,
        )
    except Infeasible as error:
        if as_json:
            typer.echo(json.dumps({"infeasible": str(error), "nearest": error.nearest}, indent=1))
        raise
    document: dict[str, Any] = {**tuned.document, "written": write}
    if out is not None:
        source = scores["validation"].source
        document |= {
            "bundle": {"name": opened.manifest.name, "fingerprint": opened.fingerprint},
            "data": {"name": source["data"], "fingerprint": source["fingerprint"]},
            "asked": tuned.sentence,
            "study": comparison(samples, tuned.policy, tuned.points),
        }
        files = report(document)
        out.mkdir(parents=True, exist_ok=True)
    if write:  # when nothing is left that could be refused
        tuned.policy.write(bundle)
    if out is not None:
        write_report(out, files)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
    else:
        show(document, Console(highlight=False), tuned.sentence)
        if out is not None:
            typer.echo(f"The report is {out / HTML_FILE}.")


def _cost_model(
    bundle: "Bundle", kind: str, over: str, links: list[str], shared: bool, profile: Path | None
) -> "CostModel":
    """What is counted, by the options."""
    from ddnn.errors import BadInput
    from ddnn.tuning import CostModel
    from ddnn.tuning.cost import Links
    from ddnn.tuning.profile import Profile

    if kind != "latency" and (links or shared or profile):
        raise BadInput(f"--link, --shared-link and --profile are about latency; expected --cost latency, not {kind}")
    times = None if profile is None else Profile.read(profile, bundle)
    return CostModel(kind, over, Links.parse(links, shared=shared), times)  # type: ignore[arg-type]  # it checks them


def _scores(bundle: "Bundle", data: str, **how: Any) -> "tuple[dict[str, Scores], Recorder | None]":
    """The scores of validation, and of test where there are, and what recorded validation, unless a file has them."""
    from ddnn.cli.progress import bars
    from ddnn.errors import BadInput
    from ddnn.evaluation import Recorder
    from ddnn.evaluation.recorded import Recorded
    from ddnn.evaluation.source import load_for, split_note

    if _has_scores(Path(data)):
        for option in ("grid", "group_by", "test_groups"):
            if how[option] is not None:
                raise BadInput(f"--{option.replace('_', '-')} divides data; the scores in {data} are divided")
        kept = Recorded.load(Path(data), bundle)
        return {"validation": kept.split("validation"), **{n: s for n, s in kept.splits.items() if n == "test"}}, None
    events = load_for(bundle, data, **how)
    if note := split_note(bundle, events):
        typer.echo(f"note: {note}", err=True)
    with bars() as progress:
        recorders = {
            split: Recorder(bundle, events.subset(split), progress=progress) for split in ("validation", "test")
        }
        return {split: recorder.scores() for split, recorder in recorders.items()}, recorders["validation"]


def _has_scores(path: Path) -> bool:
    """Whether this is a file that `ddnn record` made: it says of itself what it is about."""
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return False
    with zipfile.ZipFile(path) as archive:
        return "about.npy" in archive.namelist()


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
