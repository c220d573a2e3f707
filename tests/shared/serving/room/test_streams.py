"""Those who look: so many, and none that is slow."""

import pytest

from ddnn.errors import Unavailable
from ddnn.serving.room.streams import MOST_STREAMS, Streams


async def test_there_is_room_for_so_many_and_again_when_one_leaves() -> None:
    streams = Streams()
    opened = [streams.open() for _ in range(MOST_STREAMS)]
    with pytest.raises(Unavailable, match=f"{MOST_STREAMS} pages look at this fleet already"):
        streams.open()
    streams.leave(opened[0])
    streams.open()
    assert len(streams) == MOST_STREAMS


async def test_a_reader_that_takes_nothing_is_dropped_and_holds_up_no_other() -> None:
    streams = Streams()
    slow, quick = streams.open(), streams.open()
    taken = quick.messages()
    for number in range(200):
        streams.publish("state", {"n": number})
        assert (await anext(taken))["data"] == f'{{"n":{number}}}'
    assert slow.dropped
    assert not quick.dropped
    assert len(streams) == 1
    assert [message async for message in slow.messages()] == []


async def test_all_end_when_the_room_closes() -> None:
    streams = Streams()
    stream = streams.open()
    streams.close()
    assert [message async for message in stream.messages()] == []
    assert not streams.opened.is_set()
