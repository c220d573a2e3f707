"""What learning together costs, as it is told before; what a run counts is compared in the tests of the runs."""

import json
import sys

import pytest

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.cli.app import main
from ddnn.training.config import WorkersConfig
from ddnn.training.distributed.analysis import ALL_REDUCE, Link, model_of, network_of, work_of
from ddnn.training.distributed.cost import HEAD, Exchanged, Model, exchanged, served
from ddnn.training.distributed.messages import HEAD_BYTES
from ddnn.training.run import weights_of

MODEL = Model(learning=100, statistics=10, moments=200)


def workers(mode: str, **keys: object) -> WorkersConfig:
    return WorkersConfig.model_validate({"count": 3, "mode": mode, "every": 4, "fetch_every": 3} | keys)


@pytest.mark.parametrize(
    ("mode", "one"),
    [
        ("sync", Exchanged(10, 4400, 4400)),
        ("average", Exchanged(3, 1320, 1320)),
        ("softsync", Exchanged(2 + 6, HEAD + 3 * (HEAD + 440), HEAD + 440 + 3 * (HEAD + 440))),
        ("admm", Exchanged(6, 3 * (HEAD + 440), 3 * (HEAD + 440))),
        ("downpour", Exchanged(3 + 8, 3 * (HEAD + 440) + 4 * HEAD, 4 * (HEAD + 440))),
    ],
)
def test_an_epoch_of_ten_steps_in_each_mode(mode: str, one: Exchanged) -> None:
    assert exchanged(workers(mode), MODEL, 10) == one
    all_three = served(workers(mode), MODEL, 10)
    assert (all_three.messages, all_three.sent, all_three.received) == (
        3 * one.messages,
        3 * one.received,
        3 * one.sent,
    )


def test_the_optimizers_state_goes_with_an_average_that_takes_it() -> None:
    assert exchanged(workers("average", average_optimizer=True), MODEL, 4) == Exchanged(1, 4 * 310, 4 * 310)
    assert HEAD == HEAD_BYTES


def test_topologies_differ_in_latency_and_bytes_as_the_model_says() -> None:
    size, fast, slow = 1e6, Link(0.0, 1e-6), Link(1.0, 0.0)
    seconds = {name: (cost(8, size, fast), cost(8, size, slow)) for name, (_, _, cost) in ALL_REDUCE.items()}
    assert seconds == {
        "server": (16.0, 16.0),
        "tree": (6.0, 6.0),
        "ring": (1.75, 14.0),
        "rabenseifner": (1.75, 6.0),
    }


def test_a_bundles_network_is_counted_with_its_work() -> None:
    bundle = Bundle.open(shipped_bundle())
    network, kept = network_of(bundle), weights_of(bundle)
    model = model_of(network)
    moved = [name for name in kept if name.endswith(("running_mean", "running_var"))]
    assert model.statistics == sum(kept[name].numel() for name in moved)
    assert model.learning == sum(each.numel() for each in network.parameters())
    work = work_of(network, [device.view for device in bundle.topology.devices])
    assert len(work.devices) == 6
    assert len(set(work.devices)) == 1
    assert work.whole == 6 * work.devices[0] + work.edges[0] + work.cloud
    # The edge fuses what six devices give: its first layer alone takes that many products.
    features = bundle.topology.sections[0].features
    assert features is not None
    assert work.edges[0] > 2 * 64 * 6 * features.values
    assert 1 < work.parallelism < work.pipeline <= 8


def test_the_command_prints_each_way_and_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags in ([], ["--json"]):
        monkeypatch.setattr(sys, "argv", ["ddnn", "cost", "mnist5k", "--workers", "3", "--link", "40ms,10mbit", *flags])
        with pytest.raises(SystemExit) as end:
            main()
        assert end.value.code == 0
    table, _, document = capsys.readouterr().out.partition("{")
    rows = json.loads("{" + document)["modes"]
    names = [row["name"] for row in rows]
    assert len(names) == len(set(names)) == 16
    assert all(row["seconds"] > 0 for row in rows)
    assert "downpour" in table


def test_too_few_events_are_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ddnn", "cost", "mnist5k", "--events", "20"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert "there are 20 training events for a batch of 64" in capsys.readouterr().err
