"""Where a request's time goes at each tier of a running fleet, from the stages that the tiers count themselves."""

import asyncio
import time
from pathlib import Path
from typing import Final

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.fleet.processes import LocalFleet
from ddnn.formatting import markdown
from ddnn.plot_style import name as entitle
from ddnn.plot_style import panels
from ddnn.wire import encode_request
from ddnn_lab.plots import save

__all__ = ["STAGES", "plot", "stages", "stages_table"]

STAGES: Final = ("receive", "decode", "collect", "queue", "section", "decide", "uplink", "encode", "send")
_SECTIONS: Final = ("device", "local", "edge", "cloud")
_PATH: Final = "/v2/models/ddnn/infer"
_WARM_EVENTS: Final = 50


async def stages(seconds: float) -> dict[str, dict[str, float]]:
    """Mean milliseconds a request spends in each stage, per tier; one event of six devices at a time, to the cloud.

    `whole` is what the tier counts from a request's first byte to its answer's last; `requests` how many there were.
    """
    bundle = Bundle.open(shipped_bundle())
    with LocalFleet(bundle.path, base_port=0) as fleet:
        fleet.wait_until_ready()
        urls = {name: member.url for name, member in fleet.members.items() if name in ("cloud", "edge", "device-0")}
        async with httpx.AsyncClient(timeout=10) as client:
            await _ask(client, fleet.device_urls, bundle, events=_WARM_EVENTS)
            before = {name: await _counted(client, url) for name, url in urls.items()}
            await _ask(client, fleet.device_urls, bundle, seconds=seconds)
            after = {name: await _counted(client, url) for name, url in urls.items()}
    found = {}
    for name in ("device-0", "edge", "cloud"):
        grown = {key: after[name][key] - before[name].get(key, 0.0) for key in after[name]}
        requests = grown["requests"]
        row = {stage: 1000 * grown.get(stage, 0.0) / requests for stage in (*STAGES, "whole")}
        found[name.partition("-")[0]] = {**row, "requests": requests}
    return found


async def _ask(
    client: httpx.AsyncClient, urls: tuple[str, ...], bundle: Bundle, *, events: int = 0, seconds: float = 0.0
) -> None:
    """So many events, or so long, one after the other."""
    until, asked, run = time.monotonic() + seconds, 0, time.time_ns()
    rows = len(bundle.golden["view_0"])
    while asked < events or time.monotonic() < until:
        row, event = asked % rows, np.array([f"{run}-{asked}".encode()], np.object_)
        posts = []
        for device, url in enumerate(urls):
            inputs = {"view": bundle.golden[f"view_{device}"][row : row + 1], "event": event}
            body, headers = encode_request(inputs, parameters={"threshold": 0.0})
            posts.append(client.post(url + _PATH, content=body, headers=headers))
        for response in await asyncio.gather(*posts):
            response.raise_for_status()
        asked += 1


async def _counted(client: httpx.AsyncClient, url: str) -> dict[str, float]:
    """Seconds in each stage so far, in all requests together (`whole`), and how many those are (`requests`)."""
    found = dict.fromkeys((*STAGES, "whole", "requests"), 0.0)
    for family in text_string_to_metric_families((await client.get(url + "/metrics")).text):
        for sample in family.samples:
            if sample.name == "ddnn_stage_duration_seconds_sum":
                stage = sample.labels["stage"]
                stage = "section" if stage in _SECTIONS else stage
                found[stage] = found.get(stage, 0.0) + sample.value
            elif sample.name == "ddnn_request_duration_seconds_sum":
                found["whole"] = sample.value
            elif sample.name == "ddnn_request_duration_seconds_count":
                found["requests"] = sample.value
    return found


def stages_table(found: dict[str, dict[str, float]]) -> str:
    """Markdown: milliseconds a request, and what of the whole the stages leave unexplained."""
    rows = []
    for tier, row in found.items():
        total = sum(row[stage] for stage in STAGES)
        cells = [*(row[stage] for stage in STAGES), total, row["whole"], row["whole"] - total]
        rows.append((tier, *(f"{cell:.3f}" for cell in cells)))
    return markdown(("ms a request", *STAGES, "sum", "whole", "unexplained"), rows)


def plot(found: dict[str, dict[str, float]], file: Path) -> None:
    """Stacked bars, one a tier."""
    figure, (axes,) = panels(1, height=3.2)
    left = np.zeros(len(found))
    for number, stage in enumerate(STAGES):
        widths = np.array([row[stage] for row in found.values()])
        axes.barh(list(found), widths, left=left, label=stage, color=f"C{number}")
        left += widths
    axes.invert_yaxis()
    entitle(axes, "", "milliseconds a request (mean)", "")
    axes.legend(ncols=5, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    save(figure, file)
