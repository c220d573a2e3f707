"""Times of sections: measured, written and read back."""

import json
from itertools import count
from pathlib import Path

import pytest

from ddnn.bundle import Bundle
from ddnn.errors import BadData
from ddnn.tuning.profile import Profile, Timing, measure
from networks import TOPOLOGIES, make_bundle

TICK = Timing(median_s=1.0, p95_s=1.0)


def test_every_section_is_timed_and_the_file_reads_back(tiny_bundle: Bundle, tmp_path: Path) -> None:
    told: list[int] = []
    ticks = count()
    found = measure(
        tiny_bundle, repeat=3, clock=lambda: float(next(ticks)), progress=lambda _, done, of: told.append(of - done)
    )
    assert (found.device, found.local, found.edge, found.cloud) == ((TICK,) * 6, (TICK,), (TICK,), TICK)
    assert (found.batch, found.threads, found.repeat) == (1, 1, 3)
    assert told == list(range(len(told)))[::-1]
    found.write(tmp_path / "profile.json")
    assert Profile.read(tmp_path / "profile.json", tiny_bundle) == found


def test_a_network_of_raw_views_has_the_clouds_times_alone(tmp_path: Path) -> None:
    found = measure(make_bundle(tmp_path / "a", **TOPOLOGIES["a"]), repeat=2, batch=3)
    assert (found.device, found.local, found.edge, found.batch) == ((), (), (), 3)
    assert found.cloud.p95_s >= found.cloud.median_s > 0


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"bundle": "another"}, "has the times of bundle another; this one is"),
        ({"device": []}, "has 0 device times; expected 6"),
        ({"batch": 8}, "was measured with 8 events a run; expected 1"),
        ({"cloud": {"median_s": -1, "p95_s": 1}}, "cloud.median_s is -1"),
        ({"format": 2}, "format is 2"),
    ],
)
def test_a_profile_that_does_not_fit_gets_a_sentence(
    tiny_bundle: Bundle, tmp_path: Path, keys: dict[str, object], sentence: str
) -> None:
    fits = Profile.instant(tiny_bundle.topology).model_dump(mode="json") | {"bundle": tiny_bundle.fingerprint}
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(fits))
    Profile.read(path, tiny_bundle)
    path.write_text(json.dumps(fits | keys))
    with pytest.raises(BadData, match=sentence):
        Profile.read(path, tiny_bundle)


@pytest.mark.parametrize(
    ("text", "sentence"), [("{", "is not JSON"), ("[]", "the profile is"), (None, "cannot be read")]
)
def test_what_is_no_profile_gets_a_sentence(
    tiny_bundle: Bundle, tmp_path: Path, text: str | None, sentence: str
) -> None:
    if text is not None:
        (tmp_path / "profile.json").write_text(text)
    with pytest.raises(BadData, match=sentence):
        Profile.read(tmp_path / "profile.json", tiny_bundle)
