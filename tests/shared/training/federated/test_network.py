"""A federated training over real processes: one site is killed in the middle, one comes late, all over https."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trustme

from ddnn.bundle import Bundle
from ddnn.training.run import METRICS_FILE

pytestmark = [pytest.mark.slow, pytest.mark.long]

TINY = "[network.device]\nfilters = [4]\n[network.edge]\nwidths = [8]\n[network.cloud]\nwidths = [8]\n"
TOKEN = "a-token-of-this-test-alone"
PATIENCE_S = 240.0
LATE = """
import sys, time
from pathlib import Path
import ddnn.training.federated
from ddnn.cli.app import main
gate = Path(sys.argv.pop())
while not gate.exists():
    time.sleep(0.02)
main()
"""
"""A site that has loaded all it needs before it comes, so that it comes while there are rounds."""


@contextmanager
def started(folder: Path, name: str, *words: str, gate: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A `ddnn federate` process, ended in the end; what it says is in a file of its name. It begins at a `gate`."""
    with (folder / name).open("wb") as said:
        environment = {**os.environ, "DDNN_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
        begin, end = (["-c", LATE], [str(gate)]) if gate else (["-m", "ddnn"], [])
        command = [sys.executable, *begin, "federate", *words, *end]
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def waited(folder: Path, name: str, pattern: str) -> re.Match[str]:
    """What a process has said, once it matches."""
    until = time.monotonic() + PATIENCE_S
    while not (match := re.search(pattern, said := (folder / name).read_text())):
        assert "error: " not in said, said
        assert time.monotonic() < until, said
        time.sleep(0.05)
    return match


@pytest.mark.parametrize("more", [[], ["--secret"]], ids=["open", "secret"])
def test_a_killed_site_is_survived_and_one_that_comes_late_takes_part(tmp_path: Path, more: list[str]) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    mine = authority.issue_cert("127.0.0.1")
    mine.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    mine.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    (tmp_path / "tiny.toml").write_text(TINY)
    out = tmp_path / "b"
    tls = ["--certificate", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")]
    wishes = ["--config", str(tmp_path / "tiny.toml"), "--rounds", "8", "--sites", "3", "--silent", "10", "--port", "0"]
    with started(tmp_path, "server", "serve", "synthetic", "--out", str(out), *tls, *wishes, *more) as server:
        url = waited(tmp_path, "server", r"waiting for 3 sites at (\S+)")[1]
        join = ["join", url, "synthetic", "--ca", str(tmp_path / "ca.pem"), "--name"]
        with (
            started(tmp_path, "one", *join, "one") as one,
            started(tmp_path, "two", *join, "two") as two,
            started(tmp_path, "four", *join, "four") as four,
            started(tmp_path, "three", *join, "three", gate=tmp_path / "gate") as three,
        ):
            waited(tmp_path, "one", "round 1: ")
            two.send_signal(signal.SIGKILL)
            (tmp_path / "gate").touch()
            assert server.wait(PATIENCE_S) == 0, (tmp_path / "server").read_text()
            assert (one.wait(60), three.wait(60), four.wait(60)) == (0, 0, 0)
        assert "training is over" in (tmp_path / "three").read_text()
    Bundle.open(out).verify()
    records = [json.loads(line) for line in (out.with_name("b.run") / METRICS_FILE).read_text().splitlines()]
    assert len(records) == 8
    assert any("two" in record["lost"] for record in records)
    assert "two" not in records[-1]["drawn"]
    assert "three" not in records[0]["drawn"]
    assert records[-1]["weights"].keys() == {"one", "three", "four"}
    assert all(sum(record["weights"].values()) == pytest.approx(1) for record in records)


def test_no_token_and_a_parcel_too_large_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    wishes = ["--config", str(tmp_path / "tiny.toml"), "--port", "0"]
    with started(tmp_path, "server", "serve", "synthetic", "--out", str(tmp_path / "b"), *wishes):
        url = waited(tmp_path, "server", r"waiting for 2 sites at (\S+)")[1]
        assert httpx.get(f"{url}/v1/federation").status_code == 401
        known = {"Authorization": f"Bearer {TOKEN}"}
        assert httpx.get(f"{url}/v1/federation", headers=known).json()["classes"][0] == "square"
        assert httpx.put(f"{url}/v1/sites/x", headers=known, content=bytes(10**7)).status_code == 413
        assert httpx.put(f"{url}/v1/sites/x/alive", headers=known).status_code == 404
        assert httpx.get(f"{url}/v1/sites/x/work?after=no", headers=known).status_code == 400
