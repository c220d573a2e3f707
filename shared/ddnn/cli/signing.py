"""`ddnn sign` and `ddnn verify`: whose word a bundle or a policy is."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Argument, Option

from ddnn.cli.options import Json, note, print_json, screen

if TYPE_CHECKING:
    from ddnn.bundle import Bundle
    from ddnn.policy import Policy
    from ddnn.signing import Signature

__all__ = ["sign", "verify"]

Signable = Annotated[Path, Argument(metavar="BUNDLE|FILE", help="Folder of a bundle, or JSON file of a policy.")]


def sign(
    what: Annotated[
        Path | None, Argument(metavar="BUNDLE|FILE", help="Folder of a bundle, or file of a policy.")
    ] = None,
    key: Annotated[Path | None, Option(help="PEM of an Ed25519 key; by default what DDNN_SIGNING_KEY holds.")] = None,
    version: Annotated[
        int | None,
        Option(
            min=1,
            help="Later than tiers have had; of a bundle by default the seconds since 1970.",
        ),
    ] = None,
    make_key: Annotated[
        Path | None, Option(metavar="FILE", help="Make a key in FILE, and FILE.pub.pem; sign nothing.")
    ] = None,
) -> None:
    """Sign a bundle with its policy, or a policy alone, in its place, beside its seal.

    A tier with `DDNN_TRUSTED_KEYS` takes nothing else, and nothing older than it has had: a bundle or a policy that is
    to come back is signed again, under a later version.

    Example: `ddnn sign --make-key operator.pem`, `ddnn sign BUNDLE --key operator.pem`,
    `ddnn sign policy.json --version 7 --key operator.pem`
    """
    from ddnn.errors import BadInput
    from ddnn.seal import write_sealed
    from ddnn.signing import make_key as make
    from ddnn.signing import read_key

    if make_key:
        typer.echo(f"{make_key} signs; {make(make_key)} is for DDNN_TRUSTED_KEYS and `ddnn verify --trust`")
        return
    if what is None:
        raise BadInput("there is nothing to sign; expected a bundle's folder, a policy's file, or --make-key")
    private = read_key(key)
    bundle, policy = _open(what)
    if bundle:
        number = version or int(time.time())
        bundle.verify()
        bundle.sign(private, number)
        assert bundle.signature is not None
        versions = f"bundle, as of version {number}, and policy version {policy.version}"
        typer.echo(f"{what}: {versions}, signed by {bundle.signature.key[:12]}")
        return
    policy = policy.model_copy(update={"version": version or policy.version}).signed(private)
    write_sealed(what, policy.model_dump(mode="json"), seal="checksum")
    assert policy.signature is not None
    typer.echo(f"{what}: policy version {policy.version} signed by {policy.signature.key[:12]}")


def verify(
    what: Signable,
    trust: Annotated[list[Path], Option(help="PEM of public keys whose word is taken; again for more.")],
    as_json: Json = False,
) -> None:
    """Check that keys you trust have signed a bundle with its policy, and that no file was changed; or a policy alone.

    Exit code 1 when they have not.

    Example: `ddnn verify BUNDLE --trust operator.pub.pem`
    """
    from ddnn.errors import BadInput
    from ddnn.signing import TrustedKeys

    trusted = TrustedKeys.read(trust)
    bundle, policy = _open(what)
    problem = ""
    try:
        if bundle:
            bundle.demand(trusted)
            bundle.verify()
        else:
            trusted.demand("policy", policy.digest, policy.signature)
    except BadInput as error:
        problem = str(error)
    if as_json:
        signed = {"policy": _key(policy.signature), **({"bundle": _key(bundle.signature)} if bundle else {})}
        of = bundle.signature.version if bundle and bundle.signature else None
        versions = {"version": policy.version, "bundle_version": of}
        print_json({"good": not problem, "problem": problem, **versions, "signed_by": signed})
    elif problem:
        note(problem)
    else:
        screen(soft_wrap=True).print(f"{what}: good; policy version {policy.version}", markup=False)
    if problem:
        raise typer.Exit(1)


def _open(what: Path) -> tuple["Bundle | None", "Policy"]:
    from ddnn.bundle import Bundle
    from ddnn.fleet.policy import read_policy

    if what.is_dir():
        bundle = Bundle.open(what)
        return bundle, bundle.policy
    return None, read_policy(what)


def _key(signature: "Signature | None") -> Any:
    return signature and signature.key
