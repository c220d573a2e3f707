"""What a tier's children follow, as one number: they ask with the number that they know, and hear once it is another.

So a quiet fleet says nothing: a question is held until there is an answer that is new.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Literal
from zlib import crc32

__all__ = ["BULLETIN_HEADER", "DOUBTS_HEADER", "FACTS", "PLAN_HEADER", "TRIAL_HEADER", "WATCH_HEADER", "Bulletin"]

BULLETIN_HEADER: Final = "x-ddnn-bulletin"  #: of a question: the number that is known; of the answer: the one there is
PLAN_HEADER: Final = "x-ddnn-plan"  #: of the answer: names the plan of the rollout
WATCH_HEADER: Final = "x-ddnn-watch"  #: likewise: somebody looks at the page, so tell more often
TRIAL_HEADER: Final = "x-ddnn-trial"  #: likewise: a policy is to be tried, the question of this number
DOUBTS_HEADER: Final = "x-ddnn-doubts"  #: likewise: the number of the last doubt that was kept
FACTS: Final = {"plan": PLAN_HEADER, "watch": WATCH_HEADER, "trial": TRIAL_HEADER, "doubts": DOUBTS_HEADER}
"""Facts beside the policy's, and where an answer has them."""

Fact = Literal["policy", "plan", "watch", "trial", "doubts"]


class Bulletin:
    """The policy's tag and the plan's, whether somebody looks, which policy is to be tried, the last doubt."""

    def __init__(self) -> None:
        self._facts: dict[str, str] = {"policy": "", "plan": "", "watch": "", "trial": "", "doubts": ""}
        self._told: dict[Callable[[], object], None] = {}
        self.closed = False  #: nothing is held any more

    def __getitem__(self, fact: Fact) -> str:
        return self._facts[fact]

    @property
    def facts(self) -> Mapping[str, str]:
        """All of them, by name."""
        return self._facts

    @property
    def number(self) -> str:
        """The same for the same facts, also after a restart."""
        return f"{crc32(repr(self._facts).encode()):08x}"

    def put(self, fact: Fact, value: str) -> None:
        """State a fact; those that wait hear of it where it is new."""
        if self._facts[fact] != value:
            self._facts[fact] = value
            self._tell()

    def close(self) -> None:
        """Let all go that wait, now and from now on."""
        self.closed = True
        self._tell()

    def listen(self, told: Callable[[], object]) -> Callable[[], None]:
        """Call `told` at every change; the result ends that."""
        self._told[told] = None
        return lambda: self._told.pop(told, None) and None

    async def another(self, than: str, seconds: float) -> None:
        """Wait until the number is another, at most so long."""
        if self.closed or self.number != than:
            return
        changed = asyncio.Event()
        end = self.listen(changed.set)
        try:
            async with asyncio.timeout(seconds):
                while not self.closed and self.number == than:
                    changed.clear()
                    await changed.wait()
        except TimeoutError:
            pass
        finally:
            end()

    def _tell(self) -> None:
        for told in [*self._told]:
            told()
