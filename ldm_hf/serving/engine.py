"""All streams of a server in front of one model: their steps go through it in one forward pass.

Nothing here is safe for several threads: `batching` calls all that changes a history from one thread.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from ..agent import BROKEN, DAMAGED
from ..compiled.running import example
from ..demonstrations_ldm import Shown, watch
from ..errors import ArgumentError, CheckpointError, LDMError, NonFiniteError, ServerError, UnsupportedSpaceError
from ..interfaces_ldm import Interface
from ..layout_ldm import EnvironmentLayout, identity_of
from ..modeling_ldm import LDMForActionPrediction
from ..processing_ldm import LDMProcessor, ModelStep
from ..spaces import Action, Space
from ..state_ldm import pack, unpack
from .merging import merge
from .rooms import Ask, Pass, Room, Stream
from .slots import SlotCache

logger = logging.getLogger(__name__)


class Engine:
    """Streams, and the model that steps them.

    Args:
        model: the pretrained model.
        processor: the processor saved with it.
        lanes: number of lanes that may be open at a time.
        elements: scalars that an action may have; the logits of one step take 800 bytes for each.

    Raises:
        CheckpointError: if model and processor do not belong together.
    """

    def __init__(
        self, model: LDMForActionPrediction, processor: LDMProcessor, lanes: int = 256, elements: int = 4096
    ) -> None:
        processor.check_model(model.config)
        self.model, self.processor, self.max_elements = model.eval(), processor, elements
        self._step = ModelStep(model, processor)
        self.digest = self._step.digest()
        self.cache = SlotCache.from_config(model.config, lanes, model.device)
        self.streams = 0  # that are open
        self._rooms: dict[tuple[str, int], Room] = {}
        self._free = list(range(lanes))[::-1]
        self._warm_up()

    @torch.inference_mode()
    def _warm_up(self) -> None:
        """Takes a step of nothing, which makes all buffers."""
        layout = EnvironmentLayout(self.processor.sizes, spaces.Box(-1, 1, (1,)), spaces.Discrete(2))
        self.cache.choose(np.zeros(1, np.int64))
        self.model(**self.processor(example(layout, 1)).to(self.model.device), cache=self.cache)
        self.cache.clear(np.zeros(1, np.int64))

    @property
    def lanes(self) -> int:
        """Number of open lanes."""
        return len(self.cache.lengths) - len(self._free)

    # --- streams come and go ----------------------------------------------------------------------------------------

    def layout_of(
        self, environment: str | None, pair: tuple[Space, Space] | None, env_id: str | None = None
    ) -> EnvironmentLayout:
        """The layout of an environment by its name, its spaces, or both, which have to fit.

        Args:
            environment: name of a known environment.
            pair: observation and action space.
            env_id: id that Gymnasium knows the environment by, see `LDMProcessor.layout_of`.

        Raises:
            ArgumentError: if there is neither.
            SpaceMismatchError: if the environment is known with other spaces; lists the differences.
            UnknownEnvironmentError: if the model knows no environment of this name.
            UnsupportedSpaceError: if a leaf of a space is not supported, or an action is too large.
        """
        if pair is not None:
            layout = self.processor.layout_of(*pair, environment, env_id)
        elif environment is not None:
            layout = self.processor.layout(environment)
        else:
            raise ArgumentError(
                "name an environment that the model knows (environment), or give its spaces (observation_space and "
                "action_space)"
            )
        if len(layout.actions.sizes) > self.max_elements:
            raise UnsupportedSpaceError(
                f"an action of {layout.name} has {len(layout.actions.sizes):,} elements, this server takes "
                f"{self.max_elements:,} (--max-elements)"
            )
        return layout

    def open(
        self,
        layout: EnvironmentLayout,
        interface: Interface,
        task: str | None = None,
        deterministic: bool = True,
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> Stream:
        """Opens a stream without history.

        Args:
            layout: the environment.
            interface: how it is spoken to.
            task: task text; by default that of the environment.
            deterministic: take the most likely action.
            temperature: sampling temperature, above 0.
            seed: seed of the sampling.

        Raises:
            ServerError: if all lanes are taken.
        """
        lanes = interface.lanes or 1
        if lanes > len(self._free):
            raise ServerError(
                f"{lanes} lane(s) were asked for, {len(self._free)} of {len(self.cache.lengths)} are free; try again "
                "later, or start the server with more (--max-lanes)"
            )
        ids = layout.task_ids if task is None else layout.encode_task(task)
        key = (layout.name, layout.digest())
        room = self._rooms.get(key) or Room(layout)
        stream = Stream(room, interface, ids, np.random.default_rng(seed), deterministic, temperature)
        room.enter(stream, lanes)
        self._rooms[key] = room
        self._free.sort(reverse=True)  # low slots first, so that those in use are neighbours
        stream.slots = np.array([self._free.pop() for _ in range(lanes)])
        self.cache.clear(stream.slots)
        self.streams += 1
        return stream

    def close(self, stream: Stream) -> None:
        """Forgets a stream."""
        room, stream.closed = stream.room, True
        room.leave(stream)
        self._free += stream.slots.tolist()
        self.streams -= 1
        if not room.streams:
            del self._rooms[room.layout.name, room.layout.digest()]

    def clear(self, stream: Stream, lanes: Any = None) -> None:
        """Cuts the history of some of a stream's lanes, all by default, as `LDMAgent.clear` does."""
        chosen = stream.pick(lanes)
        stream.room.clear(stream.seats[chosen])
        self.cache.clear(stream.slots[chosen])

    # --- steps ------------------------------------------------------------------------------------------------------

    def step(self, asks: Sequence[Ask]) -> list[Action | LDMError]:
        """Steps streams, each at most once, by one forward pass.

        What goes wrong with one of them is its own: the others get their actions.
        """
        found: dict[Ask, Action | LDMError] = {}
        by_room: dict[Room, list[Ask]] = {}
        for ask in sorted(asks, key=lambda ask: int(ask.stream.slots[0])):
            if ask.stream.closed:  # its slots may be another's by now
                found[ask] = ServerError("the stream was closed meanwhile")
            else:
                by_room.setdefault(ask.stream.room, []).append(ask)
        passes = [step for room, some in by_room.items() for step in self._encode(room, some, found)]
        self._run(passes, found)
        return [found[ask] for ask in asks]

    def _encode(self, room: Room, asks: list[Ask], found: dict[Ask, Action | LDMError]) -> list[Pass]:
        try:
            return [room.encode(asks)]
        except Exception as error:
            if len(asks) == 1:
                found[asks[0]] = unexpected(error)
                return []
            return [step for ask in asks for step in self._encode(room, [ask], found)]

    def _run(self, passes: list[Pass], found: dict[Ask, Action | LDMError]) -> None:
        if not passes:
            return
        try:
            outputs = self._forward(passes)
        except Exception as error:  # out of memory, mostly
            asks = [(step.asks[0].stream.room, ask) for step in passes for ask in step.asks]
            if len(asks) == 1:
                found[asks[0][1]] = unexpected(error)
                return
            logger.warning("a pass of %d streams failed, each is tried alone: %s", len(asks), error)
            for room, ask in asks:
                self._run(self._encode(room, [ask], found), found)
            return
        for step, (logits, means, deviations) in zip(passes, outputs, strict=True):
            _choose(step, logits, means, deviations, found)

    def show(self, stream: Stream, shown: Shown, lanes: Any = None) -> None:
        """Takes steps of somebody else into the history of some of a stream's lanes, as `LDMAgent.show` does."""
        chosen, state = stream.pick(lanes), stream.room.state.select(stream.seats)
        steps = watch(stream.room.layout, state, stream.task, shown)
        together = 1 if self.cache.is_recurrent else len(steps)
        for start in range(0, len(steps), together):
            self.cache.choose(stream.slots)
            self._step.take_in(steps[start : start + together], self.cache, chosen)
        rows = np.flatnonzero(chosen)
        stream.room.state.assign(stream.seats[rows], state.select(rows))

    @torch.inference_mode()
    def _forward(self, passes: list[Pass]) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Logits ``(B, E, n)``, means and deviations ``(B, E)`` of each pass."""
        slots = np.concatenate([ask.stream.slots for step in passes for ask in step.asks])
        active = torch.from_numpy(np.concatenate([step.active for step in passes]))
        device = self.model.device
        inputs = {name: value.to(device) for name, value in merge(self.processor, [s.encoded for s in passes]).items()}
        self.cache.choose(slots)
        try:
            output = self.model(**inputs, cache=self.cache, active=active.to(device))
            parts: list[Any] = [output.logits, output.means, output.deviations]
            whole = [part[:, 0].cpu().numpy() for part in parts]
        except Exception:
            self.cache.take_back()
            raise
        outputs, start = [], 0
        for step in passes:
            elements = len(step.encoded.layout.actions.sizes)
            stop = start + len(step.seats) * elements
            logits, means, deviations = (
                part[start:stop].reshape(len(step.seats), elements, *part.shape[1:]) for part in whole
            )
            outputs.append((logits, means, deviations))
            start = stop
        return outputs

    # --- save and restore -------------------------------------------------------------------------------------------

    def _identity(self, stream: Stream) -> dict[str, object]:
        return identity_of(self.digest, stream.room.layout, stream.task, stream.lanes)

    def save(self, stream: Stream) -> bytes:
        """A stream's history as the file that `LDMAgent.save_state` of an agent of its own would write."""
        arrays = stream.room.export(stream, self.cache.export(stream.slots))
        return pack(arrays, self._identity(stream), stream.rng.bit_generator.state)

    def restore(self, stream: Stream, data: bytes) -> None:
        """Goes on where the stream or the `LDMAgent` was that was saved.

        Raises:
            CheckpointError: if the bytes are damaged, or those of another model, environment or number of lanes; the
                stream keeps its history then.
        """
        arrays, random = unpack(data, self._identity(stream), "what was sent")
        rng = np.random.default_rng()
        try:
            state, cache = stream.room.read_arrays(stream, arrays)
            rng.bit_generator.state = random
            self.cache.restore(stream.slots, cache)
        except (ValueError, LookupError, TypeError, OverflowError) as error:
            raise CheckpointError(f"what was sent is damaged: {error}") from error
        stream.room.state.assign(stream.seats, state)
        stream.rng = rng


def _choose(
    step: Pass, logits: np.ndarray, means: np.ndarray, deviations: np.ndarray, found: dict[Ask, Action | LDMError]
) -> None:
    """Chooses the actions of a pass; a stream whose weights or history gave NaN gets an error."""
    layout = step.encoded.layout
    wrong = np.isnan(logits).any(axis=(1, 2)) | ~(np.isfinite(means) & np.isfinite(deviations)).all(axis=1)
    if wrong.any():
        logits, means, deviations = (np.nan_to_num(part) for part in (logits, means, deviations))
    try:
        actions: list[Action | LDMError] = list(step.asks[0].stream.room.choose(step, logits, means, deviations))
    except Exception as error:
        actions = [unexpected(error)] * len(step.asks)
    for ask, action, start, stop in zip(step.asks, actions, step.bounds[:-1], step.bounds[1:], strict=True):
        found[ask] = NonFiniteError(DAMAGED.format(layout.name)) if wrong[start:stop].any() else action
        ask.outputs = logits[start:stop], means[start:stop], deviations[start:stop]
        if step.broken is not None and step.broken[start:stop].any() and not ask.stream.warned:
            ask.stream.warned = True
            ask.warning = BROKEN % layout.name


def unexpected(error: Exception) -> LDMError:
    """An error as it is told to the client whose request failed."""
    if isinstance(error, LDMError):
        return error
    logger.error("a request failed", exc_info=error)
    return ServerError(f"the request failed on the server ({type(error).__name__}); its log says more")
