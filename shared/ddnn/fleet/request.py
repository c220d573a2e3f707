"""One event as the JSON bodies that `curl -d @FILE` posts to the devices."""

import json
from functools import partial
from pathlib import Path

from ddnn.fleet.events import Event
from ddnn.seal import write_atomically
from ddnn.types import Array
from ddnn.wire.tensors import datatype_of

__all__ = ["request_text", "write_requests"]


def request_text(view: Array, event: str | None = None) -> str:
    """The body of one request with one view; without `event` the view is an event of its own.

    The last axis is a line of text: an image can be seen.
    """
    shape = [1, *view.shape]
    data = json.dumps(view[None].tolist(), separators=(",", ":")).replace("],[", "],\n [")
    entries = [f'{{"name":"view","shape":{json.dumps(shape)},"datatype":"{datatype_of(view)}","data":\n {data}}}']
    if event is not None:
        entries.append(json.dumps({"name": "event", "shape": [1], "datatype": "BYTES", "data": [event]}))
    return '{"inputs":[' + ",\n ".join(entries) + "]}\n"


def write_requests(folder: Path, event: Event, id: str | None = None) -> list[Path]:
    """Write `device-0.json`, … into `folder`, one for each view there is; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for device, view in enumerate(event.views):
        if view is None:
            continue
        file, text = folder / f"device-{device}.json", request_text(view, id).encode()
        write_atomically(file, partial(_fill, text))
        files.append(file)
    return files


def _fill(text: bytes, part: Path) -> None:
    part.write_bytes(text)
