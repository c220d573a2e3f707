"""What compares two servers by turns: how often each is started and loaded, and the target that asks over a stream."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import ddnn_cloud.app
from ddnn.bundle import shipped_bundle
from ddnn.errors import DDNNError
from ddnn.settings import Settings
from ddnn_lab.benchmarks.by_turns import Servers, by_turns, page
from ddnn_lab.benchmarks.identity import StreamTarget
from ddnn_lab.load import Outcome
from real_port import serving


class Counted:
    """Answers at once, or never."""

    def __init__(self, ok: bool) -> None:
        self._ok, self.loads = ok, 0

    async def __call__(self, number: int) -> Outcome:
        return Outcome(self._ok, errors=() if self._ok else ("NO",))

    async def aclose(self) -> None:
        self.loads += 1


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_WARM_UP_S", "_CONNECTING_S"):
        monkeypatch.setattr(f"ddnn_lab.benchmarks.by_turns.{name}", 0.01)


@pytest.mark.parametrize(("rounds", "starts", "loads"), [(3, 2, [3, 2]), (2, 5, [2, 2])])
def test_rounds_are_shared_out_among_processes_that_are_warmed_up_once(
    rounds: int, starts: int, loads: list[int]
) -> None:
    started: list[dict[str, Counted]] = []

    @contextmanager
    def servers() -> Iterator[Servers]:
        started.append({"without": Counted(True), "with": Counted(True)})
        yield {name: (target, os.getpid()) for name, target in started[-1].items()}

    found = by_turns(servers, 0.02, rounds, starts)
    assert [[target.loads for target in each.values()] for each in started] == [[n, n] for n in loads]
    assert len(found["of_plain_rounds"]) == rounds
    written = page("What it costs", found, {"without": "without it", "with": "with it"}, "it")
    assert f"{found['of_plain']:.3f}" in written


def test_what_answers_nothing_is_not_measured() -> None:
    @contextmanager
    def servers() -> Iterator[Servers]:
        yield {"without": (Counted(False), os.getpid()), "with": (Counted(True), os.getpid())}

    with pytest.raises(DDNNError, match="nothing was answered"):
        by_turns(servers, 0.05, 1)


async def test_a_cloud_is_asked_over_a_stream() -> None:
    app = ddnn_cloud.app.create_app(Settings.load(bundle=shipped_bundle()))
    async with serving(app) as port:
        target = StreamTarget(f"http://127.0.0.1:{port}", None)
        assert (await target(0)).ok
        assert app.state.service.metrics.streams._value.get() == 1
        await target.aclose()
    await app.state.service.close()
