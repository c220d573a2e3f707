"""Our fleet side by side with FastAPI + ONNX Runtime, LitServe and BentoML, which serve the uncut network.

`python -m ddnn_lab.peers --out DIR [--digits mnist.npz] [--network DIR] [--quick]`

Environments are made and the uncut network is trained in `--cache`, both once; after that it takes less than five
minutes. `--digits` is MNIST in Keras form: its training digits that mnist5k does not have choose the network, its test
digits are a second test.
"""

import argparse
import json
import platform
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import Any, Final

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.data import Dataset, load
from ddnn.errors import DDNNError
from ddnn.evaluation import Decisions, Scores, decide, record
from ddnn.evaluation.report import traffic
from ddnn.policy import Thresholds
from ddnn.seal import write_atomically
from ddnn_lab.jpeg import lowest_quality
from ddnn_lab.peers import network, study
from ddnn_lab.peers.peer import Cores
from ddnn_lab.peers.report import draw, report, targets

__all__ = ["main", "run"]

Say = Callable[[str], object]
_SCAN_ALONE: Final = "scan"
_HOW: Final = {
    "apart": "coded pixels alone of a file a view",
    "together": "coded pixels alone of six views in one file",
}


def run(
    out: Path,
    networks: Path,
    cache: Path,
    *,
    digits: Path | None,
    quick: bool,
    command: str,
    say: Callable[[str], object],
) -> None:
    """Write results.json, report.md and peers.png into `out`."""
    out.mkdir(parents=True, exist_ok=True)
    plan = study.Plan().shorter() if quick else study.Plan()
    cores, fleet = Cores.mine(), Bundle.open(shipped_bundle())
    whole = load("mnist5k", grid="3x2")
    data, more = whole.subset("test"), network.read_digits(digits, whole) if digits else None
    choosing = more.choosing if more else whole.subset("validation")
    floor = _accuracy(fleet, choosing) - network.WITHIN
    tried = network.make(networks, whole, choosing, floor, say)
    width = network.choose(tried, floor) or max(tried, key=lambda each: each.accuracy)
    uncut = Bundle.open(networks / width.name)
    results: dict[str, Any] = {
        "command": command,
        "ddnn": version("ddnn"),
        "python": platform.python_version(),
        "data": "mnist5k",
        "events": len(data),
        "other": {"name": "10,000 more digits", "events": len(more.test)} if more else None,
        "cores": {"all": len(cores.all), "cloud": len(cores.cloud)},
        "links": {
            "edge_cloud": str(study.EDGE_CLOUD),
            "device_edge": str(study.DEVICE_EDGE),
            "device_edge_ms": 1000 * study.DEVICE_EDGE.round_trip_s,
            "wait_ms": fleet.policy.wait_ms,
        },
        "thresholds": fleet.policy.thresholds.model_dump(),
        "fleet": {**_figures(fleet, data, more), "chosen": floor + network.WITHIN},
        "network": {
            **_figures(uncut, data, more),
            "filters": width.filters,
            "chosen": width.accuracy,
            "tried": [asdict(each) for each in tried],
            "chosen_on": f"{len(choosing):,} other digits" if more else f"the {len(choosing)} validation events",
            "equal": _accuracy(uncut, data) >= _accuracy(fleet, data) - network.WITHIN,
        },
    }
    say("bytes")
    results["bytes"] = _bytes(fleet, uncut, data)
    results["peers"] = study.peers(plan, cores, cache, network.model_of(networks / width.name), data, say)
    results["ours"] = study.fleet(plan, cores, fleet, data, say)
    write_atomically(out / "results.json", json.dumps(results, indent=1))  # as measured, whatever comes of it
    results["targets"] = targets(results)
    write_atomically(out / "results.json", json.dumps(results, indent=1))
    write_atomically(out / "report.md", report(results))
    draw(results, out / "peers.png")


def _figures(bundle: Bundle, data: Dataset, more: network.Digits | None) -> dict[str, Any]:
    files = sorted(bundle.path.glob("*.onnx"))
    sections = {file.name: network.macs(file) for file in files}
    devices = len(bundle.topology.devices) if "device.onnx" in sections else 1  # shared: once for each
    return {
        "accuracy": _accuracy(bundle, data),
        "other": _accuracy(bundle, more.test) if more else None,
        "macs": sum(count * (devices if name == "device.onnx" else 1) for name, count in sections.items()),
        "sections": sections,
        "bytes": sum(file.stat().st_size for file in files),
    }


def _bytes(fleet: Bundle, uncut: Bundle, data: Dataset) -> dict[str, Any]:
    scores = record(fleet, data)
    sent = traffic(scores, decide(scores, fleet.policy), fleet.policy)
    up = fleet.policy.at(Thresholds(device=0.0, local=0.0, edge=0.0))
    searches = lowest_quality(uncut, data, decide(scores, fleet.policy).accuracy(data.y) - network.WITHIN)
    best = [(each["chosen"][_SCAN_ALONE], key) for key, each in searches.items() if each["chosen"]]
    least, how = min(best, default=(0.0, ""))
    return {
        "edge_to_cloud": sent["edge_to_cloud"]["payload"],
        "offloaded": traffic(scores, decide(scores, up), up)["edge_to_cloud"]["payload"],
        "device_to_edge": sent["device_to_edge"]["payload"],
        "raw_views": sent["raw_views"],
        "searches": searches,
        "jpeg": {"bytes": least, "how": _HOW[how], "quality": searches[how]["chosen"]["quality"]} if how else None,
    }


def _accuracy(bundle: Bundle, data: Dataset) -> float:
    scores: Scores = record(bundle, data)
    answers: Decisions = decide(scores, bundle.policy)
    return answers.accuracy(data.y)


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="Folder for results.json, report.md and peers.png.")
    parser.add_argument("--network", type=Path, help="Folder of networks trained before; CACHE/network by default.")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/ddnn-peers"), help="Folder of what is made once.")
    parser.add_argument("--digits", type=Path, help="MNIST in Keras form, for digits that mnist5k does not have.")
    parser.add_argument("--quick", action="store_true", help="A quarter of the time.")
    args = parser.parse_args()
    out: Path = args.out
    cache: Path = args.cache.expanduser()
    began = monotonic()
    try:
        run(
            out,
            args.network or cache / "network",
            cache,
            digits=args.digits,
            quick=args.quick,
            command=_command(args),
            say=lambda line: print(f"{monotonic() - began:4.0f} s  {line}", file=sys.stderr, flush=True),
        )
    except DDNNError as error:
        sys.exit(str(error))
    print((out / "report.md").read_text(encoding="utf-8"))


def _command(args: argparse.Namespace) -> str:
    """What makes the report again, wherever its files are."""
    digits = ["--digits", args.digits.name] if args.digits else []
    quick = ["--quick"] if args.quick else []
    return shlex.join(["python", "-m", "ddnn_lab.peers", "--out", args.out.name, *digits, *quick])


if __name__ == "__main__":
    main()
