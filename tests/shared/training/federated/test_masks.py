"""Sums that the server sees and no part of: masks that cancel, pieces of seeds, sites that are lost."""

from collections.abc import Collection

import numpy as np
import pytest

from ddnn.errors import BadInput
from ddnn.training.federated.masks import FRACTION, Masks, Words, fixed, floating, least_of, unmask

COUNT = 4096


class Round:
    """Four sites, of which some are lost before they send their numbers, and some after."""

    def __init__(self, lost: Collection[int] = (), silent: Collection[int] = ()) -> None:
        random = np.random.default_rng(0)
        self.values = [random.normal(0, 3, COUNT) for _ in range(4)]
        self.sites = [Masks(7) for _ in range(4)]
        self.roster = [site.keys for site in self.sites]
        letters = [site.pieces(self.roster) for site in self.sites]
        self.sent: dict[int, Words] = {}
        for at, site in enumerate(self.sites):
            mine = {other: letters[other][at] for other in range(4) if other != at}
            hidden = site.masked(fixed(self.values[at], 4), mine)
            if at not in lost:
                self.sent[at] = hidden
        self.told = {at: self.sites[at].reveal(self.sent) for at in self.sent if at not in silent}

    def sum(self) -> Words:
        """What the server makes of it."""
        total = np.zeros(COUNT, np.uint64)
        for hidden in self.sent.values():
            total += hidden
        return unmask(total, self.roster, range(4), self.sent, self.told, 7)


@pytest.mark.parametrize(("lost", "silent"), [((), ()), ((2,), ()), ((), (0,)), ((3,), ())])
def test_the_sum_is_the_plain_one_to_the_last_bit_of_fixed_point(lost: tuple[int], silent: tuple[int]) -> None:
    made = Round(lost, silent)
    plain = sum(made.values[at] for at in made.sent)
    assert np.abs(floating(made.sum()) - plain).max() <= 4 * 0.5 / 2**FRACTION
    exactly = sum((fixed(made.values[at], 4) for at in made.sent), np.zeros(COUNT, np.uint64))
    assert (made.sum() == exactly).all()


def test_what_one_site_sends_looks_as_if_it_were_chance() -> None:
    made = Round()
    for at, hidden in made.sent.items():
        counts, expected = np.bincount(hidden >> np.uint64(58), minlength=64), COUNT / 64
        squares = float(((counts - expected) ** 2 / expected).sum())  # χ² with 63 degrees of freedom
        assert 63 - 6 * 11.3 < squares < 63 + 8 * 11.3
        assert abs(np.corrcoef(hidden.astype(np.float64), made.values[at])[0, 1]) < 0.12
        bits = np.unpackbits(hidden.view(np.uint8)).reshape(COUNT, 64).mean(axis=0)
        assert np.abs(bits - 0.5).max() < 0.05


def test_fewer_pieces_than_more_than_half_give_no_sum() -> None:
    made = Round()
    made.told = {at: told for at, told in made.told.items() if at < least_of(4) - 1}
    wrong = np.abs(floating(made.sum()) - sum(made.values))
    assert np.median(wrong) > 2**30


def test_a_site_tells_of_no_site_both_seeds_and_only_once() -> None:
    made = Round(lost=(2,))
    told = made.told[0]
    assert told[2] != told[1]
    with pytest.raises(BadInput, match="asked again"):
        made.sites[0].reveal([0, 1, 2])
    fresh = Masks(7)
    roster = [fresh.keys, Masks(7).keys, Masks(7).keys]
    with pytest.raises(BadInput, match="2 of 4 sites are left"):
        Round().sites[1].reveal([1, 2])
    with pytest.raises(BadInput, match="expected this site and another one"):
        fresh.pieces(roster[1:])
    with pytest.raises(BadInput, match="expected this site and another one"):
        fresh.pieces(roster[:1])


def test_a_letter_that_was_changed_is_refused() -> None:
    one, two = Masks(0), Masks(0)
    roster = [one.keys, two.keys]
    letter = bytearray(one.pieces(roster)[1])
    two.pieces(roster)
    letter[3] ^= 1
    with pytest.raises(BadInput, match="a letter of site 0 was changed"):
        two.masked(np.zeros(2, np.uint64), {0: bytes(letter)})


def test_numbers_that_do_not_fit_are_refused() -> None:
    assert floating(fixed(np.array([-1.5, 2.0**30]), 4)).tolist() == [-1.5, 2.0**30]
    with pytest.raises(BadInput, match="is beyond"):
        fixed(np.array([2.0**37]), 4)
