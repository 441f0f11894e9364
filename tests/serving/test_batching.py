"""When a pass begins, and who is in it."""

import asyncio
import time
from types import SimpleNamespace

import pytest

from ldm_hf.errors import ServerError
from ldm_hf.serving.batching import Batcher
from ldm_hf.serving.metrics import Metrics


class Slow:
    """An engine that takes a while and answers with the number of those who shared the pass."""

    def __init__(self, seconds):
        self.seconds, self.passes = seconds, []

    def step(self, asks):
        time.sleep(self.seconds)
        self.passes.append({ask.stream for ask in asks})
        return [len(asks)] * len(asks)


def run(engine, wait, play):
    """Calls ``play(act)`` with a batcher that has ``act(number of the stream)``."""

    async def main():
        batcher = Batcher(engine, wait, Metrics())
        found = await play(lambda number: batcher.act(SimpleNamespace(stream=number)))
        await batcher.stop()
        return found

    return asyncio.run(main())


def test_who_asks_while_a_pass_runs_shares_the_next():
    engine = Slow(0.02)

    async def play(act):
        async def client(number):
            return [await act(number) for _ in range(6)]

        return await asyncio.gather(*map(client, range(10)))

    run(engine, 5, play)
    assert all(len(together) == 10 for together in engine.passes[2:-1])
    assert sum(map(len, engine.passes)) == 60


def test_half_are_enough_after_all_were_waited_for_in_vain():
    engine = Slow(0)

    async def play(act):
        await asyncio.gather(*map(act, range(10)))
        times = []
        for _ in range(2):
            before = time.monotonic()
            await asyncio.gather(*map(act, range(5)))
            times.append(time.monotonic() - before)
        return times

    first, second = run(engine, 0.6, play)
    assert first > 0.5 and second < 0.3 and [*map(len, engine.passes)][-2:] == [5, 5]


def test_nobody_waits_for_those_who_have_stopped():
    engine = Slow(0)

    async def play(act):
        await asyncio.gather(*map(act, range(8)))
        times = []
        for _ in range(4):
            before = time.monotonic()
            assert await act(0) == 1
            times.append(time.monotonic() - before)
        return times

    times = run(engine, 0.6, play)
    assert times[0] > 0.5 and max(times[2:]) < 0.3  # two passes later, the others do not count any more


def test_an_engine_that_fails_fails_those_who_asked_only():
    engine = Slow(0)
    step = engine.step

    async def play(act):
        engine.step = lambda asks: 1 / 0
        with pytest.raises(ServerError, match="ZeroDivisionError"):
            await act(0)
        engine.step = step
        return await act(0)

    assert run(engine, 0, play) == 1
