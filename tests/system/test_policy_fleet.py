"""Policies swapped under load in a real fleet: every answer is what the version it names says, and none is missing."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from time import monotonic, sleep
from typing import Any

import numpy as np
from typer.testing import CliRunner, Result

from ddnn.bundle import Bundle
from ddnn.cli.app import app
from ddnn.client import Client
from ddnn.client.admin import Admin
from ddnn.errors import BadInput, Forbidden
from ddnn.fleet.processes import LocalFleet
from ddnn.policy import Policy, Thresholds
from ddnn.task import entropy, probabilities
from ddnn.types import Answer, Exit, Floats
from real_fleet import ADMIN, PATIENCE_S, Sensors, follow

ROWS = slice(0, 32)
TIE = 1e-4
"""Criteria this near to a threshold may be rounded to either side."""
MIXTURES = [(0.0, 0.7, 0.0), (0.1, 0.2, 0.5), (0.0, 0.0, 0.8), (0.0, 0.4, 0.4), (0.3, 0.0, 0.0)]
"""Shares of the events that would leave at the device, the local and the edge exit."""


class Versions:
    """What every version that was in force says of the golden events."""

    def __init__(self, bundle: Bundle) -> None:
        self.policies: dict[int, Policy] = {}
        golden = bundle.golden
        self._scores: dict[Exit, Floats] = {exit: golden[f"{exit}_scores"][ROWS] for exit in Exit}
        self._unsure = {exit: entropy(probabilities(scores)) for exit, scores in self._scores.items()}

    def mixture(self, base: Policy, device: float, local: float, edge: float) -> Policy:
        """`base` with thresholds that so many of the events are below."""

        def below(values: Floats, share: float) -> float:
            return float(np.quantile(values, share)) if share else 0.0

        unsure = self._unsure
        thresholds = Thresholds(
            device=below(unsure[Exit.DEVICE].min(axis=1), device),
            local=below(unsure[Exit.LOCAL], local),
            edge=below(unsure[Exit.EDGE], edge),
        )
        return base.model_copy(update={"thresholds": thresholds})

    def check(self, row: int, answer: Answer) -> None:
        """The label is that exit's; the exit was sure under the version, and those of its tier before it were not."""
        assert not answer.degraded, answer
        thresholds = self.policies[answer.policy_version].thresholds
        scores, unsure = self._scores[answer.exit][row], self._unsure[answer.exit][row]
        if answer.exit is Exit.DEVICE:
            (device,) = np.flatnonzero(answer.devices)
            scores, unsure = scores[device], unsure[device]
        assert answer.label == scores.argmax()
        if answer.exit is not Exit.CLOUD:
            assert unsure.item() < thresholds.of(answer.exit) + TIE
        if answer.exit is Exit.EDGE:
            assert self._unsure[Exit.LOCAL][row].item() > thresholds.local - TIE


def apply(source: Admin, versions: Versions, policy: Policy) -> dict[str, Any]:
    """Write a policy; it is known before an answer can name it."""
    now = source.read_policy()
    versions.policies[now.version + 1] = policy
    return source.write_policy(policy, over=now)


def test_policies_are_swapped_under_load_taken_back_kept_and_need_no_cloud(
    served: LocalFleet, sensors: Sensors, source: Admin, every_exit: Bundle
) -> None:
    versions, over = Versions(every_exit), Event()
    first = source.read_policy()
    versions.policies[first.version] = first
    answers: list[tuple[int, Answer]] = []

    def load(name: str) -> None:
        """See the golden events again and again; each device's answer by its row."""
        watching = Sensors(every_exit, served, name)
        while not over.is_set():
            for row, event in enumerate(watching.see(ROWS)):
                answers.extend((row, answer) for answer in event.answers if answer is not None)
        watching.client.close()

    with ThreadPoolExecutor(2) as threads:
        clients = [threads.submit(load, name) for name in ("one ", "two ")]
        until, swaps = monotonic() + PATIENCE_S, 0
        try:
            # On a busy machine a version may come and go before anybody asks: until all exits have answered. In whole
            # rounds, as the last but one stays, and under some of the others a device that is sure answers alone.
            while (
                not swaps
                or swaps % len(MIXTURES)
                or ({answer.exit for _, answer in answers} < set(Exit) and monotonic() < until)
            ):
                apply(source, versions, versions.mixture(first, *MIXTURES[swaps % len(MIXTURES)]))
                swaps += 1
                sleep(0.3)
            last = source.read_policy()
            versions.policies[last.version + 1] = versions.policies[last.version - 1]
            back = source.roll_back_policy(over=last)
            follow(served, back["etag"])
        finally:
            over.set()
        for client in clients:
            client.result(timeout=PATIENCE_S)
    assert back["version"] == first.version + swaps + 1
    for row, answer in answers:
        versions.check(row, answer)
    assert len({answer.policy_version for _, answer in answers}) > 2
    assert {answer.exit for _, answer in answers} == set(Exit)

    final = source.read_policy()
    (known,) = {event.policy_version for event in sensors.see(ROWS)}
    assert known == final.version == back["version"]

    for name in ("edge", "cloud"):
        served.kill(name)
    served.start("edge")  # alone, with what it kept
    until = monotonic() + PATIENCE_S
    with Client(served.edge_urls[0]) as edge:
        while not edge.ready():
            assert monotonic() < until
        said = edge.status()["policy"]
        assert (said["etag"], said["source"]) == (final.etag, "state")
    for row, event in enumerate(sensors.see(ROWS, deadline_ms=5000)):
        assert event.policy_version == final.version, row
    served.start("cloud")
    served.wait_until_ready(seconds=120)
    assert source.read_policy() == final
    sensors.until_whole()


def test_the_command_line_compares_tries_changes_and_takes_back(
    served: LocalFleet, source: Admin, sensors: Sensors, tmp_path: Path
) -> None:
    urls = [argument for member in served.members.values() for argument in ("--url", member.url)]

    def ddnn(*arguments: str, admin: str | None = ADMIN) -> Result:
        env = {"DDNN_ADMIN_TOKEN": admin, "DDNN_TOKEN": None}
        return CliRunner().invoke(app, ["policy", *arguments, *urls, "--json"], env=env)

    def told(result: Result) -> dict[str, Any]:
        assert result.exit_code == 0, (result.output, result.exception)
        document: dict[str, Any] = json.loads(result.stdout)
        return document

    sensors.see(ROWS)
    shown = told(ddnn("show"))
    running = source.read_policy()
    assert shown["policy"] == running.model_dump(mode="json")
    assert {tier["etag"] for tier in shown["tiers"]} == {running.etag} == {shown["etag"]}

    file = tmp_path / "policy.json"
    file.write_text(json.dumps(shown))  # what `show --json` prints may be edited and applied
    assert told(ddnn("diff", str(file)))["differences"] == []
    assert "applied" not in told(ddnn("apply", str(file)))
    change = {"thresholds": {**shown["policy"]["thresholds"], "local": 0.0}}
    file.write_text(json.dumps({**shown["policy"], **change}))
    (difference,) = told(ddnn("diff", str(file)))["differences"]
    assert difference == {"key": "thresholds.local", "running": running.thresholds.local, "proposed": 0.0}

    tried = told(ddnn("apply", str(file), "--dry-run"))["dry_run"]
    assert tried["events"] > 0
    assert tried["after"]["share"]["local"] == 0 < tried["before"]["share"]["local"]
    assert "recorded decisions" in tried["says"]
    assert source.read_policy() == running

    for given, error in (("guessed", Forbidden), (None, Forbidden)):
        refused = ddnn("apply", str(file), admin=given)
        assert isinstance(refused.exception, error), refused.output
    applied = told(ddnn("apply", str(file)))
    assert (applied["applied"]["version"], applied["applied"]["kept"]) == (running.version + 1, True)
    assert set(applied["followed"]) == {member.url for member in served.members.values()}
    assert all(applied["followed"].values())
    back = told(ddnn("rollback"))
    assert back["applied"]["version"] == running.version + 2
    assert source.read_policy() == running.model_copy(update={"version": running.version + 2})

    for content, words in (("{", "not valid JSON"), ("[]", "not a JSON object"), ('{"bundle": 7}', "bundle is 7")):
        file.write_text(content)
        refused = ddnn("diff", str(file))
        assert isinstance(refused.exception, BadInput)
        assert words in str(refused.exception)
    file.write_text(json.dumps({**shown["policy"], "checksum": "0" * 64}))
    assert "was changed after it was written" in str(ddnn("diff", str(file)).exception)
    # Without the cloud, what is in force can be read and not changed.
    below = told(CliRunner().invoke(app, ["policy", "show", "--json", "--url", served.edge_urls[0]]))
    assert below["policy"] == source.read_policy().model_dump(mode="json")
    refused = CliRunner().invoke(app, ["policy", "rollback", "--url", served.edge_urls[0]])
    assert "expected the cloud among them" in str(refused.exception)


def test_the_command_line_sets_a_budget_that_a_running_fleet_keeps(
    served: LocalFleet, source: Admin, sensors: Sensors
) -> None:
    urls = [argument for member in served.members.values() for argument in ("--url", member.url)]

    def budget(*arguments: str) -> Result:
        env = {"DDNN_ADMIN_TOKEN": ADMIN, "DDNN_TOKEN": None}
        return CliRunner().invoke(app, ["policy", "budget", *arguments, *urls], env=env)

    assert budget("--site", "events=12", "--device", "bytes=1e6", "--burst-s", "20").exit_code == 0
    assert source.read_policy().budget.model_dump(exclude_none=True) == {
        "site": {"events": 12.0},
        "device": {"bytes": 1e6},
        "burst_s": 20.0,
    }
    answers = [answer for event in sensors.see(ROWS, threshold=0.0) for answer in event.answers if answer]
    assert {answer.degraded_reason for answer in answers} >= {"budget"}
    with Client(served.edge_urls[0]) as edge:
        assert edge.status()["budget"]["site"]["alarm"]
    shown = budget()
    assert (shown.exit_code, "12" in shown.stdout, "1e+06" in shown.stdout) == (0, True, True)
    for wrong in ("event=3", "events=many", "events"):
        refused = budget("--site", wrong)
        assert isinstance(refused.exception, BadInput)
        assert f"--site {wrong!r}" in str(refused.exception)
    assert budget("--site", "events=none", "--device", "bytes=none").exit_code == 0
    sensors.until_whole()
