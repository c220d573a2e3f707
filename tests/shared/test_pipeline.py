"""From data to a tuned bundle, sealed once."""

import doctest
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

import ddnn.bundle
import ddnn.pipeline
import ddnn.seal
import ddnn.training.trainer
from ddnn.bundle import WEIGHTS_FILE, Bundle
from ddnn.errors import BadConfig, BadInput
from ddnn.evaluation.sent import sent, sent_lines
from ddnn.export import sample_data
from ddnn.pipeline import finish_bundle, make_bundle
from ddnn.training import Config, Run, initial_network
from ddnn.training.run import weights_of
from ddnn.types import Exit

SMALL = Config.of(
    {
        "network": {
            "device": {"widths": [4], "cut_width": 8},
            "edge": {"widths": [4], "cut_width": 8},
            "cloud": {"widths": [4]},
        },
        "training": {"epochs": 1},
    }
)


@pytest.mark.parametrize(("events", "tuned"), [(60, False), (900, True)])
def test_with_few_events_to_tune_by_exits_answer_with_care(tmp_path: Path, events: int, tuned: bool) -> None:
    data, sentences = sample_data([(5,)] * 2, events=events), list[str]()
    network = initial_network(SMALL, data, 0)
    bundle = finish_bundle(network, data, tmp_path / "b", golden_events=10, yardstick=False, say=sentences.append)
    thresholds = bundle.policy.thresholds
    if tuned:
        assert bundle.policy.tuned is not None
        assert [sentence.startswith("No event goes up to") for sentence in sentences] == [True] * len(sentences)
    else:
        assert bundle.policy.tuned is None
        assert max(thresholds.local, thresholds.edge) > 0
        assert sentences[0].startswith("not tuned, careful thresholds instead (")


@pytest.mark.parametrize(
    ("events", "classes", "offset", "codec"),
    [
        (900, 3, 0, "float16"),
        (60, 3, 0, "float16"),
        (60, 12, 0, "sqrt8"),
        (900, 3, 200, "sqrt8"),
        (9000, 3, 200, "float32"),
    ],
)
def test_scores_go_up_in_the_fewest_bits_that_change_no_decision(
    tmp_path: Path, events: int, classes: int, offset: int, codec: str
) -> None:
    data, sentences = sample_data([(5,)] * 2, events=events, classes=classes), list[str]()
    network = initial_network(SMALL, data, 0)
    with torch.no_grad():  # near 200, half precision has eighths
        for module in network.devices.modules():
            if isinstance(module, torch.nn.Linear) and module.out_features == len(data.classes):
                module.bias.add_(offset)
    made = finish_bundle(network, data, tmp_path / "b", golden_events=10, yardstick=False, say=sentences.append)
    bundle = Bundle.open(made.path)
    scores, features, up = bundle.manifest.training.test["sent"]
    assert bundle.topology.score_codec(Exit.DEVICE).name == scores["codec"] == codec
    assert len(sentences) == len(set(sentences))
    assert sent_lines([scores, features, up]) == [
        f"device → edge: scores, {scores['bits']} bits a number, {scores['bytes'][0]} bytes;"
        " when asked for, features, 1 bit a number, 1 byte (a raw view has 20)",
        "edge → cloud: features, 1 bit a number, 1 byte (the raw views have 40)",
    ]
    assert scores["bytes"] == [classes * scores["bits"] // 8 + 4 * (codec == "sqrt8")] * 2


def test_a_view_that_goes_up_itself_is_said_to(tmp_path: Path) -> None:
    passing = {"flat": True, "pass_on": True, "cut_codec": "float16", "widths": [4]}
    config = Config.of({"network": {"device": passing, "edge": passing, "cloud": {"flat": True, "widths": [4]}}})
    data = sample_data([(5,)] * 2, events=60)
    made = finish_bundle(initial_network(config, data, 0), data, tmp_path / "b", config=config, yardstick=False)
    assert [line.split("; ")[-1] for line in sent_lines(sent(made))] == [
        "when asked for, the view itself, 16 bits a number, 10 bytes (a raw view has 20)",
        "edge → cloud: what its devices send, 16 bits a number, 20 bytes (the raw views have 40)",
    ]


def test_a_bundle_is_sealed_once_and_is_what_is_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed, sealed, sha256 = Counter[str](), Counter[str](), ddnn.bundle._sha256

    def count(file: Path) -> str:
        hashed[file.name] += 1
        return sha256(file)

    def written(path: Path, *rest: object) -> None:
        sealed[path.name] += 1
        write(path, *rest)  # type: ignore[arg-type]

    write = ddnn.seal.write_atomically
    monkeypatch.setattr(ddnn.bundle, "_sha256", count)
    monkeypatch.setattr(ddnn.seal, "write_atomically", written)
    data = sample_data([(5,)] * 2, events=900)
    made = make_bundle(data, SMALL, tmp_path / "b", golden_events=10, yardstick=False)
    assert hashed == dict.fromkeys(made.manifest.files, 1)
    assert sealed == {"manifest.json": 1, "policy.json": 1}
    opened = Bundle.open(tmp_path / "b")
    opened.verify()
    assert (opened.path, opened.manifest, opened.policy) == (made.path, made.manifest, made.policy)
    assert made.policy.tuned is not None
    assert json.loads((made.path / "manifest.json").read_text())["training"]["test"]["overall"]["accuracy"] > 0.3


def test_a_bundle_goes_on_from_another_ones_weights(tmp_path: Path) -> None:
    data, more = (sample_data([(5,)] * 2, events=120, seed=seed) for seed in (0, 1))
    first = make_bundle(data, SMALL, tmp_path / "first", golden_events=10, yardstick=False)
    second = make_bundle(
        more, None, tmp_path / "second", initial=first, freeze=["device"], golden_events=10, yardstick=False
    )
    assert second.manifest.training.config == first.manifest.training.config
    assert second.manifest.training.data["initial"] == first.fingerprint
    before, after = weights_of(first), weights_of(second)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not [name for name in moved if name.startswith("devices.")]
    with pytest.raises(BadConfig, match=r"devices.0: the weights of .*first have devices.0.+; expected"):
        make_bundle(sample_data([(6,)] * 2), None, tmp_path / "third", initial=first)
    (first.path / WEIGHTS_FILE).write_bytes(b"no weights")
    with pytest.raises(ddnn.errors.BadBundle, match="does not match the SHA-256"):
        make_bundle(more, None, tmp_path / "third", initial=first)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "second"]


def test_an_unfinished_run_is_neither_lost_nor_taken_by_chance(tmp_path: Path) -> None:
    data, run = sample_data([(5,)] * 2, events=120), Run(tmp_path / "run")
    make_bundle(data, SMALL, tmp_path / "b", run=run, golden_events=10, yardstick=False)
    with pytest.raises(BadInput, match="holds a run already"):
        make_bundle(data, SMALL, tmp_path / "c", run=run)
    first = Bundle.open(tmp_path / "b")
    again = make_bundle(data, SMALL, tmp_path / "c", run=run, resume=True, golden_events=10, yardstick=False)
    assert again.manifest.files[WEIGHTS_FILE] == first.manifest.files[WEIGHTS_FILE]
    with pytest.raises(BadConfig, match="was started with --from and --freeze otherwise"):
        make_bundle(data, SMALL, tmp_path / "d", run=run, resume=True, initial=first)


@pytest.mark.long
@pytest.mark.parametrize("module", [ddnn.pipeline, ddnn.training.trainer])
def test_the_examples_run(module: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = doctest.testmod(module)  # type: ignore[arg-type]
    assert found.attempted > 3
    assert not found.failed


def test_importing_it_loads_no_torch() -> None:
    code = "import ddnn.pipeline, sys; sys.exit(bool({'torch', 'onnx', 'sklearn'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
