"""Collects what the clients ask for and hands it to the one thread that computes."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any

from ..errors import LDMError, ServerError
from ..spaces import Action
from .engine import Engine
from .metrics import Metrics
from .rooms import Ask, Stream

logger = logging.getLogger(__name__)
Waiting = tuple[Ask, asyncio.Future[Action]]
IN_VAIN = 16  # passes that do not wait for all, after one that did and whose time was over


class Batcher:
    """Batches steps dynamically: a pass begins when all streams that play have asked, or the first of them has waited
    long enough beside a free model; what comes while a pass runs goes into the next one.

    If the time was over before all had asked, their answers are long on the way, and the next passes begin with half of
    them: two halves take turns, one is computed while the other is on its way. Otherwise one pass of all is cheaper
    than two of half.

    All methods are for the event loop; the model runs in a thread of its own, so that the loop goes on reading and
    writing meanwhile.

    Args:
        engine: the streams.
        wait: seconds that a request waits for others at most, while the model is free.
        metrics: what is counted.
    """

    def __init__(self, engine: Engine, wait: float, metrics: Metrics) -> None:
        self.engine, self.wait, self.metrics = engine, wait, metrics
        self._loop = asyncio.get_running_loop()
        self._pending: list[Waiting] = []
        self._since = 0.0  # when the first of them came, or the model became free for it
        self._timer: asyncio.Handle | None = None
        self._busy = False
        self._halves = 0  # passes that half of the streams are enough for
        self._last: tuple[set[Stream], set[Stream]] = (set(), set())  # who took part in the last two passes
        self._jobs: SimpleQueue[Callable[[], object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="ldm-serve-model", daemon=True)
        self._thread.start()

    async def act(self, ask: Ask) -> Action:
        """The action of a step.

        Raises:
            LDMError: if the step fails.
        """
        future: asyncio.Future[Action] = self._loop.create_future()
        if not self._pending:
            self._since = self._loop.time()
        self._pending.append((ask, future))
        self._consider()
        return await future

    async def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Calls a function of the engine in the thread that computes, after what it was asked for before."""
        future: asyncio.Future[Any] = self._loop.create_future()
        self._jobs.put(partial(self._run, function, arguments, future))
        return await future

    async def stop(self) -> None:
        """Finishes what was asked for, and ends the thread."""
        while self._pending or self._busy:
            await asyncio.sleep(0.01)
        self._jobs.put(None)
        while self._thread.is_alive():
            await asyncio.sleep(0.01)

    # --- when to begin ----------------------------------------------------------------------------------------------

    def _consider(self) -> None:
        """Begins a pass, or sees to it that one begins in time."""
        if self._busy or not self._pending:
            return
        expected = len(self._last[0] | self._last[1])
        if len(self._pending) * (2 if self._halves else 1) >= expected or not self.wait:
            self._begin()
        elif self._timer is None:
            left = self._since + self.wait - self._loop.time()
            self._timer = self._loop.call_later(left, self._time_is_over)

    def _time_is_over(self) -> None:
        # not at once: what has arrived by now is read first, and is part of the pass
        self._timer = self._loop.call_soon(self._begin_late)

    def _begin_late(self) -> None:
        self._timer = None
        if self._pending and not self._busy:
            self._halves = IN_VAIN
            self._begin()

    def _begin(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._halves = max(0, self._halves - 1)
        batch, self._pending, self._busy = self._pending, [], True
        self._last = ({ask.stream for ask, _ in batch}, self._last[0])
        self.metrics.passes.observe(len(batch))
        self._jobs.put(partial(self._step, batch))

    def _deliver(self, batch: Sequence[Waiting], found: Sequence[Action | LDMError]) -> None:
        for (_, future), action in zip(batch, found, strict=True):
            _settle(future, action)
        self._loop.call_soon(self._be_free)  # after the answers are written

    def _be_free(self) -> None:
        self._busy, self._since = False, self._loop.time()
        self._consider()

    # --- the thread -------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _step(self, batch: Sequence[Waiting]) -> None:
        found: Sequence[Action | LDMError]
        try:
            found = self.engine.step([ask for ask, _ in batch])
        except BaseException as error:
            logger.exception("a pass failed")
            found = [ServerError(f"the step failed on the server ({type(error).__name__}); its log says more")] * len(
                batch
            )
        self._loop.call_soon_threadsafe(self._deliver, batch, found)

    def _run(self, function: Callable[..., Any], arguments: Sequence[Any], future: asyncio.Future[Any]) -> None:
        result: Any
        try:
            result = function(*arguments)
        except Exception as error:
            result = error
        self._loop.call_soon_threadsafe(_settle, future, result)


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if future.done():  # whoever asked has gone
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
