"""What a cloud costs whose section Ray Serve runs, beside one that runs it itself.

`python -m ddnn_lab.benchmarks.on_ray --out DIR [--seconds 4] [--rounds 3] [--replicas 1]`, two minutes; needs the extra
`ray`. Of each bundle two clouds on this machine, asked by turns for one event a request, 16 at once and one at a time.
CPU and memory are those of all processes that came with a cloud.
"""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from ddnn.bundle import Bundle, named
from ddnn.extensions import needed_for
from ddnn.settings import Settings
from ddnn.uplink.uplink import INFER_PATH
from ddnn_cloud.app import make_service
from ddnn_lab.benchmarks import RESULTS, Out, command, environment, free_port, listening, write
from ddnn_lab.load import Closed, HttpTarget, Outcome, Processes, measure

__all__ = ["price"]

BUNDLES: Final = ("mnist5k", "grocery6")
AT_ONCE: Final = (16, 1)
_DEADLINE_S: Final = 10.0


def price(name: str, seconds: float, rounds: int, replicas: int) -> dict[str, Any]:
    """Of one bundle, by where the section runs: medians over rounds."""
    bundle = Bundle.open(named(Path(name)))
    body = orjson.dumps(make_service(Settings.load(bundle=bundle.path)).request_example)
    kinds = {"itself": 0, "ray": replicas}
    found: dict[tuple[str, int], list[dict[str, float]]] = {(kind, n): [] for n in AT_ONCE for kind in kinds}
    with ExitStack() as stack:
        ids, urls = {}, {}
        for kind, count in kinds.items():
            port = free_port()
            arguments = ("-m", "ddnn", "serve", "cloud", "--bundle", str(bundle.path), "--port", f"{port}")
            server = listening(*arguments, port=port, DDNN_RAY__REPLICAS=str(count), DDNN_MAX_LAG_MS="0")
            ids[kind] = stack.enter_context(server)
            urls[kind] = f"http://127.0.0.1:{port}{INFER_PATH}"
        for turn in range(rounds + 1):  # the first warms up
            for (kind, at_once), kept in found.items():
                target = HttpTarget(urls[kind], [body], lambda _, answer: Outcome(bool(answer)), deadline_s=_DEADLINE_S)
                processes = Processes({kind: ids[kind]})
                load = measure(target, Closed(at_once), seconds=seconds, warm_up_s=0.2, processes=processes)
                if turn:
                    kept.append(
                        {
                            "per_second": load.answered / load.seconds,
                            "cpu_ms": 1000 * load.cpu_s[kind] / max(1, load.answered),
                            "p50_ms": (load.latency_ms or {}).get("p50", 0.0),
                            "memory_mb": load.memory_bytes[kind] / 1e6,
                        }
                    )
    each = {
        at: {figure: float(np.median([one[figure] for one in kept])) for figure in kept[0]}
        for at, kept in found.items()
    }
    return {kind: {str(at_once): each[kind, at_once] for at_once in AT_ONCE} for kind in kinds}


def main(out: Out = RESULTS, seconds: float = 4.0, rounds: int = 3, replicas: int = 1) -> None:
    """Measure, print, and write `on_ray.json` and `on_ray.md`."""
    with needed_for("this benchmark", extra="ray"):
        import ray  # noqa: F401
    bundles = {name: price(name, seconds, rounds, replicas) for name in BUNDLES}
    typed = f"python -m ddnn_lab.benchmarks.on_ray --seconds {seconds:g} --rounds {rounds} --replicas {replicas}"
    write(out, "on_ray", {"command": typed, "replicas": replicas, "bundles": bundles}, **environment())


if __name__ == "__main__":
    command(__doc__, main)
