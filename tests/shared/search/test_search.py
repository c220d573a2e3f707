"""A search over real small trainings: what it keeps, what it refuses, and which events it looks at."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ddnn.data import Dataset
from ddnn.errors import BadConfig, BadInput, WorkerLost
from ddnn.export import sample_data
from ddnn.recipe import Looks, start
from ddnn.search import ARCHIVE_FILE, Found, Space, Trial, Wishes, chosen, crew, front_of, knee_of, look, write_report
from ddnn.search.front import dominates
from ddnn.search.report import sentences
from ddnn.search.trial import try_out
from ddnn.training import Config
from searched import ended, events

DOCUMENT: dict[str, Any] = {
    "network": {"device": {"widths": [[2], [4], [8]], "cut_width": [1, 8]}, "edge": {"cut_width": [4, 16]}}
}
BASE = Config.of(
    {
        "network": {
            "device": {"widths": [4], "cut_width": 8},
            "edge": {"widths": [4], "cut_width": 4},
            "cloud": {"widths": [4]},
        },
        "training": {"epochs": 3, "batch": 32, "device_dropout": 0.0, "noise": 0.0},
    }
)
WISHES = Wishes(trials=6, population=4, epochs=1)


def found(folder: Path | None, wishes: Wishes = WISHES, workers: int = 1, data: Dataset | None = None) -> Found:
    data, space = data or events(), Space.of(BASE, DOCUMENT)
    with crew(events, data, seed=0, most_memory=wishes.most_memory, workers=workers) as hands:
        return look(space, data, hands, wishes, folder=folder)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Found, Path]:
    folder = tmp_path_factory.mktemp("search")
    return found(folder), folder


def timeless(search: Found) -> list[Trial]:
    """Its trials but for how long they took."""
    return [replace(each, seconds=0.0) for each in search.trials]


def trial(number: int, error: float, bytes: float, refused: str | None = None) -> Trial:
    return Trial(number, {}, error, bytes, 2 * int(bytes), 0, {}, 0.0, refused)


def test_a_front_is_mutually_not_dominated_and_its_knee_is_where_it_bends() -> None:
    trials = [trial(0, 0.3, 10), trial(1, 0.3, 9), trial(2, 0.1, 100), trial(3, 0.12, 12), trial(4, 0.2, 50)]
    trials += [trial(5, 0.01, 1, "too large"), trial(6, 0.1, 100)]
    front = front_of(trials, "event")
    assert [each.number for each in front] == [1, 3, 2]
    assert knee_of(front, "event").number == 3
    assert chosen(front, "accurate", "event").number == 2
    assert chosen(front, "1", "event").number == 1
    with pytest.raises(BadInput, match="--choose is 4; expected none or one of knee, accurate, smallest, 1, 3, 2"):
        chosen(front, "4", "event")


def test_a_search_starts_where_it_is_told_and_tries_as_many_as_it_may(kept: tuple[Found, Path]) -> None:
    search, folder = kept
    assert len(search.trials) == WISHES.trials
    assert search.trials[0].genes == {
        "network.device.widths": [4],
        "network.device.cut_width": 8,
        "network.edge.cut_width": 4,
    }
    assert search.configs[0].training.epochs == 3  # as it is trained in full
    assert len({json.dumps(dict(each.genes)) for each in search.trials}) == WISHES.trials
    front = search.front
    assert not any(dominates(one, other, "event") for one in front for other in front)
    assert len((folder / ARCHIVE_FILE).read_text().splitlines()) == WISHES.trials


def test_a_search_goes_on_where_it_was_stopped(kept: tuple[Found, Path], tmp_path: Path) -> None:
    search, folder = kept
    lines = (folder / ARCHIVE_FILE).read_text().splitlines(keepends=True)
    (tmp_path / ARCHIVE_FILE).write_text("".join(lines[:4]) + lines[4][:20])  # killed while it wrote
    again = found(tmp_path)
    assert timeless(again) == timeless(search)
    assert [each.seconds for each in again.trials[:4]] == [each.seconds for each in search.trials[:4]]
    assert len((tmp_path / ARCHIVE_FILE).read_text().splitlines()) == WISHES.trials


def test_objectives_are_of_validation_events_and_test_events_change_nothing() -> None:
    data, config = events(), BASE.changed(epochs=1)
    test = data.split == "test"
    views = tuple(np.where(test[:, None], np.float32(9), view) for view in data.views)
    other = replace(data, y=np.where(test, 0, data.y), views=views)
    one, same = (try_out(config, each, 0, None) for each in (data, other))
    assert {**one, "seconds": 0} == {**same, "seconds": 0}
    moved = replace(data, y=np.where(data.split == "validation", (data.y + 1) % 3, data.y))
    assert try_out(config, moved, 0, None)["error"] > one["error"]


def test_what_cannot_be_built_or_is_too_large_is_refused_untrained(tmp_path: Path) -> None:
    space = Space.of(
        BASE, {"network": {"device": {"widths": [[4], [4000]], "cut_bits": [1, 512], "cut_codec": ["bits2"]}}}
    )
    data = events()
    with crew(events, data, seed=0, most_memory=2000) as hands:
        search = look(space, data, hands, Wishes(trials=5, population=4, epochs=1, most_memory=2000))
    why = {json.dumps(dict(each.genes)): each.refused for each in search.trials[1:]}
    assert sum(each is None for each in why.values()) == 1
    assert any("a device's weights take" in (each or "") for each in why.values())
    assert any("cut_bits is 1" in (each or "") for each in why.values())
    assert all(each.refused is None and each.memory <= 2000 for each in search.front)


def test_bytes_may_be_those_of_a_federated_round(kept: tuple[Found, Path]) -> None:
    from ddnn.training.federated import Federated, Site
    from ddnn.training.federated.wire import Parcel

    data = events()
    site = Site("one", BASE, data, Federated(), 0)
    sent = Parcel(0, site.vector.read()).packed()
    assert kept[0].trials[0].round_bytes == len(sent) + len(site.work(sent))


def test_the_report_says_whether_the_start_is_beaten(kept: tuple[Found, Path], tmp_path: Path) -> None:
    search, _ = kept
    told = search.document() | {"data": {"name": "five", "validation": 80}, "space": {"networks": 12}}
    told |= {"wishes": {"epochs": 1}}
    page = write_report(tmp_path, told).read_text()
    assert page.count("<svg") == 1
    assert "://" not in page.replace("http://www.w3.org", "")
    assert sentences(told)[0] in page
    assert (tmp_path / "front.svg").read_text().startswith("<svg")
    made = {"number": 1, "error": 0.01, "bytes": 90.0}
    beside = {"name": "shelf", "error": 0.01, "bytes": 100.0}
    assert "dominates shelf" in sentences(told | {"made": made, "beside": beside})[-1]
    assert "does not dominate shelf" in sentences(told | {"made": made | {"error": 0.02}, "beside": beside})[-1]
    assert "does not dominate shelf" in sentences(told | {"made": made | {"bytes": 100.0}, "beside": beside})[-1]


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"network": {"device": {"widths": 4}}}, "network.device.widths is 4 in the space; expected a list of choices"),
        ({"network": {"device": {"width": [4, 5]}}}, "network.device.width is not a key of the config"),
        ({"network": {"device": {"cut_width": [4]}}}, "the space has no key with two choices"),
    ],
)
def test_a_space_that_is_none_is_refused(document: dict[str, Any], sentence: str) -> None:
    with pytest.raises(BadConfig, match=sentence):
        Space.of(BASE, document)


@pytest.mark.parametrize(("shapes", "uint8"), [([(4,)] * 2, False), ([(9, 63)] * 2, False), ([(3, 8, 8)] * 2, True)])
def test_every_kind_of_data_has_a_space(shapes: list[tuple[int, ...]], uint8: bool) -> None:
    import tomllib

    looks = Looks.of(sample_data(shapes, uint8=uint8))
    space = Space.usual(start(looks), looks)
    assert len(space) > 10_000
    assert Space.of(space.base, tomllib.loads(space.to_toml())) == space
    more = Space.usual(start(looks), looks, rounds=True)  # of a round, what does not exist is not sent
    assert {gene.key for gene in more.genes} - {gene.key for gene in space.genes} == {
        "training.sparse",
        "training.remove",
    }


@pytest.mark.long
def test_trainings_side_by_side_come_to_the_same(kept: tuple[Found, Path]) -> None:
    beside = found(None, workers=2)
    assert timeless(beside) == timeless(kept[0])


@pytest.mark.long
def test_a_process_that_ends_before_its_network_is_trained_is_told() -> None:
    data = events()
    with (
        crew(ended, data, seed=0, workers=2) as hands,
        pytest.raises(WorkerLost, match="a process that trained a network ended before it had"),
    ):
        list(hands.tried([BASE, BASE]))
