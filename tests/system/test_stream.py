"""Fleets of the shipped bundle on real ports by HTTP and over streams: the same answers, in few bytes."""

import numpy as np
import pytest

from ddnn.client import EventAnswer
from ddnn_lab.benchmarks.wire import DOWN, TRANSPORTS, UP, count

pytestmark = [pytest.mark.slow, pytest.mark.long]
EVENTS = 24
"""Of which bytes are counted."""


def test_both_transports_give_the_same_answers_to_every_golden_event_and_a_stream_few_bytes() -> None:
    answers: dict[str, list[EventAnswer]] = {transport: [] for transport in TRANSPORTS}
    found = {
        transport: count(transport, events=EVENTS, idle_s=0, heard=answers[transport].append)
        for transport in TRANSPORTS
    }
    for by_http, streamed in zip(*answers.values(), strict=True):
        for name in ("label", "exit", "degraded", "degraded_reason", "policy_version", "bytes_up"):
            assert getattr(by_http, name) == getattr(streamed, name)
        assert by_http.devices.tolist() == streamed.devices.tolist()
        assert np.abs(by_http.probabilities - streamed.probabilities).max() < 1e-4
    for way in ("policy", "cloud"):
        assert found["stream"][way]["up_of_tensors"] <= UP
        assert found["stream"][way]["down_of_tensors"] <= DOWN
        assert found["stream"][way]["up"] < found["http"][way]["up"] / 10
