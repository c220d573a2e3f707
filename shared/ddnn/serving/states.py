"""The state table of an event: where it can stand, and all the ways on from there, with what takes it.

The design page shows this table, and says what its deadlines are.
"""

from enum import StrEnum
from typing import Final, NamedTuple

__all__ = ["NEXT", "TRANSITIONS", "State", "Transition"]


class State(StrEnum):
    """Where an event stands."""

    GATHERING = "gathering"
    """Its children's contributions are awaited; only at a tier that joins, and only with an event id."""
    DECIDING = "deciding"  # it waits for a section, or is in it
    ASKING = "asking"  # features are awaited of the children that took part
    OFFLOADED = "offloaded"  # it is on its way to the tier above and back
    ANSWERED = "answered"  # it has its answer, and every reply has been given
    HELD = "held"  # answered, and kept for late contributions
    GONE = "gone"  # kept no longer


class Transition(NamedTuple):
    """One line of the state table."""

    state: State
    next: State
    cause: str
    by: str
    deadline: str


TRANSITIONS: Final = tuple(
    Transition(*row)
    for row in (
        (
            State.GATHERING,
            State.DECIDING,
            "every living child contributed; with `wait_ms`, every child",
            "collector",
            "",
        ),
        (State.GATHERING, State.DECIDING, "the straggler timeout passed", "timer", "straggler timeout"),
        (State.GATHERING, State.DECIDING, "the drain is over", "service", "`DDNN_DRAIN_S`"),
        (State.GATHERING, State.ANSWERED, "complete, and its callers have left: `gone`", "collector", ""),
        (State.DECIDING, State.ANSWERED, "an exit here is sure, or a child was; `max_exit` is reached", "engine", ""),
        (State.DECIDING, State.ASKING, "unsure, and features are missing for what comes next", "engine", ""),
        (State.DECIDING, State.OFFLOADED, "unsure at the last exit here, or there is none", "engine", ""),
        (State.DECIDING, State.ANSWERED, "`no_upstream`, `no_features`, `error`", "engine", ""),
        (State.DECIDING, State.ANSWERED, "`deadline`, or it will have passed after the section", "queue", "own"),
        (State.DECIDING, State.ANSWERED, "the last caller has left: `gone`", "caller", ""),
        (State.ASKING, State.DECIDING, "features of all that took part came", "collector", ""),
        (State.ASKING, State.DECIDING, "the feature timeout passed, with those that came", "timer", "feature timeout"),
        (State.ASKING, State.ANSWERED, "it passed, and none came: `no_features`", "timer", "feature timeout"),
        (State.ASKING, State.ANSWERED, "it passed, and the callers have left: `gone`", "timer", "feature timeout"),
        (State.ASKING, State.ANSWERED, "the drain is over: `draining`", "service", "`DDNN_DRAIN_S`"),
        (State.OFFLOADED, State.ANSWERED, "an answer from above, or the reason why there is none", "offload", "upward"),
        (State.OFFLOADED, State.ANSWERED, "`deadline`", "reply", "own"),
        (State.OFFLOADED, State.ANSWERED, "the drain is over: `draining`", "service", "`DDNN_DRAIN_S`"),
        (State.OFFLOADED, State.ANSWERED, "the last caller has left: `gone`", "caller", ""),
        (State.ANSWERED, State.HELD, "it has an id, and its answer a label", "collector", ""),
        (State.HELD, State.GONE, "it is old, or its room is needed", "collector", "`DDNN_COLLECTOR__HOLD_S`"),
    )
)
NEXT: Final = {state: frozenset(row.next for row in TRANSITIONS if row.state is state) for state in State}
