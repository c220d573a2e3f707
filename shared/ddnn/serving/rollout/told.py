"""What the tiers below one tell of a rollout with each poll: what they are ready with, what they saw, what is wrong."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, unquote

from ddnn.serving.rollout.figures import Figures

__all__ = ["FIGURES_HEADER", "PROBLEM_HEADER", "READY_HEADER", "Told", "figures_header", "problem_header"]

READY_HEADER: Final = "x-ddnn-ready"
FIGURES_HEADER: Final = "x-ddnn-figures"
PROBLEM_HEADER: Final = "x-ddnn-problem"
_AWAY_S: Final = 10.0  #: a child that was silent for so long is not waited for; what it misses then, it misses
_MOST_PROBLEM: Final = 400  #: characters


@dataclass(frozen=True, slots=True)
class _Word:
    """Of one child."""

    at: float
    ready: str  #: the bundle that it, and all below it, have proved; empty without one
    problem: str


class Told:
    """The latest word of each child."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._words: dict[int, _Word] = {}
        self._figures: dict[int, tuple[Figures, Figures]] = {}

    def heard(self, child: int, headers: Mapping[str, str]) -> None:
        """A child asked for the plan; raise `BadInput` for figures that are none."""
        problem = unquote(headers.get(PROBLEM_HEADER, ""))[:_MOST_PROBLEM]
        self._words[child] = _Word(self._clock(), headers.get(READY_HEADER, ""), problem)
        if figures := headers.get(FIGURES_HEADER):
            old, _, new = figures.partition(";")
            self._figures[child] = Figures.read(old), Figures.read(new)

    def ready(self, alive: Mapping[int, bool]) -> dict[int, str]:
        """Of the children that were heard of lately, what they are ready with."""
        since, nothing = self._clock() - _AWAY_S, _Word(float("-inf"), "", "")
        words = {child: self._words.get(child, nothing) for child in alive}
        return {child: word.ready for child, word in words.items() if alive[child] or word.at > since}

    def problem(self) -> str:
        """What is wrong at the first of the children that has something to say; empty without any."""
        return next((word.problem for _, word in sorted(self._words.items()) if word.problem), "")

    def forget_figures(self) -> None:
        """Those of an earlier canary."""
        self._figures.clear()

    @property
    def figures(self) -> dict[int, tuple[Figures, Figures]]:
        """What each child that has told of it saw of the old and of the new bundle."""
        return self._figures


def figures_header(old: Figures, new: Figures) -> dict[str, str]:
    """What `Told.heard` reads."""
    return {FIGURES_HEADER: f"{old.text()};{new.text()}"}


def problem_header(problem: str) -> dict[str, str]:
    """What `Told.heard` reads; nothing where there is no problem."""
    return {PROBLEM_HEADER: quote(problem[:_MOST_PROBLEM], safe=" :/,.;()'")} if problem else {}
