"""Split training over a network: a real port, https, a token; and real processes of which one is killed."""

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import trustme

from ddnn.bundle import Bundle
from ddnn.errors import BadData, BadInput, Unauthorized
from ddnn.training import Trainer
from ddnn.training.federated.served import server_data
from ddnn.training.run import METRICS_FILE
from ddnn.training.split import Networked, Split, Visitor, told_of
from ddnn.training.split.served import largest_answer
from joined_workers import config, furthest
from shared.training.split.test_split import Heard, devices_of, events, learnt

TOKEN = "a-token-of-this-test-alone"
PATIENCE_S = 240.0
TINY = "[network.device]\nfilters = [4]\n[network.edge]\nwidths = [8]\n[network.cloud]\nwidths = [8]\n"


@pytest.fixture
def authority(tmp_path: Path) -> trustme.CA:
    made = trustme.CA()
    made.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    mine = made.issue_cert("127.0.0.1")
    mine.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    mine.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    return made


@contextmanager
def listening(tmp_path: Path, **wishes: Any) -> Iterator[tuple[Networked, str]]:
    wanted, data = config({}), events()
    there = Networked(told_of(data, wanted, 5), count=2, largest=largest_answer(data, wanted), token=TOKEN, **wishes)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    there.start("127.0.0.1", 0, context)
    try:
        yield there, f"https://127.0.0.1:{there.port}"
    finally:
        there.stop()


def test_over_https_the_same_is_learnt_as_in_a_simulation(tmp_path: Path, authority: trustme.CA) -> None:
    wanted, data = config({}), events()

    def be(url: str, index: int) -> None:
        with Visitor(url, index, token=TOKEN, authority=str(tmp_path / "ca.pem")) as visitor:
            visitor.stay(data, print)

    with listening(tmp_path) as (there, url):
        trainer = Trainer(wanted, server_data(data), seed=5, exchange=Split(there, data))
        threads = [threading.Thread(target=be, args=(url, index), daemon=True) for index in range(2)]
        for index, thread in enumerate(threads):
            thread.start()
            until = time.monotonic() + PATIENCE_S
            while index not in there._living():  # one by one: first weights come from the one chance of this process
                assert time.monotonic() < until
                time.sleep(0.01)
        while not trainer.over:
            trainer.epoch()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()  # they have heard that it is over
    assert furthest(trainer.state(), learnt(data, wanted, Heard(devices_of(data, wanted))).state()) < 1e-6


def test_who_has_no_token_is_no_device_or_has_other_events_is_refused(tmp_path: Path, authority: trustme.CA) -> None:
    data, ca = events(), str(tmp_path / "ca.pem")
    with listening(tmp_path) as (_, url):
        with pytest.raises(Unauthorized):
            Visitor(url, 0, authority=ca)
        with (
            pytest.raises(BadInput, match="expected one below 2"),
            Visitor(url, 2, token=TOKEN, authority=ca) as third,
        ):
            third.stay(data, print)
        with (
            pytest.raises(BadData, match="expected 160, in the order of the server's labels"),
            Visitor(url, 0, token=TOKEN, authority=ca) as first,
        ):
            first.stay(data.take(np.arange(20)), print)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=headers, verify=ssl.create_default_context(cafile=ca)) as client:
            assert client.post("/v1/devices/0/turn").status_code == 404
            assert client.put("/v1/devices/0", headers={"DDNN-Device": "one"}).status_code == 204
            assert client.put("/v1/devices/0", headers={"DDNN-Device": "another"}).status_code == 409
            assert client.post("/v1/devices/0/turn", headers={"DDNN-Device": "another"}).status_code == 404
            assert client.get("/v1/split", headers={b"Authorization": b"Bearer \xff\xfe"}).status_code == 401
            assert client.post("/v1/devices/0/turn", headers={b"DDNN-Device": b"\xff\xfe"}).status_code == 404
            assert client.post("/v1/devices/0/turn", content=b"x" * 10**6).status_code in (404, 413)


@contextmanager
def started(folder: Path, name: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A `ddnn split` process, ended in the end; what it says is in a file of its name."""
    with (folder / name).open("wb") as said:
        environment = {**os.environ, "DDNN_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
        process = subprocess.Popen(
            [sys.executable, "-m", "ddnn", "split", *words], stdout=said, stderr=said, env=environment
        )
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


@pytest.mark.slow
@pytest.mark.long
def test_a_killed_device_is_survived_and_comes_back(tmp_path: Path, authority: trustme.CA) -> None:
    (tmp_path / "tiny.toml").write_text(TINY)
    out, tls = tmp_path / "b", ["--certificate", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")]
    wishes = ["--config", str(tmp_path / "tiny.toml"), "--epochs", "80", "--silent", "2", "--port", "0"]
    with started(tmp_path, "server", "serve", "synthetic", "--out", str(out), *tls, *wishes) as server:
        url = waited(tmp_path, "server", r"waiting for 6 devices at (\S+)")[1]

        def join(index: int, name: str) -> Any:
            return started(
                tmp_path, name, "join", url, "synthetic", "--ca", str(tmp_path / "ca.pem"), "--index", f"{index}"
            )

        with join(0, "0"), join(1, "1"), join(2, "2"), join(3, "3"), join(4, "4"), join(5, "5") as fifth:
            waited(tmp_path, "server", "epoch 3 of")
            fifth.send_signal(signal.SIGKILL)
            fifth.wait(30)
            before = len(re.findall("epoch ", (tmp_path / "server").read_text()))
            waited(tmp_path, "server", f"epoch {before + 3} of")
            with join(5, "5 again") as again:
                waited(tmp_path, "5 again", "device 5 is there")
                assert server.wait(PATIENCE_S) == 0
                assert again.wait(60) == 0
    lines = (Path(f"{out}.run") / METRICS_FILE).read_text().splitlines()
    lost = [record["lost"] for record in map(json.loads, lines)]
    assert [5] in lost
    assert lost[-1] == []
    assert Bundle.open(out).manifest.training.data["workers"]["mode"] == "split"
