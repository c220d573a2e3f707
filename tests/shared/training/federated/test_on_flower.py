"""A federated training on Flower, as far as that needs no Flower; `tests/system/test_flower.py` starts one."""

import json
import tomllib
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ddnn.cli.app import app
from ddnn.cli.flower import server_app
from ddnn.data import load
from ddnn.errors import BadData, BadInput
from ddnn.training import Config
from ddnn.training.federated import Federated, Site, parts_of
from ddnn.training.federated.on_flower import client_app, site_of
from ddnn.training.federated.told import told_of
from federated_sites import Heard, federated, learnt_by, with_tests
from joined_workers import config, furthest

without_flower = pytest.mark.skipif(find_spec("flwr") is not None, reason="Flower is installed here")


class Anew(Heard):
    """Sites that each turn starts anew; all that goes on of one is what it has kept."""

    def __init__(self, makes: Mapping[str, Callable[[], Site]]) -> None:
        super().__init__([make() for make in makes.values()])
        self.makes, self.kept = makes, dict[str, dict[str, bytes]]()

    def work(self, bodies: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        for name, body in bodies.items():
            site = self.makes[name]()
            site.recall(self.kept.get(name, {}))
            yield name, site.work(body)
            self.kept[name] = site.kept()


@pytest.mark.parametrize(
    ("settings", "keeps"),
    [
        (Federated(rounds=3), set()),
        (Federated(rounds=3, method="scaffold", steady=0.5), {"drift", "learnt"}),
        (Federated(rounds=3, method="fedbn"), {"norms"}),
        (Federated(rounds=2, secret=True), {"masks"}),
    ],
    ids=["fedavg", "scaffold", "fedbn", "secret"],
)
def test_sites_that_are_other_processes_each_turn_learn_as_those_that_stay(
    settings: Federated, keeps: set[str]
) -> None:
    wanted, data = config({}, norms="learn", optimizer="adamw", noise=0.05), with_tests()
    parts = parts_of(data, 3, "iid", 3)
    anew = Anew(
        {
            f"site-{at}": partial(Site, f"site-{at}", wanted, data.take(rows), settings, at)
            for at, rows in enumerate(parts)
        }
    )
    stayed, _, _ = federated(settings, wanted, data=data, count=3)
    began, _, _ = learnt_by(anew, settings, wanted, data)
    assert furthest(stayed.state(), began.state()) == 0
    assert [record["loss"] for record in stayed.metrics] == [record["loss"] for record in began.metrics]
    assert {name: each.keys() for name, each in anew.kept.items()} == dict.fromkeys(anew.sites, keeps)


def told() -> dict[str, Any]:
    """What a server with the drawn scenes tells, as it arrives."""
    small = {"device": {"filters": [4]}, "edge": {"widths": [8]}, "cloud": {"widths": [8]}}
    made = told_of(load("synthetic"), Config.of({"network": small}), Federated(), 3)
    arrived: dict[str, Any] = json.loads(json.dumps(made))
    return arrived


def test_a_supernode_is_the_site_that_joins_over_the_network() -> None:
    site = site_of(told(), {"data": "synthetic", "name": "shop-1"})
    assert (site.name, site.trainer.seed) == ("shop-1", 3 + zlib.crc32(b"shop-1"))
    assert site.events == int((load("synthetic").split == "train").sum())


@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ({"name": "shop"}, "expected data, a file of events, and name, of letters, digits, dots, dashes"),
        ({"data": "synthetic", "name": "a/b"}, "and name, of letters"),
        ({"data": "synthetic", "name": "a", "seeds": 1}, r"has seeds=1; expected some of data \(str\)"),
        ({"data": "synthetic", "name": "a", "device": "0"}, r"has device='0'; .*device \(int\)"),
        ({"data": "synthetic", "name": "a", "device": 0}, "averages whole networks, of all devices"),
    ],
)
def test_a_node_config_that_makes_no_site_is_refused(node: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadInput, match=sentence):
        site_of(told(), node)


def test_events_of_another_kind_are_refused() -> None:
    other = told() | {"classes": ["cat", "dog"]}
    with pytest.raises(BadData, match=r"expected .'cat', 'dog'., as the server has"):
        site_of(other, {"data": "synthetic", "name": "a"})


def test_the_app_has_the_words_of_serve_and_is_made_once(tmp_path: Path) -> None:
    words = ["a file.npz", "--out", "shelf", "--sites", "3"]
    made = CliRunner().invoke(app, ["federate", "flower", str(tmp_path / "app"), "--", *words])
    assert made.exit_code == 0, made.output
    wanted = tomllib.loads((tmp_path / "app" / "pyproject.toml").read_text())["tool"]["flwr"]["app"]
    assert wanted["config"] == {"serve": "'a file.npz' --out shelf --sites 3"}
    assert wanted["components"] == {"serverapp": "rounds:server", "clientapp": "rounds:client"}
    compile((tmp_path / "app" / "rounds.py").read_text(), "rounds.py", "exec")
    again = CliRunner().invoke(app, ["federate", "flower", str(tmp_path / "app"), "--", *words])
    assert isinstance(again.exception, BadInput)
    wrong = CliRunner().invoke(
        app, ["federate", "flower", str(tmp_path / "b"), "--", "x.npz", "--out", "y", "--sit", "3"]
    )
    assert wrong.exit_code == 2
    assert not (tmp_path / "b").exists()


def test_what_is_of_a_network_of_our_own_is_refused_on_flower(tmp_path: Path) -> None:
    words = ["federate", "serve", "synthetic", "--out", str(tmp_path / "b"), "--port", "0"]
    error = CliRunner().invoke(app, words, obj=object()).exception
    assert isinstance(error, BadInput)
    assert str(error) == "--port is given, and Flower carries the parcels; expected the options of flower-superlink"


@without_flower
def test_without_the_extra_it_says_what_to_install(tmp_path: Path) -> None:
    sentence = r"a federation on Flower needs flwr, which is not installed.*ddnn\[flower\]"
    for make in (client_app, server_app):
        with pytest.raises(BadInput, match=sentence):
            make()
    words = ["federate", "serve", "synthetic", "--out", str(tmp_path / "b")]
    error = CliRunner().invoke(app, words, obj=object()).exception
    assert isinstance(error, BadInput)
    assert "ddnn[flower]" in str(error)
