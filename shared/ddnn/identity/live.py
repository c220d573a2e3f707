"""A tier's identity in use: what it shows, whom it trusts, who was revoked; read again when its files change.

The standard library checks chains and dates; the name at the other end, revocations, and dates that pass while a
connection is kept are checked here.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.x509.oid import NameOID

from ddnn.errors import BadConfig, Forbidden
from ddnn.identity.names import AUTHORITY_FILE, REVOKED_FILE, TIER_FILE, Name
from ddnn.types import Tier

__all__ = ["Identity", "Peer"]

_log = logging.getLogger("ddnn")
_FILES: Final = (TIER_FILE, AUTHORITY_FILE, REVOKED_FILE)
_LOOK_S: Final = 1.0
_MOST_BYTES: Final = 4 << 20  #: of a file
_LATE: Final = 1 / 3  #: share of a certificate's life that is left when its tier begins to warn


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of a connection, as its certificate names it."""

    name: Name
    serial: int
    expires: float  #: seconds since 1970
    authority: str = ""  #: the name of the one that signed its certificate
    caller: str = field(init=False, compare=False, default="")  #: its name in words, which every request asks for

    def __post_init__(self) -> None:
        object.__setattr__(self, "caller", str(self.name))

    @classmethod
    def of(cls, certificate: dict[str, Any] | None) -> "Peer | None":
        """Out of what `ssl` gives; None without a certificate, or where it names no tier."""
        name = Name.of(certificate) if certificate else None
        if certificate is None or name is None:
            return None
        expires = ssl.cert_time_to_seconds(certificate["notAfter"])
        return cls(name, int(certificate["serialNumber"], 16), expires, _issuer(certificate))


@dataclass(frozen=True, slots=True)
class _Read:
    """The files of a moment."""

    name: Name
    began: float
    expires: float
    revoked: frozenset[int]
    trusts: tuple[str, ...]  #: names of authorities
    server: ssl.SSLContext
    client: ssl.SSLContext


class _Live(ssl.SSLContext):
    """A context that makes every connection by another, which may be replaced while a server listens."""

    now: ssl.SSLContext

    def wrap_bio(self, *args: Any, **given: Any) -> ssl.SSLObject:
        return self.now.wrap_bio(*args, **given)


class Identity:
    """What `DDNN_IDENTITY` holds for one tier; `server` and `client` are contexts that follow the files."""

    def __init__(self, folder: Path, tier: Tier, index: int) -> None:
        """Raise `BadConfig` where the folder is not that of this tier."""
        self._folder, self._tier, self._index = folder, tier, index
        self._above: tuple[Tier, int] | None = None
        self._stamp = self._look()
        self._read = self._load()
        self.server, self.client = _Live(ssl.PROTOCOL_TLS_SERVER), _Live(ssl.PROTOCOL_TLS_CLIENT)
        self._task: asyncio.Task[None] | None = None
        self._warned = False
        self._use(self._read)

    @property
    def name(self) -> Name:
        """Whom this tier speaks for."""
        return self._read.name

    @property
    def expires(self) -> float:
        """When its certificate does, in seconds since 1970."""
        return self._read.expires

    def document(self) -> dict[str, Any]:
        """The same for a person."""
        expires = datetime.fromtimestamp(self.expires, UTC).isoformat(timespec="seconds")
        own = {"name": self.name.uri, "expires": expires, "revoked": len(self._read.revoked)}
        return {**own, "trusts": list(self._read.trusts)}

    def expect(self, tier: Tier, index: int) -> None:
        """Name the one tier that `client` connects to."""
        self._above = tier, index

    def demand(self, peer: Peer | None, tier: Tier, index: int) -> None:
        """Raise `Forbidden` unless the other end is this tier, by a certificate that is good now."""
        if problem := self.problem(peer, tier, index):
            problem = problem if peer else "this connection showed no certificate of a tier"
            raise Forbidden(f"{problem}; only {tier} {index} may speak for itself")

    def problem(self, peer: Peer | None, tier: Tier, index: int) -> str:
        """Why the other end is not this tier; empty where it is."""
        if peer is None:
            return "its certificate names no tier"
        name, read = peer.name, self._read
        if peer.serial in read.revoked:
            return f"the certificate of {name} is revoked"
        if peer.expires < time.time():
            return f"the certificate of {name} has expired"
        if peer.authority not in read.trusts:
            return f"the certificate of {name} is of an authority that is not trusted any more"
        if name.index != index or name.tier is not tier or name.site != read.name.site:
            return f"it has the certificate of {name}"
        return ""

    def start(self, changed: Callable[[], Awaitable[object]] | None = None) -> None:
        """Look at the files once a second from now on; `changed` is called when others are in use."""
        self._task = self._task or asyncio.create_task(self._watch(changed))

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None

    def refresh(self) -> bool:
        """Take what has changed, and say whether anything has; what cannot be used is logged, and changes nothing."""
        if (stamp := self._look()) == self._stamp:
            return False
        self._stamp = stamp
        try:
            read = self._load()
        except BadConfig as error:
            _log.warning("the identity stays as it was: %s", error)
            return False
        self._use(read)
        return True

    async def _watch(self, changed: Callable[[], Awaitable[object]] | None) -> None:
        while True:
            self._warn()
            await asyncio.sleep(_LOOK_S)
            if await asyncio.to_thread(self.refresh):
                _log.info("identity read again: %s, %s revoked", self.name, len(self._read.revoked))
                if changed:
                    await changed()

    def _warn(self) -> None:
        left, life = self.expires - time.time(), self.expires - self._read.began
        if (late := left < _LATE * life) and not self._warned:
            _log.warning("the certificate of %s expires in %.1f days; `ddnn identity rotate`", self.name, left / 86400)
        self._warned = late

    def _use(self, read: _Read) -> None:
        self._read, self.server.now, self.client.now = read, read.server, read.client

    def _look(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_stamp, (self._folder / name for name in _FILES)))

    def _load(self) -> _Read:
        own, trusted, lists = (_pem(self._folder / name) for name in _FILES)
        try:
            certificate = x509.load_pem_x509_certificate(own)
            authorities = x509.load_pem_x509_certificates(trusted)
            revoked = _revoked(lists, authorities)
            contexts = [self._context(kind) for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT)]
        except (ValueError, OSError, x509.ExtensionNotFound) as error:  # an `SSLError` is an `OSError`
            raise BadConfig(f"DDNN_IDENTITY {self._folder} cannot be used ({error}); expected {_EXPECTED}") from error
        name = _name(certificate)
        if name is None or (name.tier, name.index) != (self._tier, self._index):
            found = f"DDNN_IDENTITY {self._folder} holds the certificate of {name or 'no tier'}"
            raise BadConfig(f"{found}; this is {self._tier} {self._index}")
        dates = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        trusts = tuple(_common_name(each) for each in authorities)
        return _Read(name, *dates, revoked, trusts, *contexts)

    def _context(self, protocol: Any) -> ssl.SSLContext:
        context = ssl.SSLContext(protocol)
        context.minimum_version = ssl.TLSVersion.TLSv1_3 if protocol is ssl.PROTOCOL_TLS_CLIENT else _OLDEST
        context.set_ciphers(_CIPHERS)
        context.check_hostname = False  # a tier above is known by its name at the site, wherever it listens
        context.verify_mode = ssl.CERT_OPTIONAL if protocol is ssl.PROTOCOL_TLS_SERVER else ssl.CERT_REQUIRED
        context.load_verify_locations(self._folder / AUTHORITY_FILE)
        context.load_cert_chain(self._folder / TIER_FILE, password=_refuse)
        if protocol is ssl.PROTOCOL_TLS_CLIENT:
            context.sslobject_class = _checked(self._refuse_other)
        return context

    def _refuse_other(self, certificate: dict[str, Any] | None) -> None:
        """Raise before anything is sent to whoever is not the tier above."""
        assert self._above is not None
        if problem := self.problem(Peer.of(certificate), *self._above):
            raise ssl.SSLCertVerificationError(f"{problem}, not of {self._above[0]} {self._above[1]}")


_EXPECTED: Final = f"the folder of a tier, with {', '.join(_FILES)}, that `ddnn identity init` made"
_CIPHERS: Final = "ECDHE+AESGCM:ECDHE+CHACHA20"  #: of TLS 1.2; those of 1.3 are all as good
_OLDEST: Final = ssl.TLSVersion.TLSv1_2  #: small sensors may not speak a newer one


def _checked(check: Callable[[dict[str, Any] | None], None]) -> type[ssl.SSLObject]:
    """Connections that end with their handshake where `check` raises of the other end's certificate."""

    class Checked(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            check(self.getpeercert())

    return Checked


def _name(certificate: x509.Certificate) -> Name | None:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return Name.parse(uris[0]) if len(uris) == 1 else None


def _issuer(certificate: dict[str, Any]) -> str:
    """The name of the authority in a certificate as `ssl` gives it."""
    names = dict(pair for part in certificate.get("issuer", ()) for pair in part)
    return str(names.get("commonName", ""))


def _common_name(certificate: x509.Certificate) -> str:
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


def _revoked(lists: bytes, authorities: list[x509.Certificate]) -> frozenset[int]:
    """Serial numbers on lists that the authorities signed, each its own."""
    found: set[int] = set()
    end = b"-----END X509 CRL-----\n"
    parts = [part + end for part in lists.split(end) if part.strip()]
    signed = 0
    for listed in map(x509.load_pem_x509_crl, parts):
        if not any(listed.is_signature_valid(authority.public_key()) for authority in authorities):  # type: ignore[arg-type]
            raise ValueError(f"{REVOKED_FILE} holds a list that no authority in {AUTHORITY_FILE} has signed")
        signed += 1
        found |= {entry.serial_number for entry in listed}
    if not signed:
        raise ValueError(f"{REVOKED_FILE} holds no list")
    return frozenset(found)


def _pem(file: Path) -> bytes:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise OSError("it is too large")
        return file.read_bytes()
    except OSError as error:
        raise BadConfig(f"{file} cannot be read ({error.strerror or error}); expected {_EXPECTED}") from error


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _refuse() -> str:
    raise OSError("the key is protected by a password")
