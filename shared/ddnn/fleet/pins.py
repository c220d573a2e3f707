"""Digests of the images that a compose file names, as settings that compose reads: the same bytes on every machine."""

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from ddnn.errors import BadInput, DDNNError
from ddnn.seal import write_atomically

__all__ = ["digest_of", "images_in", "pinned", "write_pins"]

_IMAGE: Final = re.compile(
    r"\$\{([A-Z][A-Z0-9_]*):-([a-z0-9][a-z0-9.:/_-]*:[A-Za-z0-9._-]+(?:@sha256:[0-9a-f]{64})?)\}"
)
_DIGEST: Final = re.compile(r"^Digest:\s+(sha256:[0-9a-f]{64})$", re.MULTILINE)
_LONGEST_S: Final = 60.0  #: for one image


def images_in(file: Path) -> dict[str, str]:
    """The images that a compose file has from elsewhere, by the settings that name others; raise `BadInput`."""
    try:
        found = dict(_IMAGE.findall(file.read_text("utf-8")))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read ({error}); expected a compose file by `ddnn deploy compose`") from error
    if not found:
        raise BadInput(f"{file} names no image as `${{NAME:-image:tag}}`; expected one by `ddnn deploy compose`")
    return found


def digest_of(image: str) -> str:
    """What the image's registry says its name means now, asked by Docker; raise `DDNNError` where it does not."""
    command = ["docker", "buildx", "imagetools", "inspect", image]  # its --format is another from version to version
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    except FileNotFoundError as error:
        raise DDNNError("there is no `docker` here, which asks registries; expected it with its buildx") from error
    except subprocess.TimeoutExpired as error:
        raise DDNNError(f"the registry of {image} gave none within {_LONGEST_S:g} s; nothing was written") from error
    said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if done.returncode or not (digest := _DIGEST.search(done.stdout)):
        raise DDNNError(f"the registry of {image} gave no digest ({said[:300]}); nothing was written")
    return digest[1]


def pinned(images: Mapping[str, str], ask: Callable[[str], str] = digest_of) -> dict[str, str]:
    """Each image with the digest that its name and version have now, `name:tag@sha256:…`, by its setting."""
    named = {name: image.partition("@")[0] for name, image in images.items()}
    return {name: f"{image}@{ask(image)}" for name, image in named.items()}


def write_pins(file: Path, pins: Mapping[str, str]) -> None:
    """Put the settings into an environment file, in the places of earlier ones; what else is in it stays."""
    lines = file.read_text("utf-8").splitlines() if file.exists() else []
    kept = [line for line in lines if line.partition("=")[0].strip() not in pins]
    text = "\n".join([*kept, *(f"{name}={image}" for name, image in pins.items())])
    mode = file.stat().st_mode & 0o777 if file.exists() else 0o600  # tokens are in it, too
    write_atomically(file, f"{text}\n", mode=mode)
