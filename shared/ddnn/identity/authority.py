"""A site's authority: a folder that certificates, and the list of revoked ones, come from.

SITE/authority.pem is whom callers trust; SITE/authority/ holds the key, with which one can be any tier;
SITE/device-3/ is what `DDNN_IDENTITY` of device 3 names: its key and certificate, whom it trusts, who was revoked.

An authority is replaced in three steps, between which folders are brought to the machines: another is trusted beside
it, then signs every certificate, then is trusted alone.
"""

import getpass
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ddnn.errors import BadInput
from ddnn.identity.names import AUTHORITY_FILE, REVOKED_FILE, TIER_FILE, Name
from ddnn.seal import write_atomically
from ddnn.trail import append
from ddnn.types import Tier

__all__ = ["Authority", "Issued"]

_KEY_FILE: Final = "key.pem"
_NEXT_FILE: Final = "next-key.pem"  #: of an authority that is trusted already and signs nothing yet
_ISSUED_FILE: Final = "issued.json"
_TRAIL_FILE: Final = "audit.jsonl"
_LIFE: Final = timedelta(days=3650)  #: of the authority itself
_SKEW: Final = timedelta(minutes=10)  #: clocks at a site differ
_DUE: Final = 1 / 3  #: share of its life that a certificate has left when it is due
_HERE: Final = ("localhost", "127.0.0.1", "::1")
_MOST_DAYS: Final = 825.0
_USAGES: Final = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


@dataclass(frozen=True)
class Issued:
    """One certificate that this authority has signed."""

    tier: Tier
    index: int
    serial: str  #: in hexadecimal
    began: str  #: ISO 8601, UTC
    expires: str
    hosts: tuple[str, ...]  #: by which callers may reach the tier
    revoked: str = ""  #: when, if it was
    authority: str = ""  #: the name of the one that signed it; empty of the first

    @property
    def folder(self) -> str:
        """Name of the tier's folder."""
        return f"{self.tier}-{self.index}"

    @property
    def over(self) -> bool:
        """Whether it has expired."""
        return datetime.fromisoformat(self.expires) <= datetime.now(UTC)

    @property
    def due(self) -> bool:
        """Whether less than a third of its life is left."""
        began, expires = map(datetime.fromisoformat, (self.began, self.expires))
        return datetime.now(UTC) > expires - _DUE * (expires - began)


class Authority:
    """Opened from its folder; every change is written at once, whole files at a time."""

    def __init__(self, folder: Path) -> None:
        """Raise `BadInput` unless `create` made an authority there."""
        self.folder = folder
        try:
            key = load_pem_private_key((folder / "authority" / _KEY_FILE).read_bytes(), None)
            self._trusted = x509.load_pem_x509_certificates((folder / AUTHORITY_FILE).read_bytes())
            record = json.loads((folder / "authority" / _ISSUED_FILE).read_bytes())
            self.site: str = record["site"]
            self._issued = [_issued(each) for each in record["issued"]]
        except OSError as error:
            raise BadInput(f"{folder} has no authority ({error.strerror}); `ddnn identity init` makes one") from error
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(f"{folder} is damaged ({error}); expected what `ddnn identity init` made") from error
        mine = [each for each in self._trusted if each.public_key() == key.public_key()]
        if not isinstance(key, EllipticCurvePrivateKey) or not mine:
            raise BadInput(f"{folder} is damaged; the key in it is not that of its {AUTHORITY_FILE}")
        self._key, self._certificate = key, mine[0]

    @classmethod
    def create(cls, folder: Path, site: str) -> "Authority":
        """Make an authority in `folder`, which has none; raise `BadInput`."""
        if Name.parse(f"ddnn://{site}/cloud/0") is None:
            raise BadInput(f"the site's name is {site[:80]!r}; expected lower-case letters, digits, dots and hyphens")
        own = folder / "authority"
        if (own / _KEY_FILE).exists():
            raise BadInput(f"{folder} has an authority already; expected a folder without one")
        own.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = generate_private_key(SECP256R1())
        write_atomically(folder / AUTHORITY_FILE, _pem(_self_signed(_called(site, 1), key)))
        write_atomically(own / _ISSUED_FILE, json.dumps({"site": site, "issued": []}))
        write_atomically(own / _KEY_FILE, _key_pem(key), mode=0o600)  # last: it says that all is there
        return cls(folder)

    @classmethod
    def exists(cls, folder: Path) -> bool:
        """Whether there is one in `folder`."""
        return (folder / "authority" / _KEY_FILE).exists()

    @property
    def issued(self) -> list[Issued]:
        """Every certificate that has not expired, oldest first."""
        return [each for each in self._issued if not each.over]

    @property
    def shown(self) -> dict[str, Issued]:
        """The certificate that each tier has now, by the name of its folder."""
        return {each.folder: each for each in self.issued}

    def issue(self, tier: Tier, index: int, hosts: Iterable[str] = (), *, days: float) -> Issued:
        """Make a key and a certificate for one tier; what it had before stays good until it expires."""
        if not 0 < days <= _MOST_DAYS:
            raise BadInput(f"a certificate for {days:g} days was asked for; expected at most {_MOST_DAYS:g}")
        name, key = Name(self.site, tier, index), generate_private_key(SECP256R1())
        named = tuple(dict.fromkeys((*hosts, name.folder, *_HERE)))
        certificate = self._sign(name, key, named, timedelta(days=days))
        dates = (certificate.not_valid_before_utc.isoformat(), certificate.not_valid_after_utc.isoformat())
        mine = _common_name(self._certificate)
        issued = Issued(tier, index, f"{certificate.serial_number:x}", *dates, named, authority=mine)
        # Noted before it is there: a certificate that is not on the record could not be revoked.
        self._note([*self.issued, issued])
        folder = self.folder / name.folder
        folder.mkdir(mode=0o700, exist_ok=True)
        self._spread()
        write_atomically(folder / TIER_FILE, _key_pem(key) + _pem(certificate), mode=0o600)
        self._tell("issued", [issued])
        return issued

    def rotate(self, folders: Iterable[str], *, days: float, due: bool = False) -> list[Issued]:
        """Issue anew for the same hosts, only what is `due` if so asked; raise `BadInput` for a tier without one."""
        asked = [self._held(folder)[-1] for folder in folders]
        return [self.issue(each.tier, each.index, each.hosts, days=days) for each in asked if each.due or not due]

    @property
    def step(self) -> int:
        """How far it is replaced: 1, another is trusted too; 2, that signs; 0, there is one alone."""
        if len(self._trusted) == 1:
            return 0
        return 1 if (self.folder / "authority" / _NEXT_FILE).exists() else 2

    def replace(self, *, days: float) -> int:
        """Go a step on with replacing it, after which folders, and what callers trust, are to be brought to them.

        Return the step: 1, another is trusted beside it; 2, certificates are of that one, for so many days; 0, it is
        trusted alone. No tier goes unheard in between, wherever it has come from the step before.
        """
        own, step = self.folder / "authority", self.step
        if step == 0:
            key = generate_private_key(SECP256R1())
            write_atomically(own / _NEXT_FILE, _key_pem(key), mode=0o600)
            self._trust([self._certificate, _self_signed(_called(self.site, self._generation + 1), key)])
        elif step == 1:
            key, certificate = self._announced()
            (own / _NEXT_FILE).replace(own / _KEY_FILE)
            self._key, self._certificate = key, certificate
            self._spread()
            self.rotate(self._behind(), days=days)
        elif behind := self._behind():  # it was interrupted
            self.rotate(behind, days=days)
        else:
            self._trust([self._certificate])
        append(own / _TRAIL_FILE, "authority", _user(), "replaced", step=self.step, trusts=self.trusts)
        return self.step

    def _announced(self) -> tuple[EllipticCurvePrivateKey, x509.Certificate]:
        """The next authority's key and certificate; raise `BadInput` unless they are of each other."""
        try:
            key = load_pem_private_key((self.folder / "authority" / _NEXT_FILE).read_bytes(), None)
        except (OSError, ValueError, TypeError) as error:
            raise BadInput(f"{self.folder} is damaged ({error}); expected the key of the next authority") from error
        found = [each for each in self._trusted if each.public_key() == key.public_key()]
        if not isinstance(key, EllipticCurvePrivateKey) or not found:
            raise BadInput(f"{self.folder} is damaged; the next authority's key is not that of its certificate")
        return key, found[0]

    @property
    def trusts(self) -> list[str]:
        """Names of the authorities that tiers and callers are to trust."""
        return [_common_name(each) for each in self._trusted]

    @property
    def _generation(self) -> int:
        name = _common_name(self._certificate)
        return 1 if name == _called(self.site, 1) else int(name.rpartition(" ")[2])

    def _behind(self) -> list[str]:
        """Folders of tiers whose certificate is good, and of another authority than this."""
        mine = _common_name(self._certificate)
        shown = self.shown.items()
        return [
            folder for folder, each in shown if not each.revoked and (each.authority or _called(self.site, 1)) != mine
        ]

    def _trust(self, authorities: list[x509.Certificate]) -> None:
        self._trusted = authorities
        write_atomically(self.folder / AUTHORITY_FILE, b"".join(map(_pem, authorities)))
        self._spread()

    def revoke(self, folder: str) -> list[Issued]:
        """Revoke every certificate that the tier of this folder has had and that is good; raise `BadInput`."""
        held, now = self._held(folder), datetime.now(UTC).isoformat()
        self._note([replace(each, revoked=now) if each in held else each for each in self.issued])
        self._spread()
        self._tell("revoked", held)
        return held

    def _held(self, folder: str) -> list[Issued]:
        held = [each for each in self.issued if each.folder == folder and not each.revoked]
        if not held:
            good = dict.fromkeys(each.folder for each in self.issued if not each.revoked)
            raise BadInput(f"{folder} has no certificate that is good; those that have: {', '.join(good) or 'none'}")
        return held

    def _sign(
        self, name: Name, key: EllipticCurvePrivateKey, hosts: Sequence[str], life: timedelta
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        uses = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name.uri), *_general_names(hosts)])
        builder = _builder(_subject(name.folder), self._certificate.subject, key, now - _SKEW, now + life)
        return (
            builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(uses, critical=False)
            .add_extension(names, critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _note(self, issued: list[Issued]) -> None:
        self._issued = issued
        document = {"site": self.site, "issued": [asdict(each) for each in issued]}
        write_atomically(self.folder / "authority" / _ISSUED_FILE, json.dumps(document, indent=1), mode=0o600)

    def _tell(self, did: str, certificates: Sequence[Issued]) -> None:
        """Write down who did what to which certificates."""
        for each in certificates:
            what = {"certificate": each.folder, "serial": each.serial, "expires": each.expires}
            append(self.folder / "authority" / _TRAIL_FILE, "authority", _user(), did, **what)

    def _spread(self) -> None:
        """Write whom to trust, and who was revoked, into every tier's folder."""
        trusted, revoked = b"".join(map(_pem, self._trusted)), self._list()
        for folder in {each.folder for each in self.issued}:
            if (path := self.folder / folder).is_dir():
                write_atomically(path / AUTHORITY_FILE, trusted)
                write_atomically(path / REVOKED_FILE, revoked)

    def _list(self) -> bytes:
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder(self._certificate.subject, now - _SKEW, now + _LIFE)
        for each in self.issued:
            if each.revoked:
                when, serial = datetime.fromisoformat(each.revoked), int(each.serial, 16)
                builder = builder.add_revoked_certificate(x509.RevokedCertificateBuilder(serial, when).build())
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM)


def _user() -> str:
    """Whom this process runs as."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in a container
        return str(os.getuid())


def _issued(noted: dict[str, Any]) -> Issued:
    return Issued(**{**noted, "tier": Tier(noted["tier"]), "hosts": tuple(noted["hosts"])})


def _builder(
    subject: x509.Name, issuer: x509.Name, key: EllipticCurvePrivateKey, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder(issuer, subject, key.public_key(), x509.random_serial_number(), begins, ends)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _called(site: str, generation: int) -> str:
    """The name of a site's first, second, … authority; a common name has 64 characters at most."""
    name = f"ddnn site {site}"
    return name[:64] if generation == 1 else f"{name[:56]} {generation}"


def _common_name(certificate: x509.Certificate) -> str:
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


def _self_signed(name: str, key: EllipticCurvePrivateKey) -> x509.Certificate:
    now, subject = datetime.now(UTC), _subject(name)
    return (
        _builder(subject, subject, key, now - _SKEW, now + _LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .sign(key, hashes.SHA256())
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(**allowed: bool) -> x509.KeyUsage:
    return x509.KeyUsage(**{**dict.fromkeys(_USAGES, False), **allowed})


def _general_names(hosts: Sequence[str]) -> Iterator[x509.GeneralName]:
    for host in hosts:
        try:
            yield x509.IPAddress(ip_address(host))
        except ValueError:
            try:
                yield x509.DNSName(host)
            except ValueError as error:
                raise BadInput(f"{host[:80]!r} is no host name; expected one in ASCII, or an address") from error


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _key_pem(key: EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
