"""Where buffers lie: one block of memory a type of number, in which what is no longer read makes room."""

from collections.abc import Sequence
from typing import Protocol

from ddnn.embedded.values import Buffer, Kind

__all__ = ["Touching", "laid_out"]


class Touching(Protocol):
    """A step, as far as memory goes."""

    reads: list[Buffer]
    writes: Buffer


def laid_out(steps: Sequence[Touching]) -> tuple[dict[Buffer, int], dict[Kind, int]]:
    """The place of each of the section's own buffers in the block of its type, and the size of each block."""
    lives: dict[Buffer, tuple[int, int]] = {}
    for at, step in enumerate(steps):
        for buffer in (*step.reads, step.writes):
            if buffer.own:
                lives[buffer] = lives.get(buffer, (at, at))[0], at
    places: dict[Buffer, int] = {}
    for buffer in sorted(lives, key=lambda each: -each.size):  # the largest first, each as low as it can lie
        others = [each for each in places if each.kind is buffer.kind and _meet(lives[each], lives[buffer])]
        start = 0
        for other in sorted(others, key=lambda each: places[each]):
            if places[other] >= start + buffer.size:
                break
            start = max(start, places[other] + other.size)
        places[buffer] = start
    ends = {kind: [at + each.size for each, at in places.items() if each.kind is kind] for kind in Kind}
    return {buffer: places[buffer] for buffer in lives}, {kind: max(found, default=0) for kind, found in ends.items()}


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]
