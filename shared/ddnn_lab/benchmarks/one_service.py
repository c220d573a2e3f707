"""Photographs in a fleet, and beside it one FastAPI service that runs the cloud's network on every JPEG.

`python -m ddnn_lab.benchmarks.one_service grocery6 --out results`, of the shipped bundle grocery6 or of another whose
cloud takes views. Thresholds are chosen on every second test event, for the fewest bytes and no less accurate there
than the best exit; both systems get the others. Devices are posted the photographs as they are; the service gets what
our cloud would, all views as JPEGs in one body, from a gateway that has them for nothing. Both share the same cores,
the cloud and the service half of them. Flat out, then at a low rate, then the same over a thin link to the cloud.
Writes one_service.json and one_service.md.
"""

import asyncio
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import httpx
import numpy as np
import typer

from ddnn.answers import outputs_to_answers
from ddnn.bundle import Bundle, shipped_bundle
from ddnn.client import join
from ddnn.codec import codec_of
from ddnn.data import Dataset
from ddnn.errors import BadInput
from ddnn.evaluation import Scores, decide, record
from ddnn.evaluation.report import traffic
from ddnn.evaluation.source import load_for
from ddnn.fleet.processes import LinkProcess
from ddnn.links import LinkShape
from ddnn.tuning import Objective, Sample, choose
from ddnn.types import Answer, Tier
from ddnn.wire import HEADER_LENGTH, decode_error, decode_response
from ddnn_lab.benchmarks import RESULTS, Out, command, free_port, listening, write
from ddnn_lab.links import passed
from ddnn_lab.load import Arrivals, Closed, HttpTarget, Measured, Outcome, Poisson, Processes, Target, measure
from ddnn_lab.load.target import PATH, Connections, request_head
from ddnn_lab.peers.peer import SERVERS, Cores, PlacedFleet, on, processes
from ddnn_lab.peers.study import DEVICE_EDGE, EDGE_CLOUD

__all__ = ["Photographed", "packed"]

DEADLINE_S: Final = 20.0
CLIENTS: Final = 4
_LENGTH: Final = HEADER_LENGTH.lower().encode()


@dataclass
class Photographed:
    """All devices of a fleet: an event's photographs are posted to them at once, and the client's rule takes one."""

    urls: Sequence[str]
    files: Sequence[Sequence[bytes]]  #: of each event, those of the devices
    y: Sequence[int]
    run: str = "a"  #: begins the events' ids

    def __post_init__(self) -> None:
        self._connections: list[Connections] = []

    async def __call__(self, number: int) -> Outcome:
        """Ask for event `number`, counted round."""
        if not self._connections:
            self._connections = [Connections(url) for url in self.urls]
        row = number % len(self.files)
        told = await asyncio.gather(*(self._ask(device, row, number) for device in range(len(self.urls))))
        errors = tuple(code for code in told if isinstance(code, str))
        answers = [answer for answer in told if not isinstance(answer, str)]
        try:
            best = answers[join(answers)]
        except BadInput:
            return Outcome(False, errors=errors)
        sent = sum(answer.bytes_up for answer in answers)
        right = best.label == self.y[row]
        return Outcome(
            True,
            best.label,
            right,
            exit=best.exit.value,
            degraded=best.degraded,
            reason=best.degraded_reason,
            bytes_up=sent,
            errors=errors,
        )

    async def aclose(self) -> None:
        """Close the connections."""
        for each in self._connections:
            each.close()
        self._connections = []

    async def _ask(self, device: int, row: int, number: int) -> Answer | str:
        body, path = self.files[row][device], f"{PATH}?event={self.run}{number}"
        headers = {"content-type": "image/jpeg", "x-ddnn-deadline-ms": f"{1000 * DEADLINE_S:.0f}"}
        head = request_head(self.urls[device], headers, path=path, length=len(body))
        try:
            async with asyncio.timeout(DEADLINE_S):
                response = await self._connections[device].post(head + body)
        except OSError:  # a timeout too
            return "NO_ANSWER"
        if response.status != 200:
            return decode_error(response.status, response.body).code
        length = response.headers.get(_LENGTH, b"").decode("latin-1") or None
        return outputs_to_answers(decode_response(response.body, length).outputs, rows=1)[0]


def packed(files: Sequence[bytes]) -> bytes:
    """An event's files as the service takes them."""
    return b"".join(len(file).to_bytes(4, "little") + file for file in files)


def _service(url: str, data: Dataset, files: Sequence[Sequence[bytes]], said: dict[int, bool]) -> HttpTarget:
    """The service; whether it was right is noted in `said`, by event."""
    bodies = [packed(each) for each in files]

    def read(place: int, body: bytes) -> Outcome:
        label = int(np.frombuffer(body, np.float32).argmax())
        said[place] = label == int(data.y[place])
        return Outcome(True, label, said[place], exit="cloud", bytes_up=sum(map(len, files[place])))

    return HttpTarget(f"{url}/predict", bodies, read, {"content-type": "application/octet-stream"}, DEADLINE_S)


@dataclass(frozen=True)
class _Loads:
    seconds: float
    rate: float

    def of(self, target: Target, used: Processes, *, flat: bool) -> dict[str, Any]:
        arrivals: Arrivals = Closed(CLIENTS) if flat else Poisson(self.rate, 1)
        found: Measured = measure(
            target, arrivals, seconds=self.seconds, warm_up_s=2.0, deadline_s=DEADLINE_S, processes=used
        )
        return found.document()


def _files(data: Dataset, codec: str) -> list[list[bytes]]:
    """(N, D), each view as a file."""
    columns = [list(codec_of(codec).pack(np.asarray(view))) for view in data.views]
    return [list(row) for row in zip(*columns, strict=True)]


def _tuned(bundle: Bundle, scores: Scores, drop: float, folder: Path) -> Bundle:
    """A copy of the bundle, under thresholds that are chosen on these scores."""
    policy = choose(Sample(scores), bundle.policy, Objective(drop)).policy
    shutil.copytree(bundle.path, folder, dirs_exist_ok=True)
    policy.write(folder)
    return Bundle.open(folder)


def _fleet(
    bundle: Bundle, loads: _Loads, cores: Cores, files: Sequence[Sequence[bytes]], y: list[int]
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with PlacedFleet(bundle.path, cores, base_port=0) as running:
        running.wait_until_ready(seconds=300)
        for name, flat in (("flat_out", True), ("near", False)):
            found[name] = loads.of(Photographed(running.device_urls, files, y, name), processes(running), flat=flat)
    shapes: dict[Tier, LinkShape] = {Tier.EDGE: EDGE_CLOUD, Tier.DEVICE: DEVICE_EDGE}
    with PlacedFleet(bundle.path, cores, base_port=0, shapes=shapes) as running:
        running.wait_until_ready(seconds=300)
        link = running.links["edge"]
        used = Processes(processes(running).ids, {"cloud": lambda: passed(link)})
        return {**found, "far": loads.of(Photographed(running.device_urls, files, y, "far"), used, flat=False)}


def _peer(
    bundle: Bundle, loads: _Loads, cores: Cores, files: Sequence[Sequence[bytes]], data: Dataset
) -> tuple[dict[str, Any], float]:
    """What it took, and its accuracy over all events."""
    cloud = next(spec for spec in bundle.topology.sections if spec.tier is Tier.CLOUD)
    shape = (len(bundle.topology.devices), *bundle.topology.devices[0].view.shape)
    model, sides = str(bundle.checked(cloud.file).resolve()), ",".join(map(str, shape))
    port = free_port()
    app = ["-m", "uvicorn", "pictures:app", "--app-dir", str(SERVERS), "--port", str(port), "--no-access-log"]
    quick = ["--loop", "uvloop", "--http", "httptools", "--log-level", "warning", "--workers", str(len(cores.cloud))]
    said: dict[int, bool] = {}
    with on(cores.cloud), listening(*app, *quick, port=port, PEER_MODEL=model, PEER_SHAPE=sides) as process:
        used, address = Processes({"cloud": process}), f"127.0.0.1:{port}"
        near = _service(f"http://{address}", data, files, said)
        found = {name: loads.of(near, used, flat=flat) for name, flat in (("flat_out", True), ("near", False))}
        with LinkProcess(address, EDGE_CLOUD) as link:
            both = Processes(used.ids, {"cloud": lambda: passed(link)})
            found["far"] = loads.of(_service(link.url, data, files, said), both, flat=False)
        for place in sorted({*range(len(files))} - said.keys()):  # what no load came to
            answer = httpx.post(near.url, content=near.bodies[place], headers=near.headers, trust_env=False, timeout=60)
            near.read(place, answer.raise_for_status().content)
        return found, float(np.mean([*said.values()]))


def main(
    data: Annotated[str, typer.Argument(metavar="DATA", help="Photographs, as `ddnn train` takes them.")],
    out: Out = RESULTS,
    bundle: Annotated[Path | None, typer.Option(help="Another bundle than the shipped grocery6.")] = None,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each load.")] = 30.0,
    rate: Annotated[float, typer.Option(min=0.01, help="Events a second of the low rate.")] = 1.0,
    drop: Annotated[float, typer.Option(min=0, max=1, help="How far below the best exit thresholds may be.")] = 0.0,
    half: Annotated[int, typer.Option(min=0, max=1, help="Which half of the test events chooses thresholds.")] = 0,
) -> None:
    """Load both, and write what each took."""
    opened = Bundle.open(bundle or shipped_bundle().with_name("grocery6"))
    cores, loads = Cores.mine(), _Loads(seconds, rate)
    views = opened.topology.views
    if views is None:
        raise BadInput(f"the cloud of {opened.path} takes no views; expected one that does")
    test = load_for(opened, data).subset("test")
    known, asked = (test.take(np.arange(start, len(test), 2)) for start in (half, 1 - half))
    # In another order than that of classes: a load of a few seconds then sees all of them.
    asked = asked.take(np.random.default_rng(0).permutation(len(asked)))
    with tempfile.TemporaryDirectory() as folder:
        print("choosing thresholds", file=sys.stderr, flush=True)
        tuned = _tuned(opened, record(opened, known), drop, Path(folder))
        scores = record(tuned, asked)
        decisions = decide(scores, tuned.policy)
        sent, y = traffic(scores, decisions, tuned.policy), asked.y.tolist()
        pictures = _files(asked, views.codec)
        sizes = [sum(map(len, files)) for files in pictures]
        print("the fleet", file=sys.stderr, flush=True)
        ours = _fleet(tuned, loads, cores, _files(asked, "jpeg95"), y)
        print("the service", file=sys.stderr, flush=True)
        theirs, right = _peer(tuned, loads, cores, pictures, asked)
    write(
        out,
        "one_service",
        {
            "bundle": opened.manifest.name,
            "data": Path(data).name,
            "events": len(asked),
            "cloud_cores": len(cores.cloud),
            "links": {"edge_cloud": str(EDGE_CLOUD), "device_edge": str(DEVICE_EDGE)},
            "thresholds": tuned.policy.thresholds.model_dump(),
            "accuracy": {"fleet": decisions.accuracy(asked.y), "service": right},
            "payload": {"fleet": sent["edge_to_cloud"]["payload"], "service": float(np.mean(sizes))},
            "systems": {"the fleet": ours, "one service": theirs},
        },
    )


if __name__ == "__main__":
    command(__doc__, main)
