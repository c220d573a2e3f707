"""What the sizes of messages tell: the exit and the class, but not where a fleet pads them and sends all up."""

import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path
from time import monotonic, sleep
from typing import NamedTuple
from urllib.request import urlopen

import numpy as np
import pytest

from ddnn.answers import outputs_to_answers
from ddnn.bundle import Bundle
from ddnn.fleet.processes import LocalFleet
from ddnn.policy import Audits
from ddnn.types import Answer
from ddnn.wire import HEADER_LENGTH, decode_response, encode_request
from ddnn_lab.in_process import INFER
from real_fleet import PATIENCE_S

BLOCK, EVENTS = 4096, 20


class Reply(NamedTuple):
    """An answer, and how many bytes it came in."""

    answer: Answer
    head: int
    body: int


@pytest.fixture(scope="module")
def padded(every_exit: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    """A fleet that pads, sends features with the scores, and audits every sure answer."""
    path = Path(shutil.copytree(every_exit.path, tmp_path_factory.mktemp("bundles") / "padded"))
    audits = Audits(share=1, per_second=1e6, burst=1000)
    every_exit.policy.model_copy(update={"offload": "eager", "audits": audits}).write(path)
    with LocalFleet(path, base_port=0, env={"DDNN_PAD_BYTES": str(BLOCK)}) as fleet:
        fleet.wait_until_ready(seconds=120)
        yield fleet


def seen(fleet: LocalFleet, bundle: Bundle, name: str, *, binary: bool) -> list[list[Reply]]:
    """What each device answers of each of some golden events, of all classes, one event after the other."""
    rows = np.linspace(0, len(bundle.golden["y"]) - 1, EVENTS).astype(int)

    def ask(device: int, event: int) -> Reply:
        view = bundle.golden[f"view_{device}"][rows[event] : rows[event] + 1]
        ids = np.array([f"{name}-{event:04}".encode()], np.object_)
        body, headers = encode_request({"view": view, "event": ids}, binary=binary, binary_output=binary)
        connection = HTTPConnection(fleet.device_urls[device].removeprefix("http://"), timeout=PATIENCE_S)
        connection.request("POST", INFER, body, {**headers, "x-request-id": f"{name}-{event:04}"})
        response = connection.getresponse()
        content = response.read()
        head = sum(len(key) + len(value) for key, value in response.getheaders())
        connection.close()
        outputs = decode_response(content, response.headers.get(HEADER_LENGTH)).outputs
        return Reply(outputs_to_answers(outputs)[0], head, len(content))

    with ThreadPoolExecutor(6) as pool:
        return [list(pool.map(ask, range(6), [event] * 6)) for event in range(EVENTS)]


def bytes_up(url: str) -> int:
    """Bytes of a tier's requests to the tier above, audits included, since it began."""
    with urlopen(f"{url}/metrics", timeout=PATIENCE_S) as page:
        text = page.read().decode()
    kinds = "ddnn_uplink_bytes_total|ddnn_audit_bytes_total"
    return sum(int(float(value)) for value in re.findall(rf'^(?:{kinds}){{direction="up"}} (\S+)$', text, re.MULTILINE))


def whole(replies: list[list[Reply]]) -> set[str]:
    """The exits of events that all devices had a part in, of several classes, none of them degraded."""
    answers = [reply.answer for event in replies for reply in event]
    assert not any(answer.degraded for answer in answers)
    assert len({answer.label for answer in answers}) > 4
    return {answer.exit.value for answer in answers}


@pytest.mark.parametrize("binary", [True, pytest.param(False, marks=pytest.mark.long)])
def test_sizes_of_answers_tell_neither_exit_nor_class_where_they_are_padded(
    every_exit: Bundle, served: LocalFleet, padded: LocalFleet, binary: bool
) -> None:
    plain = seen(served, every_exit, f"plain{binary}", binary=binary)
    even = seen(padded, every_exit, f"even{binary}", binary=binary)
    assert whole(plain) == whole(even) == {"local", "edge", "cloud"}
    sizes = [[reply.body for reply in event] for event in plain]
    assert len({size for event in sizes for size in event}) > 1
    assert {(reply.head, reply.body) for event in even for reply in event} == {(even[0][0].head, BLOCK)}


def test_requests_of_every_event_are_alike_in_number_and_size_where_all_goes_up(
    every_exit: Bundle, served: LocalFleet, padded: LocalFleet
) -> None:
    before = [bytes_up(url) for url in served.device_urls]
    seen(served, every_exit, "plain up", binary=True)
    plain = [bytes_up(url) - was for url, was in zip(served.device_urls, before, strict=True)]
    assert all(size % EVENTS for size in plain)  # scores of all, features of those that the edge asked for
    edge = next(member.url for name, member in padded.members.items() if name.startswith("edge"))
    urls = [*padded.device_urls, edge]
    before = [bytes_up(url) for url in urls]
    seen(padded, every_exit, "even up", binary=True)
    until, wanted = monotonic() + PATIENCE_S, [was + EVENTS * BLOCK for was in before]
    while (now := [bytes_up(url) for url in urls]) != wanted:  # audits go up in the background
        assert monotonic() < until, [found - was for found, was in zip(now, before, strict=True)]
        sleep(0.05)
