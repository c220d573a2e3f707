"""History: over a restart, bounded, of one bundle, and never in the way of what is shown."""

from pathlib import Path
from typing import Any

import pytest

from ddnn.serving.room import history as module
from ddnn.serving.room.history import FIGURES, MOST_SAMPLES, History

FACTS: dict[str, Any] = {"rate": 2.0, "degraded": 0.1, "p50_ms": 5.0, "exits": {"local": 0.9, "cloud": 0.1}}


def test_a_restart_finds_figures_and_events_again(tmp_path: Path) -> None:
    first = History(tmp_path / "state" / "room.sqlite", "bundle")
    assert first.open() == []
    first.add_events([{"id": "e1"}, {"id": "e2"}])
    first.sample(1000.0, FACTS, 0.97)
    again = History(tmp_path / "state" / "room.sqlite", "bundle")
    assert again.open() == [{"id": "e1"}, {"id": "e2"}]
    (sample,) = again.samples
    assert dict(zip(FIGURES, sample[1:], strict=True)) == {
        **dict.fromkeys(FIGURES),
        "rate": 2.0,
        "degraded": 0.1,
        "p50_ms": 5.0,
        "agreement": 0.97,
        "local": 0.9,
        "cloud": 0.1,
    }


def test_what_was_of_another_bundle_is_forgotten(tmp_path: Path) -> None:
    first = History(tmp_path / "room.sqlite", "bundle")
    first.open()
    first.add_events([{"id": "e1"}])
    first.sample(1000.0, FACTS, None)
    other = History(tmp_path / "room.sqlite", "another")
    assert other.open() == []
    assert not other.samples


def test_it_is_bounded_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SAMPLES", 5)
    history = History(tmp_path / "room.sqlite", "bundle")
    history.open()
    for number in range(12):
        history.add_events([{"id": f"e{number}-{n}"} for n in range(30)])
        history.sample(1000.0 + number, FACTS, None)
    again = History(tmp_path / "room.sqlite", "bundle")
    events = again.open()
    assert [sample[0] for sample in again.samples] == [1007.0, 1008.0, 1009.0, 1010.0, 1011.0]
    assert (len(events), events[-1]) == (200, {"id": "e11-29"})
    assert MOST_SAMPLES * module.EVERY_S == 24 * 3600


def test_a_damaged_file_is_put_aside_and_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "room.sqlite"
    file.write_bytes(b"this is no database" * 1000)
    history = History(file, "bundle")
    assert history.open() == []
    history.sample(1000.0, FACTS, None)
    assert history.problem == ""
    assert (tmp_path / "room.damaged").is_file()
    assert "damaged" in caplog.text
    assert len(History(file, "bundle").samples) == 0


def test_a_disk_that_cannot_be_written_is_told_once_and_figures_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    history = History(tmp_path / "taken" / "room.sqlite", "bundle")
    assert history.open() == []
    for _ in range(3):
        history.sample(1000.0, FACTS, None)
    assert len(history.samples) == 3
    assert caplog.text.count("will not outlive a restart") == 1


def test_without_a_folder_it_is_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    history = History(None, "bundle")
    assert history.open() == []
    monkeypatch.setattr("time.time", lambda: 100_000.0)
    for number in range(2000):
        history.sample(100_000.0 - 10 * (1999 - number), FACTS, None)
    assert len(history.latest(1.0)) == 361
    day = history.latest(24.0)
    assert len(day) <= 720
    assert day[-1][0] == 100_000.0
