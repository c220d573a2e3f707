"""Evidence against a promised share of disagreement, valid at every time it is looked at.

An e-process by betting: a fortune that starts at 1, is staked on "this audit differs" at odds fair for the promised
share, and so, while the truth is at most that share, is a nonnegative supermartingale. By Ville's inequality it ever
reaches 1/α with probability at most α, however long one looks (Waudby-Smith & Ramdas 2024, "Estimating means of bounded
random variables by betting"). Legend: S streams side by side, J bets, p the promised share, q a bet's share.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from ddnn.types import Array, Bools

__all__ = ["Evidence"]

_ODDS: Final = 2 ** (np.arange(1, 13) / 2)
"""A bet is right when the odds of differing are so many times those promised."""
_LEAST: Final = 1e-6  #: a promise of less than this is tested as a promise of this


class Evidence:
    """The e-process of one promise, in one stream of audits, or in S streams of the given shape.

    The fortune is spread over J bets, each the likelihood ratio of q to p, and over the audits at which it begins to
    bet: a weighted sum of e-processes with weights that add up to 1 is one. So a change after a long quiet time is
    found about as soon as an early one, at the price of the beginning's weight, and it costs no memory: all beginnings
    of one bet share a recursion, that of Shiryaev and Roberts.
    """

    def __init__(self, promised: float, streams: Sequence[int] = ()) -> None:
        """`promised` in [0, 1); 1 cannot be refuted, and its evidence stays at 1."""
        p = max(promised, _LEAST)
        self._idle = p >= 1
        self._differs, self._same = _bets(np.asarray(0.5 if self._idle else p))
        self._bets = np.full((*streams, len(_ODDS)), -np.inf)
        self._audits = np.zeros(tuple(streams), np.int64)

    def add(self, differs: bool | Bools, where: bool | Bools = True, promised: Array | None = None) -> None:
        """One more audit in each stream (S); in those that are not in `where` (S) there was none.

        Where what is promised changes from one to the next, `promised` (S) is that of this one, in (0, 1).
        """
        if self._idle:
            return
        differs, where = np.asarray(differs)[..., np.newaxis], np.asarray(where)
        begin = np.log(_tail(self._audits) - _tail(self._audits + 1))[..., np.newaxis]
        odds = (self._differs, self._same) if promised is None else _bets(promised)
        bets = np.logaddexp(self._bets, begin) + np.where(differs, *odds)
        self._bets = np.where(where[..., np.newaxis], bets, self._bets)
        self._audits = self._audits + where

    def begin(self, stream: int) -> None:
        """Forget what was seen in one of the streams."""
        self._bets[stream], self._audits[stream] = -np.inf, 0

    @property
    def log(self) -> npt.NDArray[np.float64]:
        """Natural logarithm of the e-value now, (S)."""
        if self._idle:
            return np.zeros(self._audits.shape)
        staked = np.logaddexp.reduce(self._bets, axis=-1) - np.log(len(_ODDS))
        return np.asarray(np.logaddexp(staked, np.log(_tail(self._audits))))

    @property
    def value(self) -> npt.NDArray[np.float64]:
        """The e-value now, (S): at least 1/α with probability at most α, ever, while the promise holds."""
        return np.asarray(np.exp(np.minimum(self.log, 690.0)))


def _bets(promised: Array) -> tuple[Array, Array]:
    """Logarithms of what each bet gains on an audit that differs, and on one that does not, (S, J)."""
    p = promised[..., np.newaxis]
    odds = _ODDS * p / (1 - p)
    q = odds / (1 + odds)
    return np.log(q / p), np.log((1 - q) / (1 - p))


def _tail(audits: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Weight of all beginnings after so many audits: falls from 1 so slowly that something is always left."""
    return np.asarray(np.log(2) / np.log(audits + 2.0))
