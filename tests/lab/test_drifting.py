"""A drifting stream, and what audits see of it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from typer import Typer
from typer.testing import CliRunner

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.errors import BadInput
from ddnn.evaluation import record
from ddnn.extensions import how_to_install
from ddnn.policy import Policy, Promise, Thresholds
from ddnn.tuning.promise import promise
from ddnn.types import Exit
from ddnn_lab.cli.drift import drift
from ddnn_lab.drifting import Drift, drifting, replay

MakeBundle = Callable[..., Bundle]
MakeData = Callable[..., Dataset]


def test_nothing_changes_before_the_change_and_everything_has_at_the_end(make_data: MakeData) -> None:
    data = make_data(events=50)
    stream, strength = drifting(data, Drift(fade=1.0, lose=2, begins=0.5, over=0.25), events=200, seed=1)
    assert (strength[:100] == 0).all()
    assert (np.diff(strength) >= 0).all()
    assert (strength[150:] == 1).all()
    before, after = slice(0, 100), slice(150, 200)
    for device in range(3):
        assert (stream.views[device][before] == data.views[device][stream.index[before]]).all()
        flat = stream.views[device][after]
        assert flat == pytest.approx(np.broadcast_to(flat.mean(axis=1, keepdims=True), flat.shape), abs=1e-5)
    assert stream.present[before].all()
    assert (stream.present[after].sum(axis=1) == 1).all()
    assert sorted(stream.index[:50]) == sorted(stream.index[50:100]) == list(range(50))


def test_blur_takes_detail_and_leaves_bytes_bytes(make_data: MakeData) -> None:
    pictures = np.random.default_rng(2).integers(0, 256, (40, 1, 8, 8)).astype(np.uint8)
    data = make_data(events=40, devices=1)
    data = Dataset(**{**vars(data), "views": (pictures,)})
    stream, _ = drifting(data, Drift(blur=2.0, begins=0.0, over=0.0), events=40, seed=0)
    (worn,) = stream.views
    assert worn.dtype == np.uint8
    last = slice(1, None)
    assert worn[last].std(axis=(1, 2, 3)).max() < pictures[stream.index[last]].std(axis=(1, 2, 3)).min() / 2


def test_losing_every_device_is_refused(make_data: MakeData) -> None:
    with pytest.raises(BadInput, match="3 devices are to be lost of 3; expected 0 to 2"):
        drifting(make_data(), Drift(lose=3), events=100, seed=0)


def test_without_drift_the_estimate_holds_the_truth_and_with_a_promise_far_too_low_the_alarm_comes(
    make_bundle: MakeBundle, make_data: MakeData
) -> None:
    bundle, data = make_bundle(), make_data(events=400)
    policy = Policy(bundle=bundle.fingerprint, thresholds=Thresholds(local=0.9, edge=0.9))
    kept = policy.model_copy(update={"promise": promise(record(bundle, data), policy)})
    document = replay(bundle, kept, data, Drift(), events=2_000, share=0.3, windows=4)
    assert document["alarm"] is None
    assert document["begins"] is None
    assert sum(window["exits"]["local"]["audited"] for window in document["windows"]) > 300
    last = document["windows"][-1]["exits"]["local"]
    assert last["estimate"]["low"] < last["truth"] < last["estimate"]["high"]
    assert last["estimate"]["distance"] < 0.1
    broken = policy.model_copy(update={"promise": Promise(disagreement={Exit.LOCAL: 0.01})})
    document = replay(bundle, broken, data, Drift(), events=2_000, share=0.3)
    assert document["alarm"]["exit"] == "local"
    assert document["alarm"]["event"] < 500


def test_where_nothing_can_be_audited_it_says_so(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle = make_bundle(((0, 1), (2,)))
    policy = Policy(bundle=bundle.fingerprint, promise=Promise(disagreement={Exit.LOCAL: 0.01}))
    with pytest.raises(BadInput, match="no exit of this network has a promise that audits can test"):
        replay(bundle, policy, make_data(), Drift(), events=100, share=0.5)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "mine.npz",
        X=rng.normal(size=(300, 3, 4)).astype(np.float32),
        y=np.arange(300) % 3,
        split=np.repeat(["train", "validation", "test"], 100),
    )
    return tmp_path / "mine.npz"


def test_the_command_prints_a_document_alone_and_draws_a_plot(
    make_bundle: MakeBundle, file: Path, tmp_path: Path
) -> None:
    app = Typer()
    app.command()(drift)
    bundle = make_bundle()
    Policy(bundle=bundle.fingerprint, version=2, thresholds=Thresholds(local=0.9, edge=0.9)).write(bundle.path)
    out = tmp_path / "drift.png"
    given = [str(bundle.path), str(file), "--events", "400", "--fade", "0.9", "--out", str(out)]
    result = CliRunner().invoke(app, [*given, "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["events"], document["share"], len(document["windows"])) == (400, 0.1, 10)
    assert "the policy promises nothing" in result.stderr
    assert out.read_bytes().startswith(b"\x89PNG")
    table = CliRunner().invoke(app, given[:4])
    assert table.exit_code == 0
    assert "Promised at most:" in table.stdout
    assert "…" not in table.stdout, "it fits a terminal of 80 columns"


def test_without_the_laboratorys_packages_a_sentence_says_what_to_install(
    make_bundle: MakeBundle, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ddnn_lab.drifting", None)
    with pytest.raises(BadInput, match="a drifting stream needs") as raised:
        drift(make_bundle().path, str(file))
    assert how_to_install("lab") in str(raised.value)
