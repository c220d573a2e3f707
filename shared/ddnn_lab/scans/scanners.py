"""Scanners that others have written: what each is told to do, how to get it, and what of its words is kept."""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from ddnn.uplink.uplink import INFER_PATH
from ddnn_lab.scans.held import Held

__all__ = ["NICE", "SCANNERS", "Scanner"]

NICE: Final = 10  #: attackers work on machines of their own; here they leave the cores to the fleet


@dataclass(frozen=True)
class Scanner:
    """One program."""

    program: str
    tiers: tuple[str, ...]  #: that it is sent to, one after the other
    command: Callable[[Held, str, int], list[str]]  #: for a tier, for so many seconds
    keeps: str  #: what matches this in its output is told
    install: str
    share: float = 1.0  #: of the time that a scan has

    @property
    def path(self) -> str | None:
        """Where it is, beside this Python or on the way to programs; None where it is not."""
        beside = Path(sys.executable).parent / self.program
        return str(beside) if beside.is_file() else shutil.which(self.program)

    def run(self, held: Held, tier: str, seconds: float, log: Path) -> dict[str, list[str]]:
        """Its lines worth telling, as `said`; all that it wrote is in `log`."""
        command = [self.path or self.program, *self.command(held, tier, max(1, int(seconds)))]
        with log.open("wb") as out:
            process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
            os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
            code = process.wait()
        plain = re.sub(r"\x1b\[[0-9;]*m", "", log.read_text(errors="replace"))
        kept = Counter(found[0].strip() for found in re.finditer(self.keeps, plain, re.MULTILINE))
        return {
            "said": [*(f"{count} × {line}" if count > 1 else line for line, count in kept.items()), f"exit code {code}"]
        }


def _schemathesis(held: Held, tier: str, seconds: int) -> list[str]:
    token = held.admin_token if tier == "cloud" else held.token
    asks = ["run", f"{held.urls[tier]}/openapi.json", "--tls-verify", str(held.site / "authority.pem")]
    asks += ["-H", f"Authorization: Bearer {token}", "--phases", "examples,coverage,fuzzing", "--no-color"]
    asks += ["--max-time", str(seconds), "--max-examples", "100000", "--continue-on-failure", "-c", "all"]
    asks += ["--exclude-checks", "positive_data_acceptance"]  # a page cannot say that `data` must fit `shape`
    if not tier.startswith("device"):
        child, index = held.child(tier)
        asks += ["--request-cert", str(held.site / f"{child}-{index}" / "tier.pem")]
    return asks


def _sslyze(held: Held, tier: str, seconds: int) -> list[str]:
    to = urlsplit(held.urls[tier]).netloc
    return ["--certinfo_ca_file", str(held.site / "authority.pem"), "--mozilla_config", "intermediate", to]


def _slow(*how: str, path: str) -> Callable[[Held, str, int], list[str]]:
    def command(held: Held, tier: str, seconds: int) -> list[str]:
        return [*how, "-l", str(seconds), "-r", "200", "-p", "3", "-u", held.urls[tier] + path]

    return command


def _pip_audit(held: Held, tier: str, seconds: int) -> list[str]:
    return ["-r", "requirements.lock", "--disable-pip", "--require-hashes"]


_TIERS: Final = ("device-0", "edge", "cloud")
_SLOW: Final = "^service available: .*|Exit status: .*"
_APT: Final = "apt install slowhttptest"
SCANNERS: Final[dict[str, Scanner]] = {
    "schemathesis": Scanner(
        "schemathesis",
        _TIERS,
        _schemathesis,
        r"- ST\d+ .*|\d+ generated.*",
        "pip install 'ddnn[test]'",
    ),
    "sslyze": Scanner(
        "sslyze",
        _TIERS,
        _sslyze,
        r".*(VULNERABLE|ompliant\.|should).*",
        "pip install sslyze",
        0.05,
    ),
    "slowhttptest, heads": Scanner(
        *(
            "slowhttptest",
            ("device-1",),
            _slow("-H", "-c", "2000", "-i", "5", path="/v2/health/ready"),
            _SLOW,
            _APT,
            1 / 3,
        )
    ),
    "slowhttptest, bodies": Scanner(
        "slowhttptest",
        ("device-1",),
        _slow("-B", "-c", "2000", "-i", "5", "-s", "8192", "-t", "POST", path=INFER_PATH),
        _SLOW,
        _APT,
        1 / 3,
    ),
    "slowhttptest, readers": Scanner(
        "slowhttptest",
        ("device-1",),
        _slow("-X", "-c", "1000", "-w", "1", "-y", "1", "-n", "5", "-z", "1", "-k", "3", path="/openapi.json"),
        _SLOW,
        _APT,
        1 / 3,
    ),
    "pip-audit": Scanner(
        "pip-audit",
        ("the lock",),
        _pip_audit,
        r".*vulnerabilit.*|could not be audited|.*Error.*",
        "pip install pip-audit",
        0.05,
    ),
}
