"""A log that nothing reads stalls nothing, and tells what it has dropped."""

import logging
import os
import re
import socket
import sys
import time
from collections.abc import Iterator

import pytest

from ddnn.client import Client
from ddnn.errors import Unavailable
from ddnn.serving.logs import LogQueue
from ddnn.serving.metrics import Metrics
from ddnn.types import Exit
from warm_start import POPEN

LINES = 5000
PATIENCE_S = 60


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe, its end to read and its end to write."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def fill(write: int) -> int:
    """Write until nothing more fits; how much that was."""
    os.set_blocking(write, False)
    count = 0
    try:
        while True:
            count += os.write(write, b"x" * 4096)
    except BlockingIOError:
        os.set_blocking(write, True)
    return count


def test_lines_that_nothing_reads_are_dropped_and_counted_and_told(pipe: tuple[int, int]) -> None:
    read, write = pipe
    filled, log, metrics = fill(write), LogQueue(write, most=100), Metrics(Exit, ())
    logger = logging.Logger("a tier")
    logger.addHandler(log)
    for n in range(LINES):
        logger.error("line %d", n)
        if n == LINES // 2:
            log.count_with(metrics.dropped_lines.inc)
    assert LINES - 101 <= log.dropped <= LINES - 100
    assert metrics.registry.get_sample_value("ddnn_log_dropped_total") == log.dropped
    text = b""
    while sum(map(int, re.findall(rb"(\d+) lines of this log were dropped", text))) < log.dropped:
        text += os.read(read, 1 << 16)
    assert len(text) > filled
    assert b"line 0\n" in text
    log.flush()


def test_a_tier_starts_and_answers_though_nothing_reads_what_it_logs(pipe: tuple[int, int]) -> None:
    fill(pipe[1])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "ddnn", "serve", "cloud", "--port", str(port)]
    process = POPEN(command, stderr=pipe[1], env={**os.environ, "DDNN_THREADS": "1"})
    try:
        with Client(f"http://127.0.0.1:{port}") as client:
            until = time.monotonic() + PATIENCE_S
            while not _ready(client):
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()


def _ready(client: Client) -> bool:
    try:
        return client.ready()
    except Unavailable:
        return False
