"""Masks that cancel in a sum, and pieces of what makes them (Bonawitz et al. 2017).

Each pair of sites agrees on a mask, which one of them adds and the other subtracts; each site adds one of its own
besides. Both come from seeds of 16 bytes, of which every site has a piece: enough pieces give the seed back.
Legend: K sites of a round, m numbers modulo 2⁶⁴.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from ddnn.errors import BadInput

__all__ = ["HIDDEN", "KEYS", "SEED", "Masks", "fixed", "floating", "least_of", "unmask"]

Words = NDArray[np.uint64]

SEED: Final = 16  #: bytes of a seed, and of a piece of one
KEYS: Final = 64  #: bytes of the two public keys of a site
HIDDEN: Final = 2 * SEED + 16  #: bytes of two pieces on their way, with their tag
FRACTION: Final = 24  #: bits after the point
LARGEST: Final = 2.0**62
_NONCE: Final = bytes(12)  # each key is used once


def least_of(count: int) -> int:
    """How many of K sites have to remain: more than half, so that no two groups can be told different things."""
    return count // 2 + 1


def fixed(values: NDArray[np.float64], count: int) -> Words:
    """Numbers (m,) as fixed-point ones modulo 2⁶⁴; raise `BadInput` where the sum of `count` such might not fit."""
    if np.abs(values).max(initial=0.0) * 2**FRACTION * count >= LARGEST:
        bound = LARGEST / 2**FRACTION / count
        raise BadInput(f"a number to be summed is beyond {bound:.3g}; expected less: the training may have diverged")
    return np.round(values * 2**FRACTION).astype(np.int64).view(np.uint64)


def floating(words: Words) -> NDArray[np.float64]:
    """The numbers that they stand for, negative ones from 2⁶³ on."""
    return words.view(np.int64).astype(np.float64) / 2**FRACTION


@dataclass
class Masks:
    """What one site knows in one round: its two key pairs, its own seed, and the others' pieces."""

    round: int
    seed: bytes = field(default_factory=lambda: secrets.token_bytes(SEED))
    pair: bytes = field(default_factory=lambda: secrets.token_bytes(SEED))
    letter: bytes = field(default_factory=lambda: X25519PrivateKey.generate().private_bytes_raw())

    def __post_init__(self) -> None:
        self._letters, self._key = X25519PrivateKey.from_private_bytes(self.letter), _key_of(self.pair)
        self.keys = _public(self._letters) + _public(self._key)
        self._roster, self._pieces, self._revealed = list[bytes](), dict[int, bytes](), False

    def document(self) -> dict[str, Any]:
        """All of it, as JSON has it, for a site that is another process in the next turn."""
        own = {name: getattr(self, name).hex() for name in ("seed", "pair", "letter")}
        told = {
            "roster": [each.hex() for each in self._roster],
            "pieces": [[at, each.hex()] for at, each in self._pieces.items()],
        }
        return {"round": self.round, **own, **told, "revealed": self._revealed}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Masks":
        """What `document` has told."""
        made = cls(document["round"], *(bytes.fromhex(document[name]) for name in ("seed", "pair", "letter")))
        made._roster = [bytes.fromhex(each) for each in document["roster"]]
        made._pieces = {at: bytes.fromhex(each) for at, each in document["pieces"]}
        made._revealed = document["revealed"]
        return made

    @property
    def index(self) -> int:
        """Its place in the roster."""
        return self._roster.index(self.keys)

    def pieces(self, roster: Sequence[bytes]) -> list[bytes]:
        """Of both seeds a piece for each of the K sites with these keys, for its eyes alone; none to itself.

        Raise `BadInput` where the roster is not one to hide in: less than two sites, or without this one.
        """
        if len(set(roster)) != len(roster) or len(roster) < 2 or self.keys not in roster:
            raise BadInput(f"round {self.round} has a roster of {len(roster)}; expected this site and another one")
        self._roster, least = list(roster), least_of(len(roster))
        split = [_shamir().split(least, len(roster), seed) for seed in (self.seed, self.pair)]
        made = [b"".join(piece for _, piece in both) for both in zip(*split, strict=True)]
        self._pieces = {self.index: made[self.index]}
        return [b"" if at == self.index else self._sealed(at, each) for at, each in enumerate(made)]

    def masked(self, values: Words, letters: Mapping[int, bytes]) -> Words:
        """Numbers (m,) under this site's masks; `letters`, by site, are the pieces of those that take part with it."""
        own = self._pieces[self.index]
        self._pieces = {self.index: own} | {at: self._opened(at, letter) for at, letter in letters.items()}
        if len(self._pieces) < least_of(len(self._roster)):
            raise BadInput(f"{len(self._pieces)} of {len(self._roster)} sites take part; expected more than half")
        hidden = values + _stream(self.seed, self.round, len(values))
        for at in letters:
            hidden = _paired(hidden, self.index, at, self._mask_key(at), self.round)
        return hidden

    def reveal(self, left: Iterable[int]) -> dict[int, bytes]:
        """By site the piece of its own seed, if its numbers are among those `left`; else of its pairs' seed.

        Of no site both, and but once a round: raise `BadInput` where they would undo more than the sum needs.
        """
        there = set(left)
        if self._revealed or self.index not in there or len(there) < least_of(len(self._roster)):
            raise BadInput(f"round {self.round}: {len(there)} of {len(self._roster)} sites are left, or asked again")
        self._revealed = True
        return {at: both[:SEED] if at in there else both[SEED:] for at, both in self._pieces.items()}

    def _mask_key(self, other: int) -> bytes:
        return self._key.exchange(X25519PublicKey.from_public_bytes(self._roster[other][32:]))

    def _letter_key(self, other: int, sender: int) -> ChaCha20Poly1305:
        common = self._letters.exchange(X25519PublicKey.from_public_bytes(self._roster[other][:32]))
        return ChaCha20Poly1305(_derived(common, b"pieces", self.round, sender))

    def _sealed(self, other: int, both: bytes) -> bytes:
        return self._letter_key(other, self.index).encrypt(_NONCE, both, None)

    def _opened(self, other: int, letter: bytes) -> bytes:
        try:
            return self._letter_key(other, other).decrypt(_NONCE, letter, None)
        except InvalidTag as error:
            raise BadInput(f"round {self.round}: a letter of site {other} was changed on its way") from error


def unmask(
    total: Words,
    roster: Sequence[bytes],
    there: Iterable[int],
    left: Iterable[int],
    revealed: Mapping[int, Mapping[int, bytes]],
    round: int,
) -> Words:
    """Σ of the masked numbers of the sites `left` → Σ of their numbers (m,).

    Args:
        total: The sum (m,), modulo 2⁶⁴.
        roster: Keys of the K sites.
        there: Those that all others have masks with.
        left: Those whose numbers are in the sum.
        revealed: By site that answered, by site, a piece of a seed.
        round: Of which.

    Raises:
        BadInput: What was revealed does not give a seed that fits.
    """
    left, total = set(left), total.copy()
    for at in there:
        pieces = [(teller + 1, told[at]) for teller, told in revealed.items()][: least_of(len(roster))]
        seed = _shamir().combine(pieces)
        if at in left:
            total -= _stream(seed, round, len(total))
            continue
        key = _key_of(seed)
        if _public(key) != roster[at][32:]:
            raise BadInput(f"round {round}: the pieces of site {at} do not fit together")
        for other in left:  # what each of those left has of a mask with it
            common = key.exchange(X25519PublicKey.from_public_bytes(roster[other][32:]))
            total = _paired(total, at, other, common, round)
    return total


def _paired(numbers: Words, one: int, other: int, common: bytes, round: int) -> Words:
    """With the mask of a pair, as `one` of them has it."""
    mask = _stream(common, round, len(numbers))
    return numbers + mask if one < other else numbers - mask


def _key_of(seed: bytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(_derived(seed, b"pair", 0))


def _shamir() -> Any:
    """Pieces of a secret, of the extra `private`."""
    from Crypto.Protocol.SecretSharing import Shamir  # nosec B413  # of pycryptodome, which is kept

    return Shamir


def _public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def _derived(secret: bytes, what: bytes, round: int, sender: int = 0) -> bytes:
    """32 bytes for one use."""
    info = b"ddnn " + what + round.to_bytes(8, "little") + sender.to_bytes(8, "little")
    return HKDF(SHA256(), 32, salt=None, info=info).derive(secret)


def _stream(secret: bytes, round: int, count: int) -> Words:
    """(count,) numbers modulo 2⁶⁴, from a secret, by ChaCha20."""
    cipher = Cipher(algorithms.ChaCha20(_derived(secret, b"mask", round), bytes(16)), mode=None)
    return np.frombuffer(cipher.encryptor().update(bytes(8 * count)), "<u8").astype(np.uint64)
