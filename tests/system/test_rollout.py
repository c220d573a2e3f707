"""A new bundle in a running fleet that nobody notices, and what ends it: an admin, a fault, a proof that fails."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event, Thread
from time import monotonic
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.client import EventAnswer, Fleet, Options
from ddnn.client.admin import Admin
from ddnn.errors import BadInput
from ddnn.fleet.processes import LocalFleet
from ddnn.fleet.rollout import begin
from ddnn.fleet.status import print_statuses, read_statuses
from ddnn.parts import golden_parts
from ddnn.policy import Allowance, Budget, Policy, Thresholds
from ddnn.signing import make_key, read_key
from networks import make_bundle
from real_fleet import ADMIN

PATIENCE_S = 120.0
HASTE = ("--share", "0.5", "--events", "10")
WAIT_MS = 5000.0  #: on a busy machine, a device may take long


def another(
    folder: Path,
    name: str,
    change: Callable[[Path, Policy], Policy] = lambda path, policy: policy,
    of: Path | None = None,
    **differing: object,
) -> Bundle:
    """A bundle, the shipped one by default, under another name, and so with another fingerprint."""
    path = Path(shutil.copytree(of or shipped_bundle(), folder / name))
    opened = Bundle.open(path)
    policy = change(path, opened.policy)
    sealed = Bundle.seal(path, opened.manifest.model_copy(update={"name": name, **differing}))
    policy.model_copy(update={"bundle": sealed.fingerprint}).write(path)
    return Bundle.open(path)


def with_golden_parts(path: Path, policy: Policy) -> Policy:
    """Golden events by tier, as bundles have them that are trained now."""
    opened = Bundle.open(path)
    for name, arrays in golden_parts(opened.topology, opened.golden).items():
        np.savez(path / name, **arrays)  # type: ignore[arg-type]
    return policy


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalFleet]:
    state = tmp_path_factory.mktemp("state")
    with LocalFleet(shipped_bundle(), base_port=0, state=state, env={"DDNN_ADMIN_TOKEN": ADMIN}) as fleet:
        fleet.wait_until_ready(seconds=PATIENCE_S)
        yield fleet


@pytest.fixture
def cloud(fleet: LocalFleet) -> Iterator[Admin]:
    for name in fleet.members:
        fleet.start(name)
    fleet.wait_until_ready(seconds=PATIENCE_S)
    with Admin(fleet.cloud_url, admin_token=ADMIN, timeout_s=60) as cloud:
        if cloud.rollout()["plan"]["stage"] in ("spreading", "canary"):
            cloud.administer("POST", "/v2/rollout/abort")
        until(lambda: len(set(served(fleet).values())) == 1)
        until(lambda: not any(beside(fleet).values()))
        yield cloud


class Watching:
    """Golden events, one after the other, seen by all devices, while something happens."""

    def __init__(self, fleet: LocalFleet, name: str, wait_ms: float | None = WAIT_MS) -> None:
        """Callers wait so long for every device, or as long as the policy says."""
        self._options: Options = (
            {"deadline_ms": 20_000} if wait_ms is None else {"deadline_ms": 20_000, "wait_ms": wait_ms}
        )
        self._golden = Bundle.open(fleet.bundle.path).golden
        self._client, self._name, self._over = Fleet(fleet.device_urls), name, Event()
        self.answers: list[EventAnswer] = []
        self.lost: list[Exception] = []

    def _run(self) -> None:
        while not self._over.is_set():
            number = len(self.answers) + len(self.lost)
            views = [self._golden[f"view_{n}"][number % len(self._golden["y"])] for n in range(6)]
            try:
                self.answers.append(self._client.answer_event(views, event=f"{self._name} {number}", **self._options))
            except Exception as error:
                self.lost.append(error)

    def __enter__(self) -> "Watching":
        self._thread = Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()
        self._client.close()

    def more(self, count: int) -> None:
        """Wait for so many more."""
        had = len(self.answers)
        until(lambda: len(self.answers) >= had + count)


def until(there: Callable[[], object]) -> None:
    limit, pause = monotonic() + PATIENCE_S, Event()
    while not there():
        assert monotonic() < limit
        pause.wait(0.1)


def served(fleet: LocalFleet) -> dict[str, str | None]:
    urls = {name: member.url for name, member in fleet.members.items() if member.running}
    return {tier.name: tier.fingerprint for tier in read_statuses(urls)}


def plan_of(fleet: LocalFleet, name: str) -> dict[str, Any]:
    with Admin(fleet.members[name].url) as tier:
        return tier.rollout()


def beside(fleet: LocalFleet) -> dict[str, str | None]:
    return {name: plan_of(fleet, name)["beside"] for name in fleet.members}


def stage(cloud: Admin) -> str:
    return str(cloud.rollout()["stage"])


def said(fleet: LocalFleet) -> str:
    """What `ddnn status` says."""
    out = io.StringIO()
    print_statuses(read_statuses({name: member.url for name, member in fleet.members.items()}), Console(file=out))
    return out.getvalue()


def whole(watching: Watching) -> None:
    """Nothing was lost, degraded, or fused without a device."""
    assert not watching.lost
    assert {own.degraded_reason for each in watching.answers for own in each.answers if own} == {""}
    assert all(each.devices.all() for each in watching.answers)


@pytest.mark.long
def test_nobody_notices_a_rollout_it_outlives_a_restart_and_can_be_taken_back(
    fleet: LocalFleet, cloud: Admin, tmp_path: Path
) -> None:
    before, new = served(fleet)["cloud"], another(tmp_path, "second", with_golden_parts)
    assert {"golden-device-0.npz", "golden-edge-0.npz"} <= new.manifest.files.keys()
    with Watching(fleet, "rollout") as watching:
        watching.more(10)
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "ddnn",
                *f"rollout start {new.path} --url {fleet.cloud_url}".split(),
                *HASTE,
                "--json",
            ],
            env={**os.environ, "DDNN_ADMIN_TOKEN": ADMIN},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE_S,
        )
        document = json.loads(done.stdout)
        assert (document["stage"], document["bundle"], document["before"]) == ("serving", new.fingerprint, before)
        assert document["figures"]["new"]["answered"] >= 10
        assert "goes to all tiers" in done.stderr  # where no terminal is, a line for each stage
        assert document["problem"] == ""
        until(lambda: set(served(fleet).values()) == {new.fingerprint})
        watching.more(10)
        whole(watching)

        for name in ("device-2", "edge", "cloud"):
            fleet.terminate(name)
            fleet.start(name)
            fleet.wait_until_ready(seconds=PATIENCE_S)
            assert served(fleet)[name] == new.fingerprint

    until(lambda: not any(beside(fleet).values()))
    with Watching(fleet, "back") as watching:
        watching.more(5)
        cloud.administer("POST", "/v2/rollout/back")
        until(lambda: set(served(fleet).values()) == {before})
        watching.more(5)
        assert not watching.lost
        assert not any(each.degraded for each in watching.answers)


@pytest.mark.long
def test_a_tier_that_is_killed_in_the_middle_catches_up(fleet: LocalFleet, cloud: Admin, tmp_path: Path) -> None:
    new = another(tmp_path, "third")
    with Watching(fleet, "killed", wait_ms=None) as watching:
        begin(cloud, new, share=0.5, events=30)
        fleet.members["device-3"].end(signal.SIGKILL)
        until(lambda: stage(cloud) == "canary")  # the others do not wait for it
        fleet.members["edge"].end(signal.SIGKILL)
        fleet.start("edge")
        until(lambda: stage(cloud) == "serving")
        fleet.start("device-3")
        until(lambda: set(served(fleet).values()) == {new.fingerprint} and len(served(fleet)) == 8)
    assert not watching.lost
    with Watching(fleet, "whole again") as watching:
        until(lambda: len(watching.answers) > 1 and watching.answers[-1].devices.all())


@pytest.mark.long
def test_what_does_worse_than_the_old_one_is_taken_back_by_itself(
    fleet: LocalFleet, cloud: Admin, tmp_path: Path
) -> None:
    before = served(fleet)["cloud"]

    def spent(path: Path, policy: Policy) -> Policy:
        never = policy.at(Thresholds(local=0.0, edge=0.0))  # all go up, and may not
        return never.model_copy(update={"budget": Budget(site=Allowance(events=0))})

    worse = another(tmp_path, "worse", spent)
    with Watching(fleet, "worse") as watching:
        begin(cloud, worse, share=0.5, events=1000)
        until(lambda: stage(cloud) == "returned")
        assert "of its answers were degraded" in cloud.rollout()["reason"]
        until(lambda: not any(beside(fleet).values()))
        had = len(watching.answers)
        watching.more(10)
    assert set(served(fleet).values()) == {before}
    assert not watching.lost
    assert not any(each.degraded for each in watching.answers[had + 1 :])


@pytest.mark.long
def test_what_does_not_answer_its_golden_events_answers_no_event(
    fleet: LocalFleet, cloud: Admin, tmp_path: Path
) -> None:
    before = served(fleet)["cloud"]

    def swapped(path: Path, policy: Policy) -> Policy:
        shutil.copyfile(path / "device-1.onnx", path / "device-4.onnx")
        return policy

    broken = another(tmp_path, "broken", swapped)
    begin(cloud, broken, share=1.0, events=10)
    until(lambda: "device-4.onnx" in plan_of(fleet, "device-4")["problem"])
    until(lambda: plan_of(fleet, "edge")["waits_for"] == [4])
    until(lambda: "device-4: device-4.onnx" in cloud.rollout()["problem"])  # told where an admin looks
    assert "it waits: device-4" in said(fleet)
    with Watching(fleet, "broken") as watching:
        watching.more(10)
    whole(watching)
    assert stage(cloud) == "spreading"
    cloud.administer("POST", "/v2/rollout/abort")
    assert cloud.rollout()["problem"] == ""
    until(lambda: not any(beside(fleet).values()))
    until(lambda: "rollout:" not in said(fleet))
    assert set(served(fleet).values()) == {before}


def test_only_an_admin_rolls_out_at_the_cloud_and_one_thing_at_a_time(
    fleet: LocalFleet, cloud: Admin, tmp_path: Path
) -> None:
    new = another(tmp_path, "fourth")
    for admin, says in (
        (Admin(fleet.cloud_url, admin_token="not-the-admin-token"), "not the admin token"),
        (Admin(fleet.edge_urls[0], admin_token=ADMIN), "follows the rollout of"),
    ):
        with admin, pytest.raises(Exception, match=says):
            begin(admin, new)
    other = another(tmp_path, "other classes", classes=tuple("ABCDEFGHIJ"))
    with pytest.raises(Exception, match=r"has other classes than .*; expected the same"):
        begin(cloud, other)
    assert stage(cloud) != "spreading"
    begin(cloud, new, share=0.5, events=1_000_000)
    with pytest.raises(Exception, match="is being rolled out"):
        begin(cloud, new)
    cloud.administer("POST", "/v2/rollout/abort")
    with pytest.raises(Exception, match="nothing is being rolled out"):
        cloud.administer("POST", "/v2/rollout/abort")


@pytest.mark.long
def test_several_edges_of_one_cloud_end_an_event_in_one_bundle(tmp_path: Path) -> None:
    """Each edge joins its devices, the cloud the edges: where they are a poll apart, an event begins anew."""
    old = make_bundle(tmp_path / "old", edges=[[0, 2, 4], [1, 3, 5]])
    never = old.policy.at(Thresholds(local=0.0, edge=0.0))  # all events are the cloud's to join
    never.write(old.path)
    new = another(tmp_path, "new", of=old.path)
    env = {"DDNN_ADMIN_TOKEN": ADMIN, "DDNN_POLICY_POLL_S": "2"}  # long enough that many events begin apart
    with LocalFleet(old.path, base_port=0, state=tmp_path / "state", env=env) as fleet:
        fleet.wait_until_ready(seconds=PATIENCE_S)
        with Admin(fleet.cloud_url, admin_token=ADMIN, timeout_s=60) as cloud, Watching(fleet, "edges") as watching:
            watching.more(5)
            begin(cloud, new, share=0.5, events=10)
            until(lambda: stage(cloud) == "serving")
            assert cloud.rollout()["figures"]["new"]["answered"] >= 10
            until(lambda: set(served(fleet).values()) == {new.fingerprint})
            watching.more(10)
        whole(watching)


@pytest.mark.long
def test_a_signed_bundle_comes_back_by_a_later_word_alone_at_every_tier(tmp_path: Path) -> None:
    """Also while the tiers have it loaded yet, beside what took its place."""
    public = make_key(tmp_path / "operator.pem")
    key = read_key(tmp_path / "operator.pem")
    old = make_bundle(tmp_path / "old", devices=2)
    new = another(tmp_path, "new", of=old.path)
    old.sign(key, 5)
    new.sign(key, 6)
    env = {"DDNN_ADMIN_TOKEN": ADMIN, "DDNN_TRUSTED_KEYS": str(public)}
    with (
        LocalFleet(old.path, base_port=0, state=tmp_path / "state", env=env) as fleet,
        Admin(fleet.cloud_url, admin_token=ADMIN, timeout_s=60) as cloud,
    ):
        fleet.wait_until_ready(seconds=PATIENCE_S)
        begin(cloud, new, share=1.0, events=0)
        until(lambda: set(served(fleet).values()) == {new.fingerprint})
        with pytest.raises(BadInput, match="sign it again"):
            cloud.administer("POST", "/v2/rollout/back")
        with pytest.raises(BadInput, match=r"as of version 5, and .* of version 6, was served here"):
            begin(cloud, old, share=1.0, events=0)
        again = Path(shutil.copytree(old.path, tmp_path / "again"))
        Bundle.open(again).sign(key, 7)
        begin(cloud, Bundle.open(again), share=1.0, events=0)
        until(lambda: set(served(fleet).values()) == {old.fingerprint})
        fleet.terminate("device-1")
        fleet.start("device-1")
        fleet.wait_until_ready(seconds=PATIENCE_S)
        assert served(fleet)["device-1"] == old.fingerprint
