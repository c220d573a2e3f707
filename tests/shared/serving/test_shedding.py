"""What a pressed tier does with what comes: refused at the door, answered below, and told to the tiers below."""

import asyncio
import io
import json
from collections import deque
from collections.abc import Iterator

import numpy as np
import pytest
from rich.console import Console

from ddnn.fleet.diagnostics import check_fleet
from ddnn.fleet.status import TierStatus, print_statuses
from ddnn.policy import Thresholds
from ddnn.serving.pressure import Pressure, chosen
from ddnn.serving.service import Service
from ddnn.serving.turnstile import first_event
from ddnn.serving.waits import Waits
from ddnn.uplink import Uplink
from ddnn.wire import encode_request
from ddnn_lab.in_process import INFER, Fleet
from real_port import reply, serving, whole

DEVICES = [0]
SHARE = 0.5


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tier with much under way, whatever the test asks."""
    monkeypatch.setattr(Service, "_is_busy", lambda self: True)


def pressed(fleet: Fleet, host: str, share: float = SHARE) -> Pressure:
    pressure: Pressure = fleet.switch.apps[host].state.service.pressure
    pressure._own.value = pressure._told = share
    return pressure


def ids(count: int = 40) -> Iterator[tuple[str, bool]]:
    """Event ids, and whether each is among the share."""
    for n in range(count):
        yield f"event-{n}", chosen(b"event-%d" % n, SHARE)


@pytest.mark.usefixtures("busy")
async def test_a_pressed_device_refuses_its_share_of_the_events_and_the_connection_goes_on(fleet: Fleet) -> None:
    fleet.use(thresholds=Thresholds(device=1.0))
    pressed(fleet, "device-0")
    device = fleet.switch.apps["device-0"]
    async with serving(device) as port:
        requests = []
        for id, _ in ids():
            inputs = {"event": np.array([id.encode()], object), "view": fleet.view(0, slice(0, 1))}
            body, headers = encode_request(inputs, parameters={"max_exit": "device"})
            requests.append(whole(body, {name.lower(): value for name, value in headers.items()}))
        last = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        came = b""
        for request in requests:  # in two pieces, so that some bodies come later than their heads
            half = len(request) // 2
            came += await reply(port, request[:half], request[half:] + last)
    expected = [b" 429 " if shed else b" 200 " for _, shed in ids()]
    found = [b" 429 " if b" 429 " in part else b" 200 " for part in came.split(b"HTTP/1.1")[1::2]]
    assert found == expected
    metric = device.state.service.metrics.registry.get_sample_value
    assert metric("ddnn_shed_total", {"reason": "pressed"}) == sum(shed for _, shed in ids())
    assert metric("ddnn_requests_total", {"code": "429"}) == sum(shed for _, shed in ids())
    assert metric("ddnn_pressed_share", {"whose": "own"}) == SHARE
    assert b"of the events are shed" in came
    assert b"retry-after: 1" in came


@pytest.mark.usefixtures("busy")
async def test_many_requests_on_one_connection_are_refused_or_answered_each_in_its_turn(fleet: Fleet) -> None:
    fleet.use(thresholds=Thresholds(device=1.0))
    pressed(fleet, "device-0")
    async with serving(fleet.switch.apps["device-0"]) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for id, shed in ids(12):
            inputs = {"event": np.array([id.encode()], object), "view": fleet.view(0, slice(0, 1))}
            body, headers = encode_request(inputs, parameters={"max_exit": "device"}, binary=shed)
            writer.write(whole(body, {name.lower(): value for name, value in headers.items()}))
            async with asyncio.timeout(30):
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length: "))
                await reader.readexactly(int(length.split()[1]))
            assert (b" 429 " in head) == shed
        writer.close()


@pytest.mark.usefixtures("busy")
async def test_what_a_pressed_edge_sheds_is_answered_below_degraded_where_there_is_cpu(fleet: Fleet) -> None:
    pressed(fleet, "edge", 0.95)
    device = fleet.switch.apps["device-0"].state.service
    device.pressure.cpu.share = 0.0
    body, headers = encode_request({"event": np.array([b"x"], object), "view": fleet.view(0, slice(0, 1))})
    async with fleet.client("edge") as client:
        response = await client.post(INFER, content=body, headers=headers)
        assert response.headers["x-ddnn-pressed"] == "0.950"
    (shed, *_) = (id for id in map(str, range(1000)) if chosen(id.encode(), 0.9))
    device.uplink._pressed = 0.9, device.uplink._clock() + 60
    asked = {"event": np.array([shed.encode()], object), "view": fleet.view(0, slice(0, 1))}
    (answer,) = await fleet.infer("device-0", asked)
    assert (answer.degraded, answer.degraded_reason, answer.exit) == (True, "pressed", "device")
    device.pressure.cpu.share = 1.0
    assert (await fleet.post("device-0", asked)).status_code == 429
    assert device.status()["pressure"] | {"cpu_from": 0, "late_ms": 0} == {
        "share": 0.0,
        "above": 0.9,
        "late_ms": 0,
        "cpu": 1.0,
        "cpu_from": 0,
    }


async def test_what_a_tier_above_has_told_holds_for_a_second_and_nonsense_is_nothing(fleet: Fleet) -> None:
    uplink: Uplink = fleet.switch.apps["device-0"].state.service.uplink
    pressed(fleet, "edge", 0.25)
    fleet.use(thresholds=Thresholds(local=1.0))
    await fleet.infer("device-0", {"view": fleet.view(0, slice(0, 1))})
    assert uplink.pressed == 0.25
    share, until = uplink._pressed
    uplink._pressed = share, until - 1
    assert uplink.pressed == 0.0


def test_the_first_event_of_a_request_is_found_in_any_form_and_what_is_no_request_is_said_elsewhere() -> None:
    view, events = np.zeros((2, 3), np.float32), np.array([b"one", b"two"], object)
    for binary in (True, False):
        for names in (("view", "event"), ("event", "view")):
            inputs = {name: {"view": view, "event": events}[name] for name in names}
            body, headers = encode_request(inputs, binary=binary)
            length = headers.get("Inference-Header-Content-Length", "").encode()
            assert first_event(body, length) == b"one"
    body, headers = encode_request({"view": view})
    assert first_event(body, headers["Inference-Header-Content-Length"].encode()) is None
    for nonsense in (b"[]", b'{"inputs": [{"name": "event"}]}', b'{"inputs": 3}'):
        with pytest.raises(ValueError, match="no request"):
            first_event(nonsense, b"")
    for nonsense in (b"", b"\xff\xd8\xff"):
        with pytest.raises(ValueError, match="line 1"):
            first_event(nonsense, b"")
    document = {"inputs": [{"name": "event", "parameters": {"binary_data_size": 9}}]}
    text = json.dumps(document).encode()
    with pytest.raises(ValueError, match="cut off"):
        first_event(text + b"\x09\0\0\0xx", b"%d" % len(text))


class Clock:
    """A clock that the test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_requests_that_wait_much_longer_than_they_usually_do_are_known_before_the_first_is_answered() -> None:
    clock, under_way = Clock(), deque[float]()
    waits = Waits(clock)

    def come(count: int) -> None:
        for _ in range(count):
            waits.began(clock.now)
            under_way.append(clock.now)

    def pass_by(seconds: float) -> None:
        """One is answered each hundredth of a second, in turn, and another comes."""
        for turn in range(int(100 * seconds)):
            clock.now += 0.01
            waits.ended(under_way.popleft(), answered=True)
            come(1)
            if turn % 5 == 0:
                waits.look()

    come(1)
    clock.now += 0.01
    come(1)
    pass_by(5)
    assert waits.share == 0
    come(20)  # a burst, of which nothing has waited yet
    waits.look()
    assert waits.share == 0
    pass_by(2)  # the same rate, and eleven times the wait
    assert waits.share == pytest.approx((11 - 6) / 12, abs=0.1)
    while len(under_way) > 4:
        waits.ended(under_way.popleft(), answered=False)
    pass_by(3)
    assert waits.share == 0


def test_status_and_doctor_tell_what_is_shed_and_why() -> None:
    told = {"share": 0.4, "above": 0.25, "late_ms": 31.2, "cpu": 0.93, "cpu_from": "/proc/pressure/cpu"}
    status = {"tier": "device", "index": 3, "ready": True, "pressure": told}
    tier = TierStatus("device-3", "http://127.0.0.1:8013", status, 1.0)
    finding = list(check_fleet([tier], None))[1]
    assert finding.verdict == "warning"
    assert finding.found == (
        "sheds 40 % of its events, the tier above 25 %: its event loop is 31 ms late, and something waits for a CPU"
        " for 93 % of the time (/proc/pressure/cpu)"
    )
    out = io.StringIO()
    print_statuses([tier], Console(file=out, width=200))
    assert finding.found in out.getvalue()
    quiet = {**told, "share": 0.0, "above": None}
    assert len(list(check_fleet([TierStatus("cloud", "", {**status, "pressure": quiet}, 1.0)], None))) == 1
