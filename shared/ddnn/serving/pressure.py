"""How pressed a tier is: which share of the events it sheds, and whether its machine has CPU left for anything else.

The share follows the lateness of the event loop as PIE follows the delay of a queue (Pan et al., RFC 8033, 2017): a
controller, proportional and integral, that keeps it at a target. The tiers below are told, and every device of
a site sheds the same events, as their ids say: an event that one device sheds is no work for the others either.
"""

import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ddnn.errors import Overloaded
from ddnn.serving.waits import Waits

__all__ = ["PRESSED_HEADER", "CpuPressure", "Pressure", "Share", "chosen"]

PRESSED_HEADER: Final = "x-ddnn-pressed"  #: of an answer: the share of the events that is better kept from this tier

_ALPHA: Final = 8.0  #: by so much falls the logarithm of what is let in, a second, for each second above the target
_BETA: Final = 3.0  #: and for each second by which the lateness has risen
_AGAIN: Final = 0.2  #: by so much it rises, a second, while the loop is in time
_MOST: Final = 0.95  #: of the events is shed; what is still let in tells when it is over
_WORTH: Final = 0.1  #: a smaller share is that of a burst, which needs none
_LEAST: Final = math.log(1 - _MOST)
_WEIGHT_S: Final = 0.05  #: lateness is the mean of about so long
_STEPS: Final = 32  #: in which the share is told
_SCARCE: Final = 0.5  #: of the time some task waits for a CPU: this machine has none to spare
_READ_S: Final = 0.1
_GOLDEN: Final = 0.6180339887498949


class Share:
    """The share of the events to be shed.

    What moves is the logarithm of what is let in: so a step counts the same at twice the load as at ten times.
    """

    def __init__(self, target_s: float) -> None:
        self.value = 0.0
        self._target_s, self._late_s, self._let_in = target_s, 0.0, 0.0

    def follow(self, late_s: float, seconds: float) -> float:
        """The loop was `late_s` late, `seconds` after the last look; the share from now on."""
        before = self._late_s
        self._late_s = late = before + min(1.0, seconds / _WEIGHT_S) * (late_s - before)
        self._let_in -= _ALPHA * (late - self._target_s) * seconds + _BETA * (late - before)
        if late < self._target_s / 2:
            self._let_in += _AGAIN * seconds
        self._let_in = min(max(self._let_in, _LEAST), 0.0)
        self.value = 1 - math.exp(self._let_in)
        return self.value


class CpuPressure:
    """For which share of the time some task waits for a CPU, as Linux counts it (pressure stall information).

    Of this process's control group (v2) where it has one, of a container that is, else of the machine; None where there
    is neither.
    """

    def __init__(
        self,
        proc: Path = Path("/proc"),
        cgroup: Path = Path("/sys/fs/cgroup"),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._last = clock, (0.0, 0.0)
        self.share: float | None = None  #: 0 to 1, of the time between the last two times that it was read
        self.file = next((file for file in _candidates(proc, cgroup) if _waited_s(file) is not None), None)
        self.read()

    def read(self) -> None:
        """Read it, if that is a while ago."""
        now, (at, before) = self._clock(), self._last
        if self.file is None or now - at < _READ_S:
            return
        waited = _waited_s(self.file)
        if waited is None:
            self.file = self.share = None
            return
        if at:
            self.share = min(max((waited - before) / (now - at), 0.0), 1.0)
        self._last = now, waited


def _candidates(proc: Path, cgroup: Path) -> list[Path]:
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    own = [line.removeprefix("0::").lstrip("/") for line in lines if line.startswith("0::")]
    return [*(cgroup / path / "cpu.pressure" for path in own), cgroup / "cpu.pressure", proc / "pressure" / "cpu"]


def _waited_s(file: Path) -> float | None:
    """Seconds, since some moment, for which some task waited; None where that is not told."""
    try:
        first = file.read_text().split("\n", 1)[0]
        return int(first.rpartition("total=")[2]) / 1e6 if first.startswith("some ") else None
    except (OSError, ValueError):  # EOPNOTSUPP where the kernel counts none
        return None


class Pressure:
    """Of one tier; `target_s`: how late its loop may stand, 0: nothing is shed for it."""

    def __init__(
        self, target_s: float, busy: Callable[[], bool], cpu: CpuPressure | None = None, waits: Waits | None = None
    ) -> None:
        """`busy`: whether it has so much to do that less would help.

        How long requests wait counts besides where the machine has no CPU left: the tiers above that share it are those
        that get the least of it, and too late to tell.
        """
        self._target_s, self._busy, self._own, self._waits = target_s, busy, Share(target_s), waits
        self.cpu = cpu or CpuPressure()
        self.late_s = 0.0
        self._listeners: dict[Callable[[], object], None] = {}
        self._told = 0.0
        self._without_id = 0

    @property
    def share(self) -> float:
        """Of the events that is shed here."""
        waits = self._waits.share if self._waits and self._target_s and self.scarce else 0.0
        share = min(max(self._own.value, waits), _MOST)
        return share if share >= _WORTH else 0.0

    @property
    def told(self) -> float:
        """The same in steps, as the tiers below are told it."""
        return self._told

    @property
    def scarce(self) -> bool:
        """Whether this machine has no CPU left; where nothing tells, whether the loop is late."""
        return self.late_s > self._target_s if self.cpu.share is None else self.cpu.share > _SCARCE

    def look(self, late_s: float, seconds: float) -> None:
        """The event loop was `late_s` late, `seconds` after the last look."""
        self.late_s = late_s
        self.cpu.read()
        if not self._target_s:
            return
        if self._waits:
            self._waits.look()
        own = self._own.follow(late_s if self._busy() else 0.0, seconds)
        told = round(own * _STEPS) / _STEPS if own >= _WORTH else 0.0
        if told != self._told:
            self._told = told
            for listener in [*self._listeners]:
                listener()

    def listen(self, listener: Callable[[], object]) -> Callable[[], None]:
        """Call `listener` whenever `told` is another; the result ends that."""
        self._listeners[listener] = None
        return lambda: self._listeners.pop(listener, None) and None

    def picks(self, id: bytes | None, share: float) -> bool:
        """Whether an event is among such a share; those without an id are in turn."""
        if id is None:
            self._without_id += 1
            return self._without_id * _GOLDEN % 1 < share
        return chosen(id, share)

    def shed_with(self, above: float) -> float:
        """The share that is shed here, where the tier above sheds one too."""
        return max(self.share, above) if above and self.scarce else self.share

    def refuse(self, id: bytes | None, above: float) -> None:
        """Raise `Overloaded` if this event is to be shed here.

        What the tier `above` sheds is shed here as well where this machine has no CPU for it either: the exits below,
        whose answer it would get otherwise, would take the CPU of those that are let in.
        """
        share = self.shed_with(above)
        if share and self._busy() and self.picks(id, share):
            raise Overloaded(f"{100 * share:.0f} % of the events are shed: {self.cause(above)}; ask again in 1 s")

    def cause(self, above: float) -> str:
        """Why, in words."""
        why = "this tier's" if self.share >= above else "the tier above is pressed; this tier's"
        why += f" event loop is {1000 * self.late_s:.0f} ms late"
        if self.cpu.share is not None:
            why += f", and for {100 * self.cpu.share:.0f} % of the time something waits for a CPU"
        return why

    def document(self, above: float | None) -> dict[str, Any]:
        return {
            "share": round(self.share, 3),
            "above": above,
            "late_ms": round(1000 * self.late_s, 1),
            "cpu": None if self.cpu.share is None else round(self.cpu.share, 3),
            "cpu_from": self.cpu.file and str(self.cpu.file),
        }


def chosen(id: bytes, share: float) -> bool:
    """Whether an event is among the `share` that is shed; the same at every device, and with a larger share too."""
    digest = hashlib.blake2b(id, digest_size=8, person=b"ddnn shed").digest()
    return int.from_bytes(digest, "big") < share * 2**64
