"""Everything a run can set."""

from pathlib import Path

import pytest

from ddnn.errors import BadConfig
from ddnn.training import Config


def test_every_key_has_a_default_and_a_sentence_and_reads_back_as_itself(tmp_path: Path) -> None:
    text = Config().to_toml()
    keys = [line for line in text.splitlines() if " = " in line and not line.startswith("#")]
    sentences = [line for line in text.splitlines() if line.startswith("# ")]
    assert len(keys) == len(sentences) > 30
    assert all(line.endswith(".") for line in sentences)
    (tmp_path / "all.toml").write_text(text)
    assert Config.read(tmp_path / "all.toml") == Config()


def test_a_file_changes_only_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "some.toml").write_text("[network.device]\ncut_filters = 4\n[training]\nepochs = 3\n")
    config = Config.read(tmp_path / "some.toml")
    assert config.network.device.cut_filters == 4
    assert config.network.device.filters == Config().network.device.filters
    assert config.network.edge == Config().network.edge
    assert config.training == Config().training.model_copy(update={"epochs": 3})


def test_flags_override_a_file_and_none_is_no_flag() -> None:
    config = Config.of({"training": {"epochs": 3, "batch": 8}}).changed(epochs=5, batch=None)
    assert (config.training.epochs, config.training.batch) == (5, 8)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[training]\nepoch = 3", "training.epoch is not a key"),
        ("[network.device]\nfilter = [3]", "network.device.filter is not a key"),
        ("[trainings]", "trainings is not a key"),
        ("[training]\nepochs = '3'", "training.epochs is '3'"),
        ("[training]\nepochs = 2.5", "training.epochs is 2.5"),
        ("[training]\nepochs = 0", "training.epochs is 0"),
        ("[training]\nlearning_rate = nan", "training.learning_rate"),
        ("[training]\ndevice_dropout = 1.0", "training.device_dropout is 1.0"),
        ("[training]\nshift = 1979-05-27", "training.shift is '1979-05-27'"),
        ("[network]\nedges = 'two'", "network.edges is 'two'"),
        ("[network]\nblocks = 'ternary'", "network.blocks is 'ternary'"),
        ("[network]\ndevice = 3", r"network.device is 3; expected a table \[network.device\]"),
        ("[network.cloud]\nfilters = []", "network.cloud.filters"),
        ("training", "is not valid TOML"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "wrong.toml").write_text(text)
    with pytest.raises(BadConfig, match=sentence):
        Config.read(tmp_path / "wrong.toml")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match=r"none\.toml cannot be read"):
        Config.read(tmp_path / "none.toml")


def test_every_key_is_shown_with_its_sentence() -> None:
    lines = Config().to_toml().splitlines()
    keys = [place for place, line in enumerate(lines) if " = " in line and not line.startswith("#")]
    assert len(keys) > 60
    assert all(lines[place - 1].startswith("# ") and lines[place - 1] != "# None" for place in keys)
