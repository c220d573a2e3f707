"""A policy tried at the tiers below: the question goes down with the answer to their poll, what they found comes up."""

import asyncio
import itertools
from typing import Any, Final

from ddnn.errors import BadInput, Unavailable
from ddnn.policy import Policy
from ddnn.serving.ledger import merge
from ddnn.serving.room.below import Below
from ddnn.serving.room.report import Report

__all__ = ["Trials"]

_PATIENCE_S: Final = 6.0


class Trials:
    """One question at a time, to all of a cloud's children that live; a newer one takes its place."""

    def __init__(self, below: Below) -> None:
        self._below = below
        self._numbers = itertools.count(1)
        self._asked = 0
        self._found: dict[str, dict[str, object]] = {}
        self._problems: list[str] = []
        self._changed = asyncio.Event()

    def heard(self, report: Report) -> None:
        """A report from below, perhaps with what a tier found."""
        trial = report.trial
        if trial is None or trial.number != self._asked:
            return
        if trial.found is not None:
            self._found[report.key] = trial.found
        else:
            self._found[report.key] = merge([])
            self._problems.append(f"{report.key}: {trial.problem}")
        self._changed.set()

    async def ask(self, policy: Policy) -> dict[str, Any]:
        """What all of them found, as one; raise `Unavailable` where none answers in time, `BadInput` as they refuse."""
        self._asked = number = next(self._numbers)
        self._found, self._problems = {}, []
        self._changed.set()  # whoever asked before
        self._below.question = number, policy.model_dump_json(exclude_unset=True).encode()
        expected = sum(self._below.alive().values())
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while self._asked == number and len(self._found) < expected:
                    self._changed = asyncio.Event()
                    await self._changed.wait()
        except TimeoutError:
            pass
        if self._asked != number:
            raise Unavailable("another policy is being tried")
        self._below.question = None
        if self._problems:
            raise BadInput("; ".join(self._problems))
        if not self._found:
            raise Unavailable("no tier below the cloud answers, where the decisions are recorded")
        return {"dry_run": merge([dict(found) for found in self._found.values()])}
