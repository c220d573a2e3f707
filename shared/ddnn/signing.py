"""Signatures beside the seals: Ed25519 over what a seal names, by keys in PEM files."""

import os
from binascii import unhexlify
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from pydantic import Field, StringConstraints

from ddnn.errors import BadInput
from ddnn.seal import Frozen, write_atomically

__all__ = ["SIGNING_KEY", "Signature", "TrustedKeys", "make_key", "read_key", "sign"]

SIGNING_KEY: Final = "DDNN_SIGNING_KEY"  #: PEM of a key, where no file has it
_END: Final = b"-----END PUBLIC KEY-----"

What = Literal["bundle", "policy"]


class Signature(Frozen):
    """Whose word a bundle or a policy is."""

    key: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]  #: the public key, in hexadecimal
    value: Annotated[str, StringConstraints(pattern="^[0-9a-f]{128}$")]
    version: int = Field(default=0, ge=0, lt=1 << 53)
    """Of a bundle: a tier takes none that is older than what it has served; 0 of a word without one."""


class TrustedKeys:
    """The public keys whose word is taken."""

    def __init__(self, keys: Iterable[str]) -> None:
        """`keys` in hexadecimal."""
        self._keys = frozenset(keys)

    @classmethod
    def read(cls, files: Iterable[Path]) -> "TrustedKeys":
        """Those in PEM files, one or more each; raise `BadInput`."""
        return cls(key for file in files for key in _public_keys(file))

    def demand(self, what: What, digest: str, signature: Signature | None) -> None:
        """Raise `BadInput` unless one of the keys has signed the SHA-256 `digest` as that of a bundle or a policy."""
        if signature is None:
            raise BadInput(f"the {what} is not signed; expected the word of {self}")
        if signature.key not in self._keys:
            raise BadInput(f"the {what} is signed by {signature.key[:12]}; expected the word of {self}")
        try:
            key = Ed25519PublicKey.from_public_bytes(unhexlify(signature.key))
            key.verify(unhexlify(signature.value), _text(what, digest, signature.version))
        except (InvalidSignature, ValueError) as error:
            found = f"the {what} was changed after {signature.key[:12]} signed it, or it signed another"
            raise BadInput(f"{found}; expected its word on {digest[:12]}") from error

    def __str__(self) -> str:
        return " or ".join(sorted(key[:12] for key in self._keys))


def sign(key: Ed25519PrivateKey, what: What, digest: str, version: int = 0) -> Signature:
    """Give a key's word on the SHA-256 `digest` of a bundle, as of that version, or of a policy."""
    return Signature(key=_hex(key.public_key()), value=key.sign(_text(what, digest, version)).hex(), version=version)


def make_key(file: Path) -> Path:
    """Make a key in `file`, and beside it `.pub.pem`, which is for those who trust it; raise `BadInput`."""
    if file.exists():
        raise BadInput(f"{file} exists; expected a new file")
    key, public = Ed25519PrivateKey.generate(), file.with_suffix(".pub.pem")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write_atomically(public, key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    write_atomically(file, pem, mode=0o600)
    return public


def read_key(file: Path | None) -> Ed25519PrivateKey:
    """The key in `file`, else in the environment; raise `BadInput`."""
    if file is None and not os.environ.get(SIGNING_KEY):
        raise BadInput(f"there is no key to sign with; give --key or set {SIGNING_KEY} to its PEM")
    where = SIGNING_KEY if file is None else str(file)
    try:
        key = load_pem_private_key(file.read_bytes() if file else os.environ[SIGNING_KEY].encode(), None)
    except OSError as error:
        raise BadInput(f"{where} cannot be read ({(error.strerror or str(error)).lower()})") from error
    except (ValueError, TypeError) as error:  # a password is wanted: a `TypeError`
        raise BadInput(f"{where} is no PEM key that is open; expected one that `ddnn sign --make-key` made") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise BadInput(f"{where} is a key of another kind; expected Ed25519")
    return key


def _public_keys(file: Path) -> list[str]:
    try:
        parts = [part + _END for part in file.read_bytes().split(_END)[:-1]]
        keys = [load_pem_public_key(part.strip()) for part in parts]
    except OSError as error:
        raise BadInput(f"{file} cannot be read ({(error.strerror or str(error)).lower()})") from error
    except ValueError as error:
        raise BadInput(f"{file} is no PEM of public keys; expected what `ddnn sign --make-key` made") from error
    found = [_hex(key) for key in keys if isinstance(key, Ed25519PublicKey)]
    if not found or len(found) < len(keys):
        raise BadInput(f"{file} holds no public key, or one of another kind; expected Ed25519")
    return found


def _hex(key: Ed25519PublicKey) -> str:
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def _text(what: What, digest: str, version: int) -> bytes:
    numbered = f" {version}" if version else ""
    return f"ddnn {what} {digest}{numbered}".encode()  # a word on a policy is none on a bundle
