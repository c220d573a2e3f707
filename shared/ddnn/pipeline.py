"""From data to a tuned bundle in one call: what `ddnn train`, `ddnn tune`, studies and Python users call.

Importing it loads no torch; `make_bundle` and `finish_bundle` do, and need the extra `train`.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from ddnn.bundle import MANIFEST_FILE, Bundle, Manifest
from ddnn.codec import codec_of
from ddnn.data import Dataset
from ddnn.errors import BadBundle, BadData, BadInput
from ddnn.policy import POLICY_FILE, Policy
from ddnn.seal import read_sealed
from ddnn.types import Exit

if TYPE_CHECKING:
    from ddnn.evaluation import Progress, Scores
    from ddnn.evaluation.recorded import Recorded
    from ddnn.network import DDNN
    from ddnn.recipe import Recipe
    from ddnn.training import Config, Exchange, Run, Watcher
    from ddnn.tuning import CostModel, Objective, Risk, Tuned

__all__ = ["finish_bundle", "make_bundle", "tunable", "tune_bundle"]

Say = Callable[[str], object]


def _quiet(_: str) -> None:
    """Nothing."""


class Finishing(TypedDict, total=False):
    """How a network becomes a bundle; `make_bundle` explains each."""

    objective: "Objective"
    name: str | None
    command: str
    golden_events: int
    tested: bool
    yardstick: bool
    recipe: "Recipe | None"
    workers: dict[str, Any]
    search: dict[str, Any]
    phase: Say
    say: Say


def make_bundle(
    data: Dataset,
    config: "Config | None",
    out: Path,
    *,
    seed: int = 0,
    run: "Run | None" = None,
    resume: bool = False,
    force: bool = False,
    initial: Bundle | None = None,
    freeze: Collection[str] = (),
    watcher: "Watcher | None" = None,
    exchange: "Exchange | None" = None,
    **finishing: Unpack[Finishing],
) -> Bundle:
    """Train a network on `data`, export it, prove the export, tune its policy, evaluate it, seal the bundle `out`.

    Args:
        data: Events with their split, from `ddnn.data.load`.
        config: The network and how it learns; None is `initial`'s, or the default. `ddnn.recipe.find` finds one.
        out: Folder to make; it is there only when everything has succeeded.
        seed: Makes first weights, order and random changes.
        run: Folder that every epoch is saved to, such as `Run.beside(out)`; held, so that one process works on it.
        resume: Go on with `run`.
        force: Replace a bundle that is there, and a run that is not finished.
        initial: Bundle whose weights training starts from.
        freeze: Sections that keep their weights: `device`, `local`, `edge`, `cloud`, or one of several: `device_0`.
        watcher: Is called after each step and epoch.
        exchange: What it learns together with, of which this process is the first one: `ddnn.training.distributed`.
        objective: What thresholds are chosen for on validation; by default the fewest bytes at an accuracy at most
            half a point below the best exit's. Where a recall is out of reach, `say` hears what there is.
        name: The bundle's; by default the data's.
        command: How it was made, for the manifest.
        golden_events: Test events kept with torch's answers to them, by default 256, fewer of large views.
        recipe: How the config was found: for the manifest, and its scores of the folds, which the policy is tuned on.
        workers: How several processes learnt it together, for the manifest; a training's `exchange` says it.
        search: What search the config is of, for the manifest.
        tested: Whether the manifest gets what `ddnn.evaluation.evaluate` says of the test events, as by default.
        yardstick: Whether simple classifiers are fitted, too, where it is tested: `ddnn.evaluation.yardstick`.
        phase: Is called with what begins after training.
        say: Is called with a sentence where the policy could not be tuned.

    Returns:
        The bundle, opened.

    Raises:
        DDNNError: One sentence about what of config, data, run, weights or `out` does not fit.

    Example:
        >>> from pathlib import Path
        >>> from ddnn.data import load
        >>> from ddnn.pipeline import make_bundle
        >>> from ddnn.training import Config
        >>> config = Config.of({"training": {"epochs": 1}})
        >>> bundle = make_bundle(load("synthetic"), config, Path("scene"))
        >>> bundle.manifest.training.test["overall"]["accuracy"] > 0.2
        True
        >>> wishes = {"freeze": ["device"], "yardstick": False}
        >>> again = make_bundle(load("synthetic"), None, Path("more"), initial=bundle, **wishes)
    """
    from ddnn.export import refuse_existing
    from ddnn.training import Config, train

    refuse_existing(out, force=force)
    if config is None:
        config = Config.of(initial.manifest.training.config) if initial else Config()
    with run.alone() if run else nullcontext():
        if run and run.unfinished and not (resume or force):
            raise BadInput(f"{run.path} holds a run already; add --resume to go on with it, or --force to start again")
        wishes: dict[str, Any] = {"run": run, "resume": resume, "initial": initial, "freeze": freeze}
        network = train(config, data, seed=seed, watcher=watcher, exchange=exchange, **wishes)
        if exchange:
            finishing["workers"] = exchange.document()
        return finish_bundle(network, data, out, config=config, seed=seed, force=force, initial=initial, **finishing)


def finish_bundle(
    network: "DDNN",
    data: Dataset,
    out: Path,
    *,
    config: "Config | None" = None,
    seed: int = 0,
    force: bool = False,
    initial: Bundle | None = None,
    **finishing: Unpack[Finishing],
) -> Bundle:
    """Make a bundle of a trained network, sealed once it is proved, tuned and tested; arguments as in `make_bundle`."""
    from ddnn.evaluation import evaluate
    from ddnn.export import draft_bundle, seal, staged
    from ddnn.tuning import Objective

    phase, say = finishing.get("phase", _quiet), finishing.get("say", _quiet)
    with staged(out, force=force) as folder:
        phase("exporting, proving, tuning")
        name, command, golden = finishing.get("name"), finishing.get("command", ""), finishing.get("golden_events", 256)
        document = config.model_dump(mode="json") if config else {}
        draft = draft_bundle(
            folder, network, data, name=name, command=command, config=document, seed=seed, golden_events=golden
        )
        recipe = finishing.get("recipe")
        folds = recipe.scores if recipe else None
        if initial is not None:  # what is set for a site, and not found on data
            set_there = {name: getattr(initial.policy, name) for name in ("audits", "budget", "doubts")}
            draft = replace(draft, policy=draft.policy.model_copy(update=set_there))
        draft = _tuned(draft, data, finishing.get("objective") or Objective(), say, folds)
        training = draft.manifest.training
        if initial is not None:
            training = training.model_copy(update={"data": {**training.data, "initial": initial.fingerprint}})
        if recipe:
            training = training.model_copy(update={"data": {**training.data, "recipe": recipe.document()}})
        told = {key: finishing[key] for key in ("workers", "search") if key in finishing}
        if told:
            training = training.model_copy(update={"data": {**training.data, **told}})
        if finishing.get("tested", True):
            phase("evaluating on the test split")
            figures = evaluate(draft, data.subset("test"), missing=data.devices > 1)
            if initial is not None:
                from ddnn.evaluation.gain import gained

                figures |= {"gained": gained(initial, draft, data.subset("test"))}
            if finishing.get("yardstick", True):
                phase("fitting simple classifiers")
                figures |= _yardstick(data, seed, say)
            training = training.model_copy(update={"test": {**training.test, **figures}})
        sealed = seal(folder, draft.manifest.model_copy(update={"training": training}), draft.policy)
    return Bundle(out, sealed.manifest, sealed.policy)


def _yardstick(data: Dataset, seed: int, say: Say) -> dict[str, Any]:
    """The best simple classifiers for the manifest; nothing, with a sentence, where there can be none."""
    from ddnn.evaluation.yardstick import yardstick

    try:
        return {"yardstick": yardstick(data, seed=seed)}
    except (BadData, BadInput) as error:
        say(f"no simple classifier beside it: {error}")
        return {}


def _tuned(draft: Bundle, data: Dataset, objective: "Objective", say: Say, folds: "Scores | None") -> Bundle:
    """The draft under its first policy; scores go up in the fewest bits that change nothing on validation.

    `folds`: what a recipe's exits say of events that they did not learn from, to tune on instead of validation events.
    """
    from ddnn.evaluation import Recorder
    from ddnn.evaluation.rounding import same_answers

    try:
        recorder = Recorder(draft, data.subset("validation"))
    except BadData as error:
        return replace(draft, policy=_careful(draft, folds, objective, str(error), say))
    whole = recorder.scores()
    for codec in _shorter(len(data.classes)) if Exit.DEVICE in draft.topology.exits else ():
        coded, sentences = recorder.with_scores(codec), list[str]()
        shorter = replace(draft, manifest=draft.manifest.model_copy(update={"topology": coded.topology}))
        rounded, costing = coded.scores(), folds and replace(folds, topology=coded.topology)
        policy = _first_policy(shorter, rounded, objective, sentences.append, costing)
        if same_answers(whole, rounded, policy):
            for sentence in sentences:
                say(sentence)
            return replace(shorter, policy=policy)
    return replace(draft, policy=_first_policy(draft, whole, objective, say, folds))


def _shorter(classes: int) -> list[str]:
    """Codecs of scores that take less than single precision, the shortest first."""
    sizes = {name: codec_of(name).bytes((classes,)) for name in ("float16", "sqrt8", "float32")}
    return sorted((name for name in sizes if sizes[name] < sizes["float32"]), key=sizes.__getitem__)


def _first_policy(
    draft: Bundle, validation: "Scores", objective: "Objective", say: Say, folds: "Scores | None"
) -> Policy:
    """Tuned on the folds, or else on validation; with too few events careful, with raw views the temperature alone."""
    from ddnn.tuning import Sample, choose, fit_temperatures
    from ddnn.tuning.careful import TUNED_FROM
    from ddnn.tuning.doubt import DOUBT
    from ddnn.tuning.nearest import unmet_sentences
    from ddnn.tuning.report import dropped_sentence
    from ddnn.tuning.tune import seen_on

    scores = validation if folds is None else folds
    try:
        sample, seen = (Sample(each, names=draft.manifest.classes) for each in (scores, validation))
        if Exit.LOCAL not in draft.topology.exits:
            return draft.policy.model_copy(update={"temperatures": fit_temperatures(sample.scores)})
        if len(sample) < TUNED_FROM:
            kind = "validation events" if folds is None else "events"
            why = f"there are {len(sample)} {kind} to tune on; expected at least {TUNED_FROM}"
            return _careful(draft, scores, objective, why, say)
        doubt = 0.0 if folds is None else DOUBT  # a recipe is looked for on few events
        policy = choose(sample, draft.policy, objective, closest=True, doubt=doubt).policy
    except BadData as error:
        return _careful(draft, folds, objective, str(error), say)
    tuned = policy.tuned or {}
    if tuned["dropped"]:
        say(dropped_sentence(tuned["dropped"]))
    for sentence in unmet_sentences(tuned["unmet"]):
        say(sentence)
    # Recalls are promised on the folds, which have more events of a rare class.
    renewed = folds is not None and len(seen) >= TUNED_FROM and not objective.min_recall
    return seen_on(seen, policy, objective) if renewed else policy


def _careful(draft: Bundle, scores: "Scores | None", objective: "Objective", why: str, say: Say) -> Policy:
    """Careful thresholds, as nothing could be tuned; `say` hears why."""
    from ddnn.tuning import Sample
    from ddnn.tuning.careful import careful_policy
    from ddnn.tuning.nearest import unmet, unmet_sentences

    sample = None if scores is None else Sample(scores, names=draft.manifest.classes)
    policy = careful_policy(draft.policy, draft.topology, sample)
    limits = ", ".join(f"{exit} {limit:.3g}" for exit, limit in policy.thresholds.model_dump().items() if limit)
    say(f"not tuned, careful thresholds instead ({limits}): {why}")
    for sentence in unmet_sentences(unmet(sample, policy, objective) if sample else ()):
        say(sentence)
    return policy


def tune_bundle(
    bundle: Bundle,
    data: "Dataset | Recorded",
    aim: "Objective | Risk | None" = None,
    *,
    cost: "CostModel | None" = None,
    offload: str | None = None,
    criterion: str | None = None,
    live: bool = False,
    wait_ms: float | None = None,
    seed: int = 0,
    write: bool = False,
    report: Path | None = None,
    progress: "Progress | None" = None,
) -> "Tuned":
    """Choose a bundle's next policy on the validation events, and report it on the test events too.

    Args:
        bundle: What is tuned; its policy is where tuning starts.
        data: Events with their split, or their scores as `ddnn record` kept them.
        aim: An `Objective` (by default the fewest bytes at most half a point below the best exit) or a `Risk`.
        cost: What an event costs; by default payload bytes.
        offload: `staged` or `eager`; by default the policy's own.
        criterion: One by name, or `auto` for the one that compares best; by default the policy's own.
        live: Whether each number of live devices gets thresholds of its own; needs events.
        wait_ms: How long a collector waits for late devices; by default the policy's own.
        seed: Where chance plays.
        write: Whether the policy is written into the bundle, when nothing is left that could be refused.
        report: Folder for `tune.json` and `tune.html`.
        progress: Is called with what is done, how much of it, and how much there is.

    Returns:
        The policy, and figures as `ddnn tune --json` prints them.

    Raises:
        Infeasible: Nothing keeps to `aim`; it has the nearest points.
        DDNNError: One sentence about what else does not fit.

    Example:
        >>> from ddnn.bundle import Bundle, shipped_bundle
        >>> from ddnn.data import load
        >>> from ddnn.pipeline import tune_bundle
        >>> from ddnn.tuning import Objective
        >>> bundle = Bundle.open(shipped_bundle())
        >>> tuned = tune_bundle(bundle, load("mnist5k", grid="3x2"), Objective(max_accuracy_drop=0.01))
        >>> tuned.policy.version == bundle.policy.version + 1
        True
    """
    from ddnn.evaluation import Recorder
    from ddnn.evaluation.source import seen
    from ddnn.tuning import Objective, Sample, tune_policy
    from ddnn.tuning.comparison import comparison
    from ddnn.tuning.report import report as pages
    from ddnn.tuning.report import write_report

    if offload not in (None, "staged", "eager"):
        raise BadInput(f"offload is {offload!r}; expected staged or eager")
    if report is not None and report.exists() and not report.is_dir():
        raise BadInput(f"--out is {report}, which is a file; expected a folder")
    if isinstance(data, Dataset):
        parts = {split: data.subset(split) for split in ("validation", "test")}
        recorders = {split: Recorder(bundle, part, progress=progress) for split, part in parts.items()}
        scores = {split: recorder.scores() for split, recorder in recorders.items()}
        recorder = recorders["validation"]
    elif live:
        raise BadInput("--live judges events with devices left out, which recorded scores do not have; expected data")
    else:
        scores = {"validation": data.split("validation")} | {n: s for n, s in data.splits.items() if n == "test"}
    samples = {split: Sample(each, cost, bundle.manifest.classes) for split, each in scores.items()}
    waits = {} if wait_ms is None else {"wait_ms": wait_ms}
    tuned = tune_policy(
        samples,
        bundle.policy.model_copy(update=waits),
        aim or Objective(),
        offload=offload,  # type: ignore[arg-type]  # checked above
        criterion=criterion,
        live=recorder if live else None,
        seen=seen(bundle, scores["validation"]),
        seed=seed,
    )
    document: dict[str, Any] = {**tuned.document, "written": write}
    files: Mapping[str, str] = {}
    if report:
        source = scores["validation"].source
        document |= {
            "bundle": {"name": bundle.manifest.name, "fingerprint": bundle.fingerprint},
            "data": {"name": source["data"], "fingerprint": source["fingerprint"]},
            "asked": tuned.sentence,
            "study": comparison(samples, tuned.policy, tuned.points, aim if isinstance(aim, Objective) else None),
        }
        files = pages(document)
        report.mkdir(parents=True, exist_ok=True)
    if write:  # when nothing is left that could be refused
        tuned.policy.write(bundle.path)
    if report:
        write_report(report, files)
    return replace(tuned, document=document)


def tunable(path: Path, say: Say = _quiet) -> Bundle:
    """Open a bundle for tuning, with a fresh policy where the one it has is none of its own, which `say` is told."""
    try:
        return Bundle.open(path)
    except BadBundle as error:
        if not str(error).startswith(POLICY_FILE):
            raise
        say(f"starting from a fresh policy, because {error}")
        manifest = Manifest.model_validate(read_sealed(path / MANIFEST_FILE, seal="fingerprint"))
        return Bundle(path, manifest, Policy(bundle=manifest.fingerprint))
