"""Callers that send as much as they are let: a tier stays within the memory it may use, and answers others."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from ddnn.uplink.uplink import INFER_PATH
from real_port import OTHER

LIMIT = 256 << 20
PATIENCE_S = 60
CALLERS = 120


@contextmanager
def tier(log: Path, name: str) -> Iterator[tuple[int, int]]:
    """A tier that may use as much as a container of ours; its port and process."""
    above = [] if name == "cloud" else ["--upstream", "http://127.0.0.1:9"]
    command = [sys.executable, "-m", "ddnn", "serve", name, "--port", "0", *above]
    env = {**os.environ, "DDNN_MAX_MEMORY_BYTES": str(LIMIT), "DDNN_THREADS": "1"}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stderr=out, env=env)
        try:
            until = time.monotonic() + PATIENCE_S
            while not (found := re.search(r"port (\d+)", log.read_text())):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            port = int(found[1])
            while not answers(port):
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            yield port, process.pid
        finally:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    try:
        return bool(exchange(port, "GET", "/readyz")[0] == 200)
    except ConnectionError:
        return False


def exchange(port: int, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Any:
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def peak(pid: int) -> int:
    """Most bytes of memory that a process has used."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) << 10


def send(port: int, source: str, head: bytes, size: int) -> socket.socket | None:
    """A connection that has sent a head and so many bytes; None where they were not taken."""
    caller = socket.create_connection(("127.0.0.1", port), timeout=0.5, source_address=(source, 0))
    try:
        caller.sendall(head + b"[" * size)
    except OSError:
        caller.close()
        return None
    return caller


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("name", ["device", "edge", "cloud"])
def test_bodies_but_for_their_last_byte_fit_into_the_memory(tmp_path: Path, name: str) -> None:
    with tier(tmp_path / "log", name) as (port, pid):
        length = {"inference-header-content-length": "10"}
        _, refused = exchange(port, "POST", INFER_PATH, headers={**length, "content-length": str(1 << 30)})
        largest = int(re.findall(r"at most (\d+)", refused["error"])[0])
        _, page = exchange(port, "GET", "/openapi.json")
        content = page["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]["application/json"]
        example = content.get("example") or next(iter(content["examples"].values()))["value"]
        lines = [f"POST {INFER_PATH} HTTP/1.1", "host: x", f"content-length: {largest}"]
        lines += ["x-ddnn-deadline-ms: 600000", "inference-header-content-length: 10", "", ""]
        head = "\r\n".join(lines).encode()
        before, callers = peak(pid), []
        for n in range(CALLERS):
            callers.append(send(port, OTHER if n % 2 else f"127.0.0.{n + 3}", head, largest - 1))
            if n % 10 == 9:
                status, answer = exchange(port, "POST", INFER_PATH, json.dumps(example).encode())
                assert status == 200, answer
        assert before < peak(pid) < LIMIT
        for caller in callers:
            if caller:
                caller.close()
