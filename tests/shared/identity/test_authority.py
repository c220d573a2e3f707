"""A site's authority: what it makes, on whose word, and what it refuses."""

import ssl
from pathlib import Path

import pytest
from cryptography import x509

from ddnn.bundle import Bundle, shipped_bundle
from ddnn.errors import BadConfig, BadInput, Forbidden
from ddnn.fleet.site import furnish
from ddnn.identity import Identity, Name, Peer
from ddnn.identity.authority import Authority, Issued
from ddnn.types import Tier

MINE = "ddnn site plant-7"  #: the name of the authority
MOMENT_DAYS = 1e-6  #: a life of a tenth of a second


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "site", "plant-7")


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("ddnn://plant-7/device/3", Name("plant-7", Tier.DEVICE, 3)),
        ("ddnn://plant-7/device/03", None),
        ("ddnn://plant-7/device/3/", None),
        ("ddnn://plant-7/sensor/3", None),
        ("ddnn://Plant/device/3", None),
        ("https://plant-7/device/3", None),
    ],
)
def test_a_name_is_read_in_one_spelling_only(uri: str, name: Name | None) -> None:
    assert Name.parse(uri) == name
    assert name is None or name.uri == uri


def test_a_certificate_with_two_names_speaks_for_none() -> None:
    uris = [("URI", "ddnn://plant-7/device/3"), ("URI", "ddnn://plant-7/device/4")]
    assert Name.of({"subjectAltName": uris[:1]}) == Name("plant-7", Tier.DEVICE, 3)
    assert Name.of({"subjectAltName": uris}) is None
    assert Name.of({"subjectAltName": [("DNS", "device-3")]}) is None


def test_a_tier_folder_is_all_a_tier_needs_and_its_key_is_its_own(authority: Authority) -> None:
    authority.issue(Tier.DEVICE, 3, ["camera-3.local"], days=7)
    folder = authority.folder / "device-3"
    assert {path.name for path in folder.iterdir()} == {"tier.pem", "authority.pem", "revoked.pem"}
    assert (folder / "tier.pem").stat().st_mode & 0o777 == 0o600
    assert (authority.folder / "authority" / "key.pem").stat().st_mode & 0o777 == 0o600
    assert Identity(folder, Tier.DEVICE, 3).name == Name("plant-7", Tier.DEVICE, 3)
    names = x509.load_pem_x509_certificate((folder / "tier.pem").read_bytes()).extensions
    hosts = names.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    assert hosts == ["camera-3.local", "device-3", "localhost"]


def test_a_folder_of_another_tier_is_refused_by_name(authority: Authority) -> None:
    authority.issue(Tier.DEVICE, 3, days=7)
    with pytest.raises(BadConfig, match="holds the certificate of device 3 of plant-7; this is device 4"):
        Identity(authority.folder / "device-3", Tier.DEVICE, 4)
    with pytest.raises(BadConfig, match=r"tier\.pem cannot be read .*; expected the folder of a tier"):
        Identity(authority.folder, Tier.DEVICE, 3)


@pytest.mark.parametrize("file", ["tier.pem", "authority.pem", "revoked.pem"])
@pytest.mark.parametrize("content", [b"", b"-----BEGIN", b"\0" * 100])
def test_a_damaged_file_is_a_sentence(authority: Authority, file: str, content: bytes) -> None:
    authority.issue(Tier.EDGE, 0, days=7)
    (authority.folder / "edge-0" / file).write_bytes(content)
    with pytest.raises(BadConfig, match=r"DDNN_IDENTITY .* cannot be used"):
        Identity(authority.folder / "edge-0", Tier.EDGE, 0)


def test_a_list_of_the_revoked_that_the_authority_has_not_signed_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    authority.issue(Tier.EDGE, 0, days=7)
    other = Authority.create(tmp_path / "other", "plant-7")
    other.issue(Tier.EDGE, 0, days=7)
    (authority.folder / "edge-0" / "revoked.pem").write_bytes((other.folder / "edge-0" / "revoked.pem").read_bytes())
    with pytest.raises(BadConfig, match=r"no authority in authority\.pem has signed"):
        Identity(authority.folder / "edge-0", Tier.EDGE, 0)


def test_only_a_good_certificate_of_the_very_tier_may_speak_for_it(authority: Authority) -> None:
    authority.issue(Tier.EDGE, 0, days=7)
    edge = Identity(authority.folder / "edge-0", Tier.EDGE, 0)
    name = Name("plant-7", Tier.DEVICE, 3)
    good = Peer(name, 1, 4e9, MINE)
    edge.demand(good, Tier.DEVICE, 3)
    for peer, wrong in [
        (None, "showed no certificate of a tier"),
        (Peer(Name("plant-7", Tier.DEVICE, 2), 1, 4e9, MINE), "the certificate of device 2 of plant-7"),
        (Peer(Name("plant-8", Tier.DEVICE, 3), 1, 4e9, MINE), "the certificate of device 3 of plant-8"),
        (Peer(Name("plant-7", Tier.EDGE, 3), 1, 4e9, MINE), "the certificate of edge 3 of plant-7"),
        (Peer(name, 1, 1.0, MINE), "the certificate of device 3 of plant-7 has expired"),
    ]:
        with pytest.raises(Forbidden, match=f"{wrong}.*; only device 3 may speak for itself"):
            edge.demand(peer, Tier.DEVICE, 3)


def test_revoking_takes_every_key_a_tier_has_had_and_another_may_be_made(authority: Authority) -> None:
    authority.issue(Tier.EDGE, 0, days=7)
    first = authority.issue(Tier.DEVICE, 3, days=7)
    (second,) = authority.rotate(["device-3"], days=7)
    edge = Identity(authority.folder / "edge-0", Tier.EDGE, 0)
    assert authority.revoke("device-3") == [first, second]
    third = authority.issue(Tier.DEVICE, 3, days=7)
    assert edge.refresh()
    for issued, good in [(first, False), (second, False), (third, True)]:
        problem = edge.problem(Peer(Name("plant-7", Tier.DEVICE, 3), int(issued.serial, 16), 4e9, MINE), Tier.DEVICE, 3)
        assert problem == ("" if good else "the certificate of device 3 of plant-7 is revoked")
    assert not edge.refresh()


def test_what_cannot_be_used_changes_nothing(authority: Authority, caplog: pytest.LogCaptureFixture) -> None:
    authority.issue(Tier.EDGE, 0, days=7)
    edge, folder = Identity(authority.folder / "edge-0", Tier.EDGE, 0), authority.folder / "edge-0"
    (folder / "revoked.pem").unlink()
    assert not edge.refresh()
    assert "the identity stays as it was: " in caplog.text
    authority.rotate(["edge-0"], days=9)
    assert edge.refresh()
    assert edge.expires == pytest.approx(ssl_expiry(folder), abs=1)


def ssl_expiry(folder: Path) -> float:
    """When the certificate in a tier's folder expires."""
    return x509.load_pem_x509_certificate((folder / "tier.pem").read_bytes()).not_valid_after_utc.timestamp()


def test_furnishing_again_makes_what_is_missing_or_due_and_nothing_for_the_revoked(tmp_path: Path) -> None:
    topology, site = Bundle.open(shipped_bundle()).topology, tmp_path / "site"
    assert len(furnish(site, topology)) == 8
    assert furnish(site, topology) == []
    authority = Authority(site)
    authority.revoke("device-5")
    authority.issue(Tier.DEVICE, 2, days=MOMENT_DAYS)
    assert {each.folder for each in furnish(site, topology)} <= {"device-2"}
    assert {each.folder for each in Authority(site).issued if each.revoked} == {"device-5"}


def test_an_authority_is_made_once_and_needs_a_name(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="has an authority already"):
        Authority.create(authority.folder, "plant-7")
    with pytest.raises(BadInput, match="the site's name is 'Plant 7'"):
        Authority.create(tmp_path / "other", "Plant 7")
    with pytest.raises(BadInput, match="has no authority"):
        Authority(tmp_path)
    with pytest.raises(BadInput, match="device-9 has no certificate that is good"):
        authority.revoke("device-9")
    with pytest.raises(BadInput, match="a certificate for 1000 days"):
        authority.issue(Tier.EDGE, 0, days=1000)


def test_the_standard_library_believes_the_chain(authority: Authority) -> None:
    authority.issue(Tier.EDGE, 0, days=7)
    authority.issue(Tier.DEVICE, 0, days=7)
    edge = Identity(authority.folder / "edge-0", Tier.EDGE, 0)
    device = Identity(authority.folder / "device-0", Tier.DEVICE, 0)
    device.expect(Tier.EDGE, 0)
    seen = shake_hands(edge, device)
    assert seen is not None
    assert seen.name == Name("plant-7", Tier.DEVICE, 0)
    device.expect(Tier.EDGE, 1)
    with pytest.raises(ssl.SSLCertVerificationError, match="the certificate of edge 0 of plant-7, not of edge 1"):
        shake_hands(edge, device)


def shake_hands(server: Identity, client: Identity) -> Peer | None:
    """What the server knows of the client after a handshake in memory."""
    pipes = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.client.wrap_bio(*pipes, server_side=False, server_hostname="localhost"),
        server.server.wrap_bio(*reversed(pipes), server_side=True),
    ]
    for _ in range(6):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return Peer.of(ends[1].getpeercert())


def test_an_authority_is_replaced_in_three_steps_of_which_each_trusts_what_the_one_before_has_signed(
    authority: Authority,
) -> None:
    folder = authority.folder / "edge-0"
    old = [authority.issue(Tier.EDGE, 0, days=7), authority.issue(Tier.DEVICE, 3, days=7)]
    authority.issue(Tier.DEVICE, 4, days=7)
    authority.revoke("device-4")
    edge = Identity(folder, Tier.EDGE, 0)
    new = f"{MINE} 2"

    def peer(issued: Issued) -> Peer:
        return Peer(Name("plant-7", issued.tier, issued.index), int(issued.serial, 16), 4e9, issued.authority)

    def problem(issued: Issued) -> str:
        return edge.problem(peer(issued), issued.tier, issued.index)

    assert (authority.step, Authority(authority.folder).replace(days=7)) == (0, 1)
    assert edge.refresh()
    assert edge.document()["trusts"] == [MINE, new]
    between = Authority(authority.folder).issue(Tier.DEVICE, 5, days=7)
    assert [problem(each) for each in (*old, between)] == ["", "", ""]

    assert Authority(authority.folder).replace(days=7) == 2
    shown = Authority(authority.folder).shown
    assert {each.authority for each in shown.values() if not each.revoked} == {new}
    assert shown["device-4"].revoked
    assert edge.refresh()
    assert [problem(each) for each in (*old, between, shown["device-3"])] == ["", "", "", ""]
    revoked = Peer(Name("plant-7", Tier.DEVICE, 4), int(shown["device-4"].serial, 16), 4e9, MINE)
    assert "is revoked" in edge.problem(revoked, Tier.DEVICE, 4)

    assert Authority(authority.folder).replace(days=7) == 0
    assert edge.refresh()
    assert edge.document()["trusts"] == [new]
    assert all("not trusted any more" in problem(each) for each in (*old, between))
    assert problem(shown["device-3"]) == ""
    assert Authority(authority.folder).replace(days=7) == 1
    assert Authority(authority.folder).trusts == [new, f"{MINE} 3"]


def test_a_step_that_was_interrupted_is_finished_before_the_next(authority: Authority) -> None:
    authority.issue(Tier.EDGE, 0, days=7)
    authority.issue(Tier.DEVICE, 0, days=7)
    authority.replace(days=7)
    own = authority.folder / "authority"
    (own / "next-key.pem").replace(own / "key.pem")  # and then the power failed
    assert Authority(authority.folder).step == 2
    assert Authority(authority.folder).replace(days=7) == 2
    again = Authority(authority.folder)
    assert {each.authority for each in again.shown.values()} == {f"{MINE} 2"}
    assert again.replace(days=7) == 0
    for name, tier in (("edge-0", Tier.EDGE), ("device-0", Tier.DEVICE)):
        Identity(authority.folder / name, tier, 0)


def test_a_site_of_the_longest_name_has_an_authority_and_another(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path / "site", "p" * 63)
    authority.issue(Tier.CLOUD, 0, days=7)
    for _ in range(4):
        authority.replace(days=7)
    assert [name.rpartition(" ")[2] for name in Authority(tmp_path / "site").trusts] == ["2", "3"]
