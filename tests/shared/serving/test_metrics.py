"""What a tier counts: the names of the conventions, every label set from the start."""

from itertools import count
from typing import get_args

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from ddnn.serving.metrics import REASONS, Metrics
from ddnn.types import Answer, Exit
from ddnn.uplink.transport import Reason
from ddnn_lab.in_process import Fleet

NAMES = {
    "ddnn_requests_total",
    "ddnn_request_duration_seconds",
    "ddnn_stage_duration_seconds",
    "ddnn_in_flight",
    "ddnn_pressed_share",
    "ddnn_loop_lag_seconds",
    "ddnn_cpu_pressure",
    "ddnn_queue_depth",
    "ddnn_batch_size",
    "ddnn_answered_unbacked_total",
    "ddnn_event_ids_reused_total",
    "ddnn_views_dropped_total",
    "ddnn_device_set_aside",
    "ddnn_certificate_expiry_timestamp_seconds",
    "ddnn_log_dropped_total",
    "ddnn_audit_trail_dropped",
    "ddnn_exits_total",
    "ddnn_exit_confidence",
    "ddnn_offloads_total",
    "ddnn_uplink_bytes_total",
    "ddnn_uplink_duration_seconds",
    "ddnn_circuit_state",
    "ddnn_shed_total",
    "ddnn_deadline_exceeded_total",
    "ddnn_fusion_contributors",
    "ddnn_fusion_missing_total",
    "ddnn_report_bytes_total",
    "ddnn_doubts",
    "ddnn_doubts_missed_total",
    "ddnn_streams",
    "ddnn_fusion_late_total",
    "ddnn_fusion_lateness_seconds",
    "ddnn_audits_total",
    "ddnn_audit_bytes_total",
    "ddnn_audit_e_value",
    "ddnn_audit_alarm",
    "ddnn_audit_recall",
    "ddnn_audit_class_alarm",
    "ddnn_disagreement",
    "ddnn_exit_share",
    "ddnn_exit_confidence_distance",
    "ddnn_budget_alarm",
    "ddnn_budget_exceeded_total",
    "ddnn_budget_left",
    "ddnn_policy_info",
    "ddnn_build_info",
}


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def answer(exit: Exit, label: int = 1, reason: str = "") -> Answer:
    return Answer(label, np.ones(2, np.float32), exit, 0.75, np.ones(2, np.bool_), 1, degraded_reason=reason)


@pytest.mark.parametrize("host", ["device-0", "edge", "cloud"])
async def test_every_tier_exposes_the_metrics_of_the_conventions(fleet: Fleet, host: str) -> None:
    async with fleet.client(host) as client:
        response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain")
    assert {line.split()[2] for line in response.text.splitlines() if line.startswith("# TYPE ")} == NAMES
    found = samples(response.text)
    identity = dict(next(labels for name, labels in found if name == "ddnn_build_info"))
    assert identity["tier"] == host.split("-")[0]
    assert fleet.bundle.fingerprint.startswith(identity["bundle"])


def test_label_sets_are_there_before_anything_happens() -> None:
    found = samples(Metrics(Exit, range(6)).text().decode())
    zeros = {name for name, value in found.items() if value == 0}
    for reason in ("sure", *get_args(Reason), "no_features", "no_upstream", "gone"):
        for exit in Exit:
            assert ("ddnn_exits_total", (("exit", exit.value), ("reason", reason))) in zeros
    for result in ("ok", *get_args(Reason)):
        assert ("ddnn_offloads_total", (("result", result),)) in zeros
    for device in range(6):
        assert ("ddnn_fusion_missing_total", (("device", str(device)),)) in zeros


def test_reasons_are_those_of_the_uplink() -> None:
    assert set(REASONS) == set(get_args(Reason))


def test_a_row_without_an_answer_is_not_counted_as_one() -> None:
    metrics = Metrics(Exit, range(2))
    for given in (answer(Exit.EDGE), answer(Exit.EDGE, reason="timeout"), answer(Exit.LOCAL, label=-1)):
        metrics.answered(given)
    found = samples(metrics.text().decode())
    counts = {labels: value for (name, labels), value in found.items() if name == "ddnn_exits_total" and value}
    assert counts == {
        (("exit", "edge"), ("reason", "sure")): 1,
        (("exit", "edge"), ("reason", "timeout")): 1,
    }
    assert found["ddnn_exit_confidence_count", (("exit", "edge"),)] == 2


async def test_the_edge_counts_who_was_missing(fleet: Fleet) -> None:
    fleet.use(wait_ms=1)
    await fleet.see(devices=[0, 1, 2, 3], rows=slice(0, 3))
    found = samples(fleet.switch.apps["edge"].state.service.metrics.text().decode())
    assert found["ddnn_fusion_missing_total", (("device", "4"),)] == 3
    assert found["ddnn_fusion_missing_total", (("device", "5"),)] == 3
    assert found["ddnn_fusion_contributors_count", ()] == 3


def test_scrapers_in_a_hurry_get_what_was_made_a_moment_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    now, makes = [0.0], count(1)
    monkeypatch.setattr("ddnn.serving.metrics.monotonic", lambda: now[0])
    monkeypatch.setattr("ddnn.serving.metrics.generate_latest", lambda _: b"%d" % next(makes))
    metrics = Metrics(Exit, ())
    assert [metrics.text() for _ in range(200)][38:42] == [b"39", b"40", b"40", b"40"]
    now[0] += 10  # four a second in the long run
    assert {metrics.text() for _ in range(200)} == {b"%d" % n for n in range(41, 81)}
