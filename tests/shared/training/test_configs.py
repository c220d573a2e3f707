"""The packaged configs: the paper's topologies, its blocks and its training, by name."""

import sys
import tomllib
from pathlib import Path

import pytest

from ddnn.bundle import Bundle
from ddnn.cli.app import main
from ddnn.configs import config_file, packaged_configs
from ddnn.data import load
from ddnn.errors import BadConfig
from ddnn.network import DDNN, Plan
from ddnn.network.sections import Blocks
from ddnn.topology import View
from ddnn.training import Config
from ddnn.types import Tier
from networks import TOPOLOGIES

CAMERAS = [View(shape=(3, 32, 32), dtype="FP32")] * 6


def train(monkeypatch: pytest.MonkeyPatch, out: Path, *configs: str) -> None:
    """`ddnn train synthetic`, with these configs in turn."""
    named = [word for config in configs for word in ("--config", config)]
    monkeypatch.setattr(sys, "argv", ["ddnn", "train", "synthetic", "--no-yardstick", "--out", str(out), *named])
    with pytest.raises(SystemExit):
        main()


def paper(**device: object) -> DDNN:
    """The paper's network on its own data's shapes, with other keys for the devices."""
    config = Config.read(config_file("paper")).model_dump(mode="json")
    config["network"]["device"].update(device)
    return DDNN(Plan.of(Config.of(config).network, CAMERAS, 3))


def parameters(network: DDNN, under: str = "") -> int:
    """Weights to learn, but for the tokens of absent devices, which the paper does not have."""
    return sum(
        weight.numel()
        for name, weight in network.named_parameters()
        if name.startswith(under) and not name.endswith("absent")
    )


def test_every_packaged_config_can_be_read() -> None:
    assert [name for name in packaged_configs() if len(name) == 1] == list("abcdef")
    for file in packaged_configs().values():
        Config.read(file)


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_a_topology_file_has_only_the_keys_that_make_it(name: str) -> None:
    over_views = {"cloud": {"flat": False}} if name == "a" else {}
    assert tomllib.loads(config_file(name).read_text()) == {"network": TOPOLOGIES[name] | over_views}


def test_the_papers_network_has_the_papers_parameters() -> None:
    network = paper()
    assert [parameters(network, f"devices.{device}.") for device in range(6)] == [3_201] * 6
    assert parameters(network, "cloud.") == 18_153
    assert parameters(network) == 37_359


@pytest.mark.parametrize(("filters", "values"), [([4], 256), ([4, 4], 64)])
def test_the_papers_features_are_the_bits_of_its_last_convp_block(filters: list[int], values: int) -> None:
    network = paper(filters=filters)
    features, device, cloud = network.topology.features(Tier.DEVICE), network.devices[0], network.cloud
    assert features is not None
    assert isinstance(device, Blocks)
    assert isinstance(cloud, Blocks)
    cut = features.shape
    assert (cut[0], cut[1] * cut[2]) == (4, values)
    assert device.fork.tail is None
    layers = [type(layer).__name__ for layer in device.trunk]
    convp = ["BinaryConv2d", "MaxPool2d", "BatchNorm2d", "Sign"]
    assert layers == (convp * len(filters))[:-1]
    assert [type(layer).__name__ for layer in cloud.trunk] == convp * 2
    assert cloud.trunk.shape == (16, *cut[1:])


def test_later_configs_win_and_leave_the_others_keys(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text("[network]\nedges = [[0, 2], [1]]\n[training]\nepochs = 3\n")
    config = Config.read(config_file("paper"), config_file("f"), mine)
    assert (config.network.blocks, config.network.edges, config.training.epochs) == ("binary", ((0, 2), (1,)), 3)
    assert (config.training.batch, config.training.schedule) == (700, "constant")
    assert Config.read(mine, config_file("f")).network.edges == 2
    assert Config.read() == Config()


def test_a_name_is_a_packaged_config_and_a_path_is_a_file(tmp_path: Path) -> None:
    assert config_file("mine.toml") == Path("mine.toml")
    assert config_file(str(tmp_path / "a")) == tmp_path / "a"
    with pytest.raises(BadConfig, match=r"config g is none of the packaged ones \(a, b, c, d, e, f, .*paper\); a file"):
        config_file("g")


def test_a_network_of_some_devices_is_trained_on_those_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, out = tmp_path / "mine.toml", tmp_path / "one"
    mine.write_text("[network]\ndevices = [4]\n[training]\nepochs = 1\n")
    train(monkeypatch, out, "paper", str(mine))
    assert out.is_dir(), capsys.readouterr().err
    bundle = Bundle.open(out)
    assert len(bundle.topology.devices) == 1
    assert bundle.manifest.training.data["source"]["devices"] == [4]
    wanted = load("synthetic").views[4][bundle.golden["index"]]
    assert (bundle.golden["view_0"] == wanted).all()


def test_a_network_over_raw_views_is_trained_and_evaluated_without_thresholds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine, out = tmp_path / "mine.toml", tmp_path / "raw"
    mine.write_text("[network.cloud]\nfilters = [4]\ncut_bits = 72\n[training]\nepochs = 1\n")
    train(monkeypatch, out, "a", str(mine))
    assert out.is_dir(), capsys.readouterr().err
    bundle = Bundle.open(out)
    assert bundle.policy.tuned is None
    assert bundle.manifest.training.test["overall"]["exit_share"]["cloud"] == 1


def test_the_command_takes_several_and_tells_which_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for names, code in ((("paper", "d"), 0), (("paper", "nonsense"), 2)):
        monkeypatch.setattr(sys, "argv", ["ddnn", "train", "--show-config", *(f"--config={name}" for name in names)])
        with pytest.raises(SystemExit) as end:
            main()
        assert (end.value.code or 0) == code
    printed = capsys.readouterr()
    shown = Config.of(tomllib.loads(printed.out))
    assert (shown.network.blocks, shown.network.devices, shown.network.edge_section) == ("binary", (0,), False)
    assert "nonsense is none of the packaged ones (a, b, c, d, e, f, " in printed.err
