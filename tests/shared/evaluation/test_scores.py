"""Every exit's scores, offline."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ddnn.bundle import Bundle
from ddnn.data import Dataset
from ddnn.errors import BadData
from ddnn.evaluation import Recorder, record
from ddnn.runtime import Section
from ddnn.types import Exit, Tier

MakeBundle = Callable[..., Bundle]
MakeData = Callable[..., Dataset]


def test_scores_are_what_the_sections_say_one_event_at_a_time(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = make_bundle(), make_data(7, hidden=0.3)
    scores = record(bundle, data, batch=3)
    devices = [Section(bundle.sections(Tier.DEVICE, i)["section"]) for i in range(3)]
    edge = {role: Section(file) for role, file in bundle.sections(Tier.EDGE).items()}
    cloud = Section(bundle.sections(Tier.CLOUD)["section"])
    assert scores.edge is not None
    for n in range(7):
        outs = [list(s.run(view=data.views[i][n : n + 1]).values()) for i, s in enumerate(devices)]
        present = data.present[n : n + 1]
        (local,) = edge["local"].run(scores=np.stack([o[0] for o in outs], 1), present=present).values()
        fused, bits = edge["section"].run(features=np.stack([o[1] for o in outs], 1), present=present).values()
        (top,) = cloud.run(features=bits[:, None], present=np.ones((1, 1), np.bool_)).values()
        np.testing.assert_allclose(scores.of(Exit.DEVICE)[n], np.concatenate([o[0] for o in outs]), atol=1e-6)
        np.testing.assert_allclose(scores.of(Exit.LOCAL)[n], local, atol=1e-6)
        np.testing.assert_allclose(scores.edge[n], fused, atol=1e-6)
        np.testing.assert_allclose(scores.cloud[n], top[0], atol=1e-6)


@pytest.mark.parametrize(("edges", "section"), [(((0, 1, 2),), True), (((0, 2), (1,)), True), (((0, 1), (2,)), False)])
def test_a_recorder_gives_for_a_mask_what_a_fresh_record_gives(
    make_bundle: MakeBundle, make_data: MakeData, edges: tuple[tuple[int, ...], ...], section: bool
) -> None:
    bundle, data = make_bundle(edges, section=section), make_data(20, hidden=0.2)
    recorder = Recorder(bundle, data)
    for mask in ([True, False, True], [False, True, False], [True, True, True]):
        present = np.broadcast_to(np.array(mask), (20, 3))
        one, other = recorder.scores(present), record(bundle, data, present=present)
        for name in ("device", "local", "edge", "cloud", "present"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        np.testing.assert_array_equal(one.present, data.present & present)
        assert np.isfinite(one.of(Exit.LOCAL)).all()
        assert np.isfinite(one.cloud).all()


def test_lost_devices_are_masked_not_fed_as_if_seen(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = make_bundle(), make_data(10)
    garbled = replace(data, views=(data.views[0] * 100, *data.views[1:]))
    present = np.broadcast_to(np.array([False, True, True]), (10, 3))
    one, other = record(bundle, data, present=present), record(bundle, garbled, present=present)
    np.testing.assert_array_equal(one.local, other.local)
    np.testing.assert_array_equal(one.cloud, other.cloud)


def test_without_an_edge_section_the_cloud_fuses_all_devices(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = make_bundle(section=False), make_data(5)
    scores = record(bundle, data)
    assert scores.edge is None
    bits = np.stack(
        [
            list(Section(bundle.sections(Tier.DEVICE, i)["section"]).run(view=data.views[i]).values())[1]
            for i in range(3)
        ],
        axis=1,
    )
    cloud = Section(bundle.sections(Tier.CLOUD)["section"])
    np.testing.assert_allclose(scores.cloud, next(iter(cloud.run(features=bits, present=data.present).values())))


def test_events_that_do_not_fit_get_a_sentence(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = make_bundle(), make_data(5)
    with pytest.raises(BadData, match="has 2 devices; the bundle was trained with 3"):
        record(bundle, make_data(5, devices=2))
    with pytest.raises(BadData, match=r"the view of device 1 is FP32 \(3,\); the bundle expects FP32 \(4,\)"):
        record(bundle, replace(data, views=(data.views[0], data.views[1][:, :3], data.views[2])))
    with pytest.raises(BadData, match=r"device 0 is UINT8 \(4,\)"):
        record(bundle, replace(data, views=(data.views[0].astype(np.uint8), *data.views[1:])))
    with pytest.raises(BadData, match="y holds class 3; the bundle knows classes 0 to 2"):
        record(bundle, replace(data, y=np.full(5, 3)))
    with pytest.raises(BadData, match="no events"):
        record(bundle, data.take([]))


def test_progress_is_told_device_by_device(make_bundle: MakeBundle, make_data: MakeData) -> None:
    told: list[tuple[str, int, int]] = []
    record(make_bundle(), make_data(5), progress=lambda *step: told.append(step))
    assert told == [("device sections", 1, 3), ("device sections", 2, 3), ("device sections", 3, 3)]


def test_raw_views_are_what_the_cloud_fuses(make_bundle: MakeBundle, make_data: MakeData) -> None:
    bundle, data = make_bundle(((0, 2), (1,)), raw=True), make_data(20, hidden=0.4)
    scores = record(bundle, data, batch=7)
    cloud = Section(bundle.sections(Tier.CLOUD)["section"])
    whole = cloud.run(view=np.stack(data.views, axis=1), present=data.present)["scores"]
    np.testing.assert_allclose(scores.cloud, whole, atol=1e-6)
    with pytest.raises(ValueError, match="no local exit"):
        scores.of(Exit.LOCAL)
