"""An event is one trace over device, edge and cloud, as a collector receives it."""

import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from ddnn.bundle import Bundle
from ddnn.fleet.processes import LocalFleet
from ddnn.types import Exit
from ddnn.uplink.uplink import INFER_PATH
from ddnn.wire import encode_request
from real_fleet import PATIENCE_S, Sensors


class Collector:
    """What takes spans by OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, Any]] = []  # each with its tier

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:
                body = handler.rfile.read(int(handler.headers["content-length"]))
                for part in ExportTraceServiceRequest.FromString(body).resource_spans:
                    about = {each.key: each.value.string_value for each in part.resource.attributes}
                    for scope in part.scope_spans:
                        self.spans += [(about["service.instance.id"], span) for span in scope.spans]
                handler.send_response(200)
                handler.end_headers()

            def log_message(handler, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1/traces"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def fleet(every_exit: Bundle, collector: Collector) -> Iterator[LocalFleet]:
    env = {"DDNN_TRACES": collector.url, "DDNN_TRACES_SHARE": "1"}
    with LocalFleet(every_exit.path, base_port=0, env=env) as fleet:
        fleet.wait_until_ready(seconds=120)
        yield fleet


def test_an_event_is_one_trace_with_its_wait_its_sections_and_its_way_up(
    every_exit: Bundle, fleet: LocalFleet, collector: Collector
) -> None:
    sensors = Sensors(every_exit, fleet, "traced ")
    try:
        sensors.until_whole()
        collector.spans.clear()
        exits = [answer.exit for answer in sensors.see(slice(0, 24), wait_ms=5000)]
    finally:
        sensors.client.close()
    assert {*exits} == {Exit.LOCAL, Exit.EDGE, Exit.CLOUD}
    want = {"device", "edge", "cloud", "collect", "local section", "cloud section", "uplink", "queue"}
    until = time.monotonic() + PATIENCE_S
    while True:
        traces = defaultdict(list)
        for instance, span in list(collector.spans):
            traces[span.trace_id].append((instance, span))
        whole = [
            spans
            for spans in traces.values()
            if {span.name for _, span in spans} >= want
            and {instance for instance, _ in spans} == {"cloud-0", "edge-0", *(f"device-{n}" for n in range(6))}
        ]
        if whole:
            break
        assert time.monotonic() < until, [{span.name for _, span in spans} for spans in traces.values()]
        time.sleep(0.05)
    spans = [span for _, span in whole[0]]
    by_id = {span.span_id: span for span in spans}
    roots = [span for span in spans if not span.parent_span_id]
    assert [span.name for span in roots] == ["device"] * len(roots)
    for span in spans:
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if span.parent_span_id:
            parent = by_id[span.parent_span_id]
            if span.name in ("edge", "cloud"):
                assert parent.name == {"edge": "device", "cloud": "edge"}[span.name]
            else:
                assert parent.name in ("device", "edge", "cloud")
    told = {each.key: [value.string_value for value in each.value.array_value.values] for each in roots[0].attributes}
    assert (told["ddnn.exits"], told["ddnn.degraded"]) == (["cloud", "edge", "local"], [])


def test_a_caller_says_itself_whether_and_under_what_an_event_is_traced(
    every_exit: Bundle, fleet: LocalFleet, collector: Collector
) -> None:
    body, headers = encode_request({"view": every_exit.golden["view_0"][:1]})
    trace, silent = "4bf92f3577b34da6a3ce929d0e0e4736", "00000000000000000000000000000abc"
    for traced, flags in ((silent, "00"), (trace, "01")):
        given = headers | {"traceparent": f"00-{traced}-00f067aa0ba902b7-{flags}"}
        reply = httpx.post(fleet.device_urls[0] + INFER_PATH, content=body, headers=given, trust_env=False)
        assert reply.status_code == 200
    until = time.monotonic() + PATIENCE_S
    while (trace, "00f067aa0ba902b7") not in {
        (span.trace_id.hex(), span.parent_span_id.hex()) for _, span in list(collector.spans)
    }:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert silent not in {span.trace_id.hex() for _, span in collector.spans}


def test_a_tier_that_traces_nothing_imports_nothing_of_it() -> None:
    code = (
        "import sys; from ddnn_edge.app import create_app; from ddnn.settings import Settings;"
        "create_app(Settings.load()); print([name for name in sys.modules if name.startswith("
        "('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
