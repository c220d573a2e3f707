"""The fleet beside one service: the service runs the cloud's network on an event's files, and the page tells both."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from ddnn.codec import codec_of
from ddnn.runtime import Section
from ddnn_lab.benchmarks import free_port, listening
from ddnn_lab.benchmarks.one_service import packed
from ddnn_lab.peers.peer import SERVERS
from ddnn_lab.reporting import render
from networks import make_bundle


@pytest.mark.slow
def test_the_service_says_of_an_events_files_what_the_clouds_section_says_of_its_views(tmp_path: Path) -> None:
    cloud = {"takes": "views", "filters": (4,), "flat": False, "halve": "all", "mix": True}
    bundle = make_bundle(tmp_path / "bundle", devices=3, cloud=cloud)
    codec, shape = codec_of("jpeg50"), bundle.topology.devices[0].view.shape
    files = [codec.pack(bundle.golden[f"view_{device}"][:1])[0] for device in range(3)]
    port, model = free_port(), str(bundle.path / "cloud.onnx")
    app = ["-m", "uvicorn", "pictures:app", "--app-dir", str(SERVERS), "--port", str(port), "--log-level", "error"]
    told = ",".join(map(str, (3, *shape)))
    with listening(*app, port=port, PEER_MODEL=model, PEER_SHAPE=told):
        answer = httpx.post(f"http://127.0.0.1:{port}/predict", content=packed(files), trust_env=False)
    assert answer.status_code == 200
    view = codec.unpack(np.array([files], np.object_), shape)
    none = np.zeros((1, 1, len(bundle.manifest.classes)), np.float32)
    there = np.ones((1, 3), np.bool_)
    wanted = Section(Path(model)).run(view=view, scores=none, present=there)["scores"]
    assert np.allclose(np.frombuffer(answer.content, np.float32), wanted[0], atol=1e-5)


def test_the_page_tells_what_each_took() -> None:
    def load(answered: int, cpu_s: float) -> dict[str, Any]:
        return {
            "answered": answered,
            "goodput_per_s": answered / 10,
            "cpu_s": {"cloud": cpu_s},
            "cpu_ms_per_event": 1000 * cpu_s / answered,
            "latency_ms": {"p50": 12.0, "p95": 40.0} if answered > 50 else None,
            "passed_per_event": {"cloud": {"up": 1000.0, "down": 100.0}},
            "exit_share": {"local": 0.6, "cloud": 0.4},
        }

    page = render(
        "one_service.md",
        bundle="b",
        data="d",
        events=190,
        cloud_cores=1,
        links={"edge_cloud": "40 ms, 10 Mbit/s"},
        accuracy={"fleet": 0.82, "service": 0.83},
        payload={"fleet": 300.0, "service": 1000.0},
        systems={
            "the fleet": dict.fromkeys(("flat_out", "near", "far"), load(100, 1.0)),
            "one service": dict.fromkeys(("flat_out", "near", "far"), load(50, 2.0)),
        },
    )
    assert "| events for a CPU second of the cloud | 100 | 25 |" in page
    assert "4.0 times the events for a CPU second of the cloud, 0.30 of the bytes, −1.0 points." in page
    assert "| p50, no links, ms | 12 | — |" in page
