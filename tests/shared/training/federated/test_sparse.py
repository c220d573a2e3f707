"""Sparse sections in a federated training: what does not exist is not sent, and does not come to exist."""

from collections.abc import Iterator, Mapping
from itertools import pairwise

import pytest
import torch

from ddnn.errors import BadInput
from ddnn.training import Config, Trainer
from ddnn.training.federated import Federated, Federation, Simulated, Site, parts_of
from ddnn.training.federated.served import server_data
from ddnn.training.federated.wire import HEAD_BYTES, Parcel
from federated_sites import with_tests

NETWORK = {"device": {"widths": [24], "cut_width": 8}, "edge": {"widths": [40], "cut_width": 8}}
ROUNDS = 4


def test_rounds_send_what_exists_alone_and_the_server_removes_late() -> None:
    wanted = Config.of({"network": NETWORK, "training": {"batch": 16, "sparse": 6.0, "remove": 0.3}})
    data, settings = with_tests(), Federated(rounds=ROUNDS)
    sites = [
        Site(f"site-{at}", wanted, data.take(rows), settings, at) for at, rows in enumerate(parts_of(data, 2, "iid", 3))
    ]
    federation = Federation(Simulated(sites), settings, 3)
    trainer = Trainer(wanted.changed(epochs=ROUNDS, average=0.0), server_data(data), seed=3, exchange=federation)
    sent, missing = list[int](), list[int]()
    while not trainer.over:
        trainer.epoch()
        sent.append(trainer.metrics[-1]["exchanged"]["sent"])
        missing.append(sum(int((tensor == 0).sum()) for name, tensor in trainer.state().items() if ".weight" in name))
    assert missing[0] == missing[2] < missing[3]
    count, rounds = sites[0].vector.count, [after - before for before, after in pairwise(sent)]
    assert all(each < 2 * (HEAD_BYTES + 4 * count) for each in rounds)
    assert rounds[-1] < rounds[0]
    last = 2 * (HEAD_BYTES + -(-count // 8) + 4 * (count - missing[3]))
    assert rounds[-1] == pytest.approx(last, rel=0.05)  # biases may be 0, too


def test_a_sparse_parcel_is_read_back_and_a_broken_one_is_refused() -> None:
    vector = torch.tensor([0.0, 1.5, 0.0, -2.0] + [0.0] * 60)
    body = Parcel(3, vector, 7, 0.5, sparse=True).packed()
    assert len(body) == HEAD_BYTES + 8 + 8
    read = Parcel.unpacked(body, 64)
    assert (read.round, read.events, read.loss) == (3, 7, 0.5)
    assert torch.equal(read.vector, vector)
    whole = torch.arange(1.0, 65.0)
    assert len(Parcel(3, whole, sparse=True).packed()) == HEAD_BYTES + 4 * 64  # all exist: a bit each would be more
    for broken in (body[:-4], body + b"\0" * 4, body[: HEAD_BYTES + 3], body[:HEAD_BYTES] + b"\xff" * 16):
        with pytest.raises(BadInput, match="expected 288, 64 weights"):
            Parcel.unpacked(broken, 64)


def test_a_site_that_sends_what_is_none_is_lost_for_the_round_and_the_others_go_on() -> None:
    wanted, data, settings = Config.of({"network": NETWORK}), with_tests(), Federated(rounds=2)
    sites = [
        Site(f"site-{at}", wanted, data.take(rows), settings, at) for at, rows in enumerate(parts_of(data, 2, "iid", 3))
    ]

    class Lying(Simulated):
        def work(self, bodies: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
            for name, body in super().work(bodies):
                yield name, body[:-4] if name == "site-1" else body

    trainer = Trainer(
        wanted.changed(epochs=2, average=0.0),
        server_data(data),
        seed=3,
        exchange=Federation(Lying(sites), settings, 3),
    )
    while not trainer.over:
        trainer.epoch()
    assert [record["lost"] for record in trainer.metrics] == [["site-1"], ["site-1"]]
