"""How often audits raise a false alarm, and how soon a true one: thousands of replays of recorded events.

python -m ddnn_lab.benchmarks.drift BUNDLE fashion_mnist.npz

A replay draws audited answers of each exit with replacement, so that they are independent and the pool's share of
answers unlike the cloud's is exactly the truth. Without drift: as tuned, and with the truth itself as the promise, the
worst case that is no broken promise. With drift: quiet audits of the test events, then of the same events as drift has
made them; "answers" is how many the fleet gives until the alarm when a tenth of the sure ones is audited.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from scipy.stats import binom

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.drift import Evidence
from ddnn.evaluation import decide, record
from ddnn.evaluation.source import load_for
from ddnn.policy import Policy
from ddnn.tuning.promise import promise
from ddnn.tuning.sample import Sample
from ddnn.types import Bools, Exit, Floats, Ints
from ddnn_lab.benchmarks.report import options
from ddnn_lab.drifting import Drift, drifting

__all__ = ["main"]

RATES = (0.01, 0.05, 0.2)
SHARE = 0.1
DRIFTS = {
    "fade 0.5": Drift(fade=0.5),
    "fade 0.7": Drift(fade=0.7),
    "blur 1": Drift(blur=1.0),
    "blur 2": Drift(blur=2.0),
    "lose 1 device": Drift(lose=1),
    "lose 2 devices": Drift(lose=2),
    "lose 3 devices": Drift(lose=3),
    "fade 0.3, blur 1, lose 2": Drift(fade=0.3, blur=1.0, lose=2),
}
Pool = Mapping[Exit, Bools]
"""Of each exit's answers, whether they are unlike the cloud's."""


def main() -> None:
    parser = options(__doc__, out=False)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("data")
    parser.add_argument("--grid")
    parser.add_argument("--replays", type=int, default=1000)
    parser.add_argument("--audits", type=int, default=5000, help="Audits of each exit in an undrifted replay.")
    parser.add_argument("--quiet", type=int, default=1000, help="Audits of each exit before the drift.")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    bundle = Bundle.open(args.bundle)
    data = load_for(bundle, args.data, grid=args.grid)
    policy = bundle.policy
    if policy.promise is None:
        policy = policy.model_copy(update={"promise": promise(record(bundle, data.subset("validation")), policy)})
    assert policy.promise is not None
    promised, test = policy.promise.disagreement, data.subset("test")
    clean, _, _, _ = pool(bundle, test, policy)
    rng = np.random.default_rng(args.seed)
    truth = {exit: float(differ.mean()) for exit, differ in clean.items() if exit in promised}
    print("| promise | exits | " + " | ".join(f"stated {rate:.0%}" for rate in RATES) + " |")
    print("| --- " * (len(RATES) + 2) + "|")
    for name, most in (("as tuned", promised), ("the truth", truth)):
        highest = np.max([peaks(rng, [(clean[exit], args.audits)], most[exit], args.replays) for exit in truth], axis=0)
        cells = []
        for rate in RATES:
            alarms = int((highest >= np.log(len(truth) / rate)).sum())
            cells.append(f"{alarms} (at most {int(binom.ppf(0.99, args.replays, rate))})")
        said = ", ".join(f"{exit} {100 * most[exit]:.2f} % (true {100 * truth[exit]:.2f} %)" for exit in truth)
        print(f"| {name} | {said} | " + " | ".join(cells) + " |", flush=True)
    print(
        "\n| drift | accuracy, cloud's | exit | answers | unlike the cloud | promised | alarm in | audits | answers |"
    )
    print("| --- " * 9 + "|")
    limit = float(np.log(len(truth) / policy.audits.false_alarm))
    for name, drift in DRIFTS.items():
        worn, _ = drifting(test, fully(drift), events=len(test), seed=args.seed)
        found, shares, accuracy, clouds = pool(bundle, worn, policy)
        for exit in truth:
            told = f"| {name} | {100 * accuracy:.1f} %, {100 * clouds:.1f} % | {exit} | {100 * shares[exit]:.1f} % "
            print(told + f"| {100 * found[exit].mean():.1f} % | {100 * promised[exit]:.1f} % ", end="")
            stages = [(clean[exit], args.quiet), (found[exit], args.audits)]
            when = alarms_at(rng, stages, promised[exit], args.replays, limit)
            late = when[when > args.quiet] - args.quiet
            print(f"| {(when > 0).mean():.0%} ", end="")
            if (when > 0).mean() > 0.5:
                audits = float(np.median(late))
                print(f"| {audits:,.0f} | {audits / SHARE / shares[exit]:,.0f} |", flush=True)
            else:
                print("| — | — |", flush=True)


def fully(drift: Drift) -> Drift:
    """The same, there from the beginning."""
    return Drift(drift.fade, drift.blur, drift.lose, begins=-1.0, over=0.1)


def pool(bundle: Bundle, data: Dataset, policy: Policy) -> tuple[Pool, Mapping[Exit, float], float, float]:
    """Each exit's answers, its share of them, overall accuracy and the cloud's."""
    scores = record(bundle, data)
    decisions, cloud = decide(scores, policy), Sample(scores).cloud_labels
    answers: dict[Exit, Bools] = {
        exit: (decisions.label != cloud)[decisions.exit == exit.rank]
        for exit in Exit
        if exit is not Exit.CLOUD and (decisions.exit == exit.rank).any()
    }
    shares = {exit: decisions.share(exit) for exit in answers}
    return answers, shares, decisions.accuracy(scores.y), float((cloud == scores.y).mean())


def peaks(rng: np.random.Generator, stages: list[tuple[Bools, int]], most: float, replays: int) -> Floats:
    """Logarithm of the highest e-value of each replay, (R)."""
    evidence, highest = Evidence(most, (replays,)), np.zeros(replays)
    for differ, audits in stages:
        for _ in range(audits):
            evidence.add(rng.choice(differ, replays))
            np.maximum(highest, evidence.log, out=highest)
    return np.asarray(highest)


def alarms_at(
    rng: np.random.Generator, stages: list[tuple[Bools, int]], most: float, replays: int, limit: float
) -> Ints:
    """Audits until the alarm of each replay, (R), 0 where there is none."""
    evidence, when, done = Evidence(most, (replays,)), np.zeros(replays, np.int64), 0
    for differ, audits in stages:
        for _ in range(audits):
            done += 1
            evidence.add(rng.choice(differ, replays))
            when[(when == 0) & (evidence.log >= limit)] = done
        if when.all():
            break
    return when


if __name__ == "__main__":
    main()
