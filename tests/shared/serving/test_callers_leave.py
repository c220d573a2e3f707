"""Callers that leave: what nobody wants goes no further, and nobody waits for who is gone."""

from ddnn_lab.benchmarks.collector_bench import DEVICES, FEATURES, Bench, answer, expire, turn


async def test_what_nobody_waits_for_any_more_goes_no_further() -> None:
    bench = Bench()
    replies = [bench.collector.offer(b"e", bench.part(child)) for child in range(2)]
    bench.collector.forget(replies[0])
    bench.collector.forget(replies[1])
    assert bench.collector.pending == 1  # the third child may still want it
    bench.collector.give_up()
    await turn()
    assert (bench.cases, bench.collector.pending, bench.collector.held) == ([], 0, 0)


async def test_an_event_goes_on_while_one_of_its_callers_waits_or_a_later_one_comes() -> None:
    bench = Bench()
    first = bench.collector.offer(b"e", bench.part(0))
    bench.collector.forget(first)
    bench.offer(b"e", 1)
    bench.offer(b"e", 2)
    await turn()
    assert len(bench.cases) == 1


async def test_an_event_that_is_on_its_way_ends_when_the_last_caller_leaves() -> None:
    bench = Bench()
    replies = [bench.collector.offer(b"e", bench.part(child)) for child in range(DEVICES)]
    await turn()
    (case,) = bench.cases
    for reply in replies[:2]:
        bench.collector.forget(reply)
    assert not case.outcome.done()
    bench.collector.forget(replies[2])
    assert case.outcome.result().label == -1


async def test_an_event_that_a_sure_child_told_of_goes_on_without_callers() -> None:
    bench = Bench()
    bench.collector.forget(bench.collector.offer(b"e", bench.part(0)))
    bench.offer(b"e", 1, answered=True)
    bench.collector.give_up()
    await turn()
    assert len(bench.cases) == 1


async def test_features_are_not_waited_for_longer_because_a_caller_has_left() -> None:
    bench = Bench(wait_ms=1)
    bench.offer(b"e", 0)
    gone = bench.collector.offer(b"e", bench.part(1))
    await expire(bench, 1)
    case = bench.cases[0]
    case.best = answer()
    bench.collector.forget(gone)
    bench.collector.ask(case)
    bench.collector.delivered(case, 0)
    bench.offer(b"e", 0, features=FEATURES)
    await expire(bench, 2)  # not after half of what is left of a minute
    assert case.devices.tolist() == [True, False, False]
