"""The study file."""

from pathlib import Path
from typing import Any

import pytest

from ddnn.errors import BadConfig
from ddnn_lab.studies.study import PARTS, UNUSUAL, Changes, Study, study_file

STUDIES = study_file("quick").parent
LEAST: dict[str, Any] = {"name": "a study", "data": "synthetic"}


@pytest.mark.parametrize("file", sorted(STUDIES.glob("*.toml")), ids=lambda file: file.stem)
def test_every_study_of_ours_can_be_read_and_has_a_recipe(file: Path) -> None:
    study = Study.read(file)
    assert study.recipe().training.epochs >= 1
    assert study.quick().recipe().training.epochs == 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"sedes": [1]}, "study: sedes is not a key of a study; shared/docs/bench.md lists them"),
        ({"seeds": "0"}, "study: seeds is '0'"),
        ({"seeds": []}, "study: seeds is"),
        ({"run": ["joint", "all"]}, "study: run.1 is 'all'"),
        ({"parts": {"without": {"epochs": 3}}}, "study: parts.without.epochs is not a key"),
        ({"folds": [[1]]}, "folds are given without group_by"),
        ({"folds": [[]], "group_by": "g"}, "study: folds.0 is []"),
        ({"seeds": [0, 1, 0]}, "study: seeds has 0 twice; expected each once"),
        ({"ablations": [{"name": "a"}, {"name": "a"}]}, "study: ablations has 'a' twice"),
        ({"data": None}, "study: data is None"),
    ],
)
def test_a_wrong_key_is_one_sentence_that_names_it(change: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadConfig) as caught:
        Study.of({**LEAST, **change})
    assert sentence in str(caught.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(BadConfig, match="study: data is missing"):
        Study.of({"name": "a study"})


def test_configs_are_merged_in_order_and_the_study_itself_comes_last(tmp_path: Path) -> None:
    (tmp_path / "own.toml").write_text("[training]\nepochs = 7\nbatch = 9\n")
    (tmp_path / "study.toml").write_text(
        'name = "s"\ndata = "synthetic"\nconfig = ["paper", "own.toml"]\n[training]\nbatch = 5\n'
    )
    recipe = Study.read(tmp_path / "study.toml").recipe(Changes(training={"shift": 0.5}))
    assert recipe.network.blocks == "binary"
    assert (recipe.training.epochs, recipe.training.batch, recipe.training.shift) == (7, 5, 0.5)


def test_a_wrong_key_of_the_training_config_is_found_when_the_study_is_read(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('name = "s"\ndata = "synthetic"\n[training]\nepoch = 5\n')
    with pytest.raises(BadConfig, match=r"training\.epoch is not a key"):
        Study.read(tmp_path / "study.toml")


def test_a_file_that_is_not_there_or_no_toml_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="cannot be read"):
        Study.read(tmp_path / "none.toml")
    (tmp_path / "study.toml").write_text("name =")
    with pytest.raises(BadConfig, match="not valid TOML"):
        Study.read(tmp_path / "study.toml")


def test_the_command_line_goes_before_the_file() -> None:
    study = Study.of({**LEAST, "seeds": [0, 1]})
    assert study.asked() == study
    asked = study.asked(data="other.npz", seeds=[4], only=["uncut"])
    assert (asked.data, asked.seeds, asked.run) == ("other.npz", (4,), ("uncut",))
    with pytest.raises(BadConfig, match=r"run\.0 is 'everything'"):
        study.asked(only=["everything"])


def test_a_quick_look_is_small_and_leaves_out_no_part() -> None:
    study = Study.of({**LEAST, "parts": {"without": {"seeds": [3, 4], "training": {"epochs": 50}}}}).quick()
    assert study.seeds == (0,)
    assert study.run == tuple(part for part in PARTS if part not in UNUSUAL)
    assert study.recipe(study.settings("without")).training.epochs == 1


def test_every_key_flag_and_part_is_in_the_docs() -> None:
    page = (STUDIES.parents[2] / "docs" / "bench.md").read_text()
    for key in Study.model_fields:
        assert f"`{key}`" in page, key
    for part in PARTS:
        assert f"| `{part}` |" in page, part
    for name in ("data", "out", "seeds", "only", "workers", "quick", "report-only", "json"):
        assert f"`--{name}" in page, name
