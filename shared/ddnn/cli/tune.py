"""`ddnn tune`: choose the thresholds of a bundle's policy on the validation split."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ddnn.cli import options
from ddnn.cli.options import bars, load_events, note, print_json, screen
from ddnn.errors import BadInput, Infeasible

if TYPE_CHECKING:
    from ddnn.bundle import Bundle
    from ddnn.evaluation.recorded import Recorded
    from ddnn.tuning import CostModel, Objective

__all__ = ["tune"]

Data = Annotated[str, Argument(metavar="DATA", help="`mnist5k`, `synthetic`, a `.npz`, or scores by `ddnn record`.")]
MaxDrop = Annotated[
    float | None,
    Option(metavar="SHARE", help="How far accuracy may lie below the best exit's; 0.005, or no limit with --max-cost."),
]
MaxCost = Annotated[float | None, Option(metavar="X", help="The most an event may cost on average, in bytes or ms.")]
MaxShare = Annotated[list[str] | None, Option(metavar="EXIT=SHARE", help="The most an exit may answer; once for each.")]
Over = Annotated[str, Option(help="Whose bytes count: `all`, or those of `device-edge` or `edge-cloud` alone.")]
LinkOption = Annotated[
    list[str] | None,
    Option("--link", metavar="NAME=RTT,RATE", help="Round trip and rate, for latency: `edge-cloud=40ms,10mbit`."),
]
Times = Annotated[Path | None, Option("--profile", metavar="FILE", help="Times of the sections, by `ddnn profile`.")]
Criterion = Annotated[
    str | None,
    Option(
        help="`entropy`, `max_probability`, `margin`, `agreement`, your own as `package.module:function`, or `auto`:"
        " entropy unless another is clearly better. By default the policy's own."
    ),
]
Live = Annotated[bool, Option("--live", help="Thresholds, temperatures for each number of live devices; needs data.")]
Risk = Annotated[float | None, Option(metavar="SHARE", help="The most events lost by not asking the cloud, promised.")]
Unlabelled = Annotated[bool, Option("--unlabelled", help="With --risk: lost is what the cloud answers otherwise.")]
Out = Annotated[Path | None, Option(metavar="DIR", help="Write a report: `tune.json`, and `tune.html` with plots.")]


def tune(
    bundle: options.BundleFolder,
    data: Data,
    grid: options.Grid = None,
    group_by: options.GroupBy = None,
    test_groups: options.TestGroups = None,
    seed: options.Seed = None,
    max_accuracy_drop: MaxDrop = None,
    max_cost: MaxCost = None,
    max_share: MaxShare = None,
    min_recall: options.MinRecall = None,
    balanced: options.Balanced = False,
    cost: Annotated[str, Option(help="What is to be small: `payload` or `body` bytes, or `latency`.")] = "payload",
    over: Over = "all",
    link: LinkOption = None,
    shared_link: Annotated[bool, Option("--shared-link", help="The devices of an edge share one link to it.")] = False,
    profile: Times = None,
    offload: Annotated[str | None, Option(help="`staged` or `eager`; by default as the policy has it.")] = None,
    criterion: Criterion = None,
    live: Live = False,
    fleet: Annotated[
        list[str] | None,
        Option(metavar="URL", help="A running edge, asked what wait late devices need; again."),
    ] = None,
    risk: Risk = None,
    confidence: Annotated[float | None, Option(help="How sure a promise by --risk is; 0.95 by default.")] = None,
    unlabelled: Unlabelled = False,
    out: Out = None,
    write: Annotated[bool, Option("--write", help="Write the policy into the bundle, one version on.")] = False,
    as_json: options.Json = False,
) -> None:
    """Fit thresholds and temperatures on validation to an objective, and report them on test too.

    By default the fewest bytes with an accuracy at most half a point below the best exit's. Exit code 3, the nearest
    points, and nothing written, when no thresholds keep to what is asked.

    Example: `ddnn tune BUNDLE mnist5k --grid 3x2 --max-accuracy-drop 0.005 --write`
    """
    from ddnn.bundle import shipped_as
    from ddnn.pipeline import tunable, tune_bundle
    from ddnn.tuning import Risk as RiskAim
    from ddnn.tuning.recall import parse_recalls
    from ddnn.tuning.report import HTML_FILE, show

    limited = max_accuracy_drop is not None or max_cost is not None or max_share
    if risk is not None and (limited or live or balanced):
        raise BadInput(
            "--risk is an objective by itself; expected none of the --max options, --balanced and --live beside it"
        )
    if unlabelled and risk is None:
        raise BadInput("--unlabelled says what a loss is; expected --risk beside it")
    if confidence is not None and risk is None:
        raise BadInput("--confidence says how sure a promise is; expected --risk beside it")
    if write and shipped_as(bundle):
        raise BadInput(f"{bundle} comes with the package; expected a copy of that folder with --write")
    opened = tunable(bundle, note)
    model = _cost_model(opened, cost, over, link or [], shared_link, profile)
    sure = 0.95 if confidence is None else confidence
    recalls = parse_recalls(min_recall or [], opened.manifest.classes)
    promise = None if risk is None else RiskAim(risk, sure, labelled=not unlabelled, min_recall=recalls)
    aim = promise or _objective(model, max_accuracy_drop, max_cost, max_share, recalls, balanced)
    division = grid, group_by, test_groups
    events = _recorded(opened, data, *division) or load_events(opened, data, *division, seed)
    wishes: dict[str, Any] = {"offload": offload, "criterion": criterion, "live": live, "write": write, "report": out}
    wishes["wait_ms"] = _needed_wait(fleet, opened.policy.wait_ms) if fleet else None
    try:
        with bars() as progress:
            tuned = tune_bundle(opened, events, aim, cost=model, seed=seed or 0, progress=progress, **wishes)
    except Infeasible as error:
        if as_json:
            print_json({"infeasible": str(error), "nearest": error.nearest})
        raise
    if as_json:
        print_json(tuned.document)
    else:
        show(tuned.document, screen(), tuned.sentence)
        if out is not None:
            typer.echo(f"The report is {out / HTML_FILE}.")


def _needed_wait(urls: list[str], wait_ms: float) -> float:
    """The straggler timeout that keeps the devices which were late at these edges, at least the policy's own."""
    from ddnn.fleet.addresses import parse_addresses
    from ddnn.fleet.status import read_statuses

    tiers = read_statuses(parse_addresses(urls))
    for tier in tiers:
        if tier.status is None:
            raise BadInput(f"{tier.url}: {tier.problem}; expected a running edge")
    needed = max([wait_ms, *(float(tier.part("late").get("keeps_ms", 0.0)) for tier in tiers)])
    if needed > wait_ms:
        note(f"wait_ms {wait_ms:g} becomes {needed:g}, which keeps the devices that were late")
    return needed


def _objective(
    model: "CostModel",
    drop: float | None,
    budget: float | None,
    shares: list[str] | None,
    recalls: dict[int | None, float],
    balanced: bool,
) -> "Objective":
    from ddnn.tuning import Objective
    from ddnn.tuning.objective import DROP, parse_shares

    most = budget / 1000 if budget is not None and model.unit == "seconds" else budget
    drop = DROP if drop is None and budget is None else drop
    return Objective(drop, most, parse_shares(shares or []), recalls, balanced)


def _cost_model(
    bundle: "Bundle", kind: str, over: str, links: list[str], shared: bool, profile: Path | None
) -> "CostModel":
    from ddnn.tuning import CostModel
    from ddnn.tuning.cost import Links
    from ddnn.tuning.profile import Profile

    if kind != "latency" and (links or shared or profile):
        raise BadInput(f"--link, --shared-link and --profile are about latency; expected --cost latency, not {kind}")
    times = None if profile is None else Profile.read(profile, bundle)
    return CostModel(kind, over, Links.parse(links, shared=shared), times)  # type: ignore[arg-type]  # it checks them


def _recorded(
    bundle: "Bundle", data: str, grid: str | None, group_by: str | None, test_groups: str | None
) -> "Recorded | None":
    """The scores in `data`, where it is a file by `ddnn record`: it says of itself what it is about."""
    from ddnn.evaluation.recorded import Recorded
    from ddnn.evaluation.source import holds

    if not holds(Path(data), "about"):
        return None
    for option, given in (("grid", grid), ("group-by", group_by), ("test-groups", test_groups)):
        if given is not None:
            raise BadInput(f"--{option} divides data; the scores in {data} are divided")
    return Recorded.load(Path(data), bundle)
