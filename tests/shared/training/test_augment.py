"""Random changes that keep what devices see together."""

import pytest
import torch

from ddnn.training import TrainingConfig
from ddnn.training.loader import augment, drop_devices, join

STILL = TrainingConfig(shift=0, rotate=0, scale=0, warp=0, noise=0)


def grid_views() -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randint(0, 256, (4, 1, 16, 10), dtype=torch.uint8) for _ in range(6)]


def test_a_grid_is_joined_as_it_was_cut() -> None:
    views = grid_views()
    image = join(views, (3, 2))
    assert image.shape == (4, 1, 32, 30)
    for i, view in enumerate(views):
        rows, columns = 16 * (i % 2), 10 * (i // 2)
        assert torch.equal(image[:, :, rows : rows + 16, columns : columns + 10], view)


def test_no_change_asked_for_is_no_change() -> None:
    views = grid_views()
    for before, after in zip(views, augment(views, [(torch.zeros(1), torch.ones(1))] * 6, (3, 2), STILL), strict=True):
        assert torch.equal(before.float(), after)
    series = [torch.randn(4, 2, 20)]
    assert torch.equal(augment(series, [(torch.zeros(2, 1), torch.ones(2, 1))], None, STILL)[0], series[0])


def test_a_grid_moves_as_one_image() -> None:
    # One bright column at the border of two devices: shifted as a whole, light leaves one device for the other.
    views = [torch.zeros(64, 1, 16, 10) for _ in range(6)]
    views[0][..., 9] = views[1][..., 9] = 1.0
    torch.manual_seed(1)
    moved = augment(views, [(torch.zeros(1), torch.ones(1))] * 6, (3, 2), STILL.model_copy(update={"shift": 0.1}))
    image = join(moved, (3, 2))
    assert (moved[2].sum(dim=(1, 2, 3)) > 1).any()
    brightest = image.sum(dim=2)[:, 0].argmax(dim=1)
    assert (brightest - 9).abs().max() <= 3
    assert len(set(brightest.flatten().tolist())) > 3


def test_rotation_keeps_proportions_of_an_oblong_image() -> None:
    image = torch.zeros(1, 1, 32, 16)
    image[..., 12:20, 4:12] = 1.0
    for seed in range(5):
        torch.manual_seed(seed)
        turned = augment([image], [(torch.zeros(1), torch.ones(1))], None, STILL.model_copy(update={"rotate": 90.0}))[0]
        assert turned.sum() == pytest.approx(64, rel=0.05)


def test_a_warp_moves_parts_by_at_most_its_share() -> None:
    ramp = torch.linspace(0, 1, 32).expand(8, 1, 32, 32).contiguous()
    torch.manual_seed(0)
    warped = augment([ramp], [(torch.zeros(1), torch.ones(1))], None, STILL.model_copy(update={"warp": 0.05}))[0]
    inner = (warped - ramp)[:, :, 4:-4, 4:-4]
    assert 0.02 < inner.abs().max() < 0.05 * 1.3  # the smooth curve may rise a little above its knots
    assert inner.diff(dim=2).abs().max() < 0.03


@pytest.mark.parametrize("shape", [(6, 3, 20), (6, 9)])
def test_series_and_vectors_change_a_little(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    view = torch.randn(*shape) * 10
    spread = torch.full((shape[1], *[1] * (len(shape) - 2)), 10.0)
    changed = augment(
        [view], [(torch.zeros_like(spread), spread)], None, TrainingConfig(shift=0, scale=0.1, noise=0.02)
    )[0]
    assert not torch.equal(view, changed)
    assert (changed - view).abs().max() < 0.1 * view.abs().max() + 1.0


def test_a_delayed_series_holds_its_ends() -> None:
    torch.manual_seed(0)
    series = torch.arange(20.0).expand(8, 1, 20)
    delayed = augment([series], [(torch.zeros(1, 1), torch.ones(1, 1))], None, STILL.model_copy(update={"shift": 0.2}))[
        0
    ]
    assert (delayed.diff(dim=2) >= 0).all()
    assert len(set(delayed[:, 0, 10].tolist())) > 2


def test_devices_are_dropped_at_the_chance_given_and_never_all() -> None:
    torch.manual_seed(0)
    present = torch.ones(4000, 3, dtype=torch.bool)
    present[:, 2] = False
    kept = drop_devices(present, 0.3, whole=0.0)
    assert not kept[:, 2].any()
    assert kept.any(dim=1).all()
    # 0.3 of devices are dropped, except where both would be (0.09 of events): 0.3 − 0.09 remain dropped.
    assert 1 - kept[:, :2].float().mean().item() == pytest.approx(0.21, abs=0.02)


def test_a_share_of_the_events_keeps_its_devices() -> None:
    torch.manual_seed(0)
    kept = drop_devices(torch.ones(4000, 5, dtype=torch.bool), 0.9, whole=0.25)
    # Of the others, 0.1^5 lose none by chance, and 0.9^5 would have lost all and keep them instead.
    assert kept.all(dim=1).float().mean().item() == pytest.approx(0.25 + 0.75 * 0.9**5, abs=0.03)
    assert torch.equal(drop_devices(torch.ones(9, 5, dtype=torch.bool), 0.9, whole=1.0), torch.ones(9, 5).bool())


def test_a_mirrored_image_is_itself_or_its_mirror() -> None:
    torch.manual_seed(0)
    images = torch.rand(32, 1, 4, 4)
    (mirrored,) = augment([images], [(torch.zeros(1), torch.ones(1))], None, STILL.model_copy(update={"mirror": True}))
    flipped = (mirrored == images.flip(3)).flatten(1).all(dim=1)
    same = (mirrored == images).flatten(1).all(dim=1)
    assert (flipped ^ same).all()
    assert 4 < flipped.sum() < 28


def test_colour_changes_each_channel_by_itself_within_its_share() -> None:
    torch.manual_seed(0)
    images = torch.full((64, 3, 2, 2), 100.0)
    (tinted,) = augment(
        [images], [(torch.zeros(3, 1, 1), torch.full((3, 1, 1), 50.0))], None, STILL.model_copy(update={"colour": 0.2})
    )
    assert (tinted - images).abs().max() <= 0.2 * 100 + 0.2 * 50
    assert tinted[:, :, 0, 0].std(dim=1).min() > 0


def test_a_turn_keeps_the_length_of_every_triple_and_leaves_other_series_alone() -> None:
    torch.manual_seed(0)
    series = torch.randn(16, 6, 10)
    turn = STILL.model_copy(update={"turn": 90.0})
    (turned,) = augment([series], [(torch.zeros(6, 1), torch.ones(6, 1))], None, turn)
    lengths = [x.reshape(16, 2, 3, 10).norm(dim=2) for x in (series, turned)]
    torch.testing.assert_close(*lengths)
    assert not torch.allclose(series, turned)
    assert torch.equal(augment([series[:, :4]], [(torch.zeros(4, 1), torch.ones(4, 1))], None, turn)[0], series[:, :4])
