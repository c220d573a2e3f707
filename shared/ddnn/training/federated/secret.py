"""A round of which the server sees the sum alone: its four turns, at a site and at the server.

Legend: K sites of a round, by their place in its roster; m weights.
"""

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from ddnn.errors import BadInput, WorkerLost
from ddnn.training.federated.masks import HIDDEN, KEYS, SEED, Masks, fixed, floating, least_of, unmask
from ddnn.training.federated.wire import HEAD_BYTES, Note, Parcel, Phase, turn_of

__all__ = ["Gathered", "Hidden", "Turn", "summed"]

WORD = 8
EXTRAS = 2  #: numbers beside the weights: the amounts, and what the losses come to


class Gathered(NamedTuple):
    """What the sites of a round have come to."""

    names: list[str]  #: of those that are in it
    mean: Tensor  #: (m,) Σ nₖ wₖ / Σ nₖ
    amount: float  #: Σ nₖ
    loss: float  #: Σ nₖ lossₖ / Σ nₖ


class Turn(Protocol):
    """What carries one turn: bodies by site, to what comes back of those that are not lost."""

    def __call__(self, bodies: Mapping[str, bytes]) -> dict[str, bytes]: ...


class Hidden:
    """A site's side: it answers each turn of a round, and forgets the round with the next one."""

    def __init__(self) -> None:
        self._masks = Masks(-1)

    def kept(self) -> dict[str, bytes]:
        """What of this turn the next one needs: secrets, for no eyes but this site's."""
        return {"masks": json.dumps(self._masks.document()).encode()}

    def recall(self, kept: Mapping[str, bytes]) -> None:
        """Go on from what was kept."""
        if "masks" in kept:
            self._masks = Masks.of(json.loads(kept["masks"]))

    def answer(self, body: bytes, count: int, learn: Callable[[Parcel], Parcel]) -> bytes:
        """What goes back; `learn` makes of the weights that were sent (m = `count`) the site's own."""
        round, phase = divmod(turn_of(body), len(Phase))
        if phase == Phase.KEYS:
            self._masks = Masks(round)
            return Note(round, Phase.KEYS, self._masks.keys).packed()
        if self._masks.round != round:
            raise BadInput(f"round {round} has begun without this site, which has no keys of it")
        if phase == Phase.PIECES:
            roster = _parts(Note.unpacked(body).body, KEYS)
            pieces = b"".join(each or bytes(HIDDEN) for each in self._masks.pieces(roster))
            return Note(round, Phase.PIECES, pieces).packed()
        if phase == Phase.LEARN:
            sent, rest = HEAD_BYTES + WORD // 2 * count, body[HEAD_BYTES + WORD // 2 * count :]
            letters = {at: each for at, each in enumerate(_parts(rest, HIDDEN)) if any(each)}
            made = learn(Parcel.unpacked(body[:sent], count))
            weighed = made.vector.double().numpy() * made.events
            values = np.concatenate([weighed, [made.events, made.events * made.loss]])
            hidden = self._masks.masked(fixed(values, len(rest) // HIDDEN), letters)
            return Note(round, Phase.LEARN, hidden.astype("<u8").tobytes()).packed()
        left = [at for at, flag in enumerate(Note.unpacked(body).body) if flag]
        told = self._masks.reveal(left)
        count = len(Note.unpacked(body).body)
        return Note(round, Phase.REVEAL, b"".join(told.get(at, bytes(SEED)) for at in range(count))).packed()


def summed(round: int, sent: Parcel, drawn: list[str], turn: Turn) -> Gathered:
    """What the sites that were drawn and are not lost have come to, without seeing what any one of them has.

    Raise `WorkerLost` where no more than half of the drawn sites remain: their sum cannot be read.
    """
    answers = turn({name: Note(round, Phase.KEYS).packed() for name in drawn})
    names = sorted(answers)
    if len(names) < 2:
        raise WorkerLost(f"{len(names)} of {len(drawn)} sites gave keys for round {round}; expected two or more")
    least, count = least_of(len(names)), sent.vector.numel()
    roster = [Note.unpacked(answers[name], KEYS).body for name in names]
    answers = turn({name: Note(round, Phase.PIECES, b"".join(roster)).packed() for name in names})
    letters = {
        at: _parts(Note.unpacked(answers[name], HIDDEN * len(names)).body, HIDDEN)
        for at, name in enumerate(names)
        if name in answers
    }
    _enough(round, len(letters), len(names), least)
    none, body = bytes(HIDDEN), sent.packed()

    def letters_to(at: int) -> bytes:
        return b"".join(letters[other][at] if other in letters else none for other in range(len(names)))

    answers = turn({names[at]: body + letters_to(at) for at in letters})
    size = WORD * (count + EXTRAS)
    came = {at: Note.unpacked(answers[names[at]], size).body for at in letters if names[at] in answers}
    _enough(round, len(came), len(names), least)
    total = np.zeros(count + EXTRAS, np.uint64)
    for hidden in came.values():
        total += np.frombuffer(hidden, "<u8")
    flags = bytes(at in came for at in range(len(names)))
    answers = turn({names[at]: Note(round, Phase.REVEAL, flags).packed() for at in came})
    revealed = {
        at: dict(enumerate(_parts(Note.unpacked(answers[names[at]], SEED * len(names)).body, SEED)))
        for at in came
        if names[at] in answers
    }
    _enough(round, len(revealed), len(names), least)
    values = floating(unmask(total, roster, letters, came, revealed, round))
    amount = float(values[-2])
    mean = torch.from_numpy(values[:-EXTRAS] / amount).float()
    return Gathered([names[at] for at in came], mean, amount, float(values[-1]) / amount)


def _enough(round: int, found: int, of: int, least: int) -> None:
    if found < least:
        raise WorkerLost(f"{found} of {of} sites of round {round} remain; {least} are needed to read their sum")


def _parts(body: bytes, size: int) -> list[bytes]:
    """Parts of one size; raise `BadInput` where there is a rest."""
    if len(body) % size:
        raise BadInput(f"{len(body)} bytes came; expected a multiple of {size}")
    return [body[at : at + size] for at in range(0, len(body), size)]
