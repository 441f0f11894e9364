"""One model for all visitors, whose threads ask for steps that go through it in one forward pass."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Coroutine
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from ..agent import load_model
from ..environments.specs import EnvironmentSpec, known_as
from ..errors import SpaceMismatchError
from ..interfaces_ldm import Interface
from ..layout_ldm import EnvironmentLayout
from ..serving.batching import Batcher
from ..serving.engine import Engine
from ..serving.metrics import Metrics
from ..serving.rooms import Ask, Stream
from ..spaces import Action, Space, SpaceJson, space_to_json

WAIT = 0.002  # seconds that a step waits for others while the model is free
Result = TypeVar("Result")


@dataclass
class Chosen:
    """What the model chose, and between what.

    Args:
        action: as its environment takes it.
        logits: scores of the choices, ``(E, choices)``.
        means: means of continuous elements, ``(E,)``, from -1 to 1.
        deviations: their expected absolute errors, ``(E,)``.
        legal: legal choices, ``(n,)`` bool; None: all.
    """

    action: Action
    logits: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    legal: np.ndarray | None


class SharedModel:
    """A model, and the histories of all visitors; its methods are for any thread.

    Args:
        path: folder or Hub id.
        lanes: histories that may be open at a time.

    Raises:
        CheckpointError: if there is no usable model; says why.
    """

    def __init__(self, path: str, lanes: int) -> None:
        model, self.processor = load_model(path)
        self.parameters = model.config.num_parameters
        self._engine = Engine(model, self.processor, lanes)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="ldm-demo-model", daemon=True)
        self._thread.start()
        self._batcher: Batcher = self._wait(self._start())

    async def _start(self) -> Batcher:
        return Batcher(self._engine, WAIT, Metrics())

    def _wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def knows(self, row: EnvironmentSpec) -> bool:
        """Whether the model was trained in the row's environment."""
        return known_as(row.name, self.processor.environments) in self.processor.environments

    @property
    def streams(self) -> int:
        """Number of histories that are open."""
        return self._engine.streams

    def open(self, row: EnvironmentSpec, pair: tuple[Space, Space]) -> Stream:
        """Opens a history of an environment.

        Args:
            row: row of the catalogue.
            pair: observation and action space; where they are not those that the model knows the row by, as after a
                change of a size, it acts as in any environment that it does not know.

        Raises:
            UnsupportedSpaceError: if a space has a leaf that the model cannot read or write.
            ServerError: if all are taken.
        """
        interface = Interface(*pair)
        name = known_as(row.name, self.processor.environments) if self.knows(row) else None
        try:
            layout = self._engine.layout_of(name, pair)
        except SpaceMismatchError:
            layout, name = self._engine.layout_of(None, pair), None
        task = None if name is not None else row.task
        return self._wait(self._batcher.call(self._engine.open, layout, interface, task))  # type: ignore[no-any-return]

    def close(self, stream: Stream) -> None:
        """Forgets a history."""
        self._wait(self._batcher.call(self._engine.close, stream))

    def clear(self, stream: Stream) -> None:
        """Cuts a history."""
        self._wait(self._batcher.call(self._engine.clear, stream))

    def set_task(self, stream: Stream, task: str | None) -> None:
        """Gives the model another task text from the next step on; None is that of the environment."""
        layout = stream.room.layout
        stream.task = layout.task_ids if task is None else layout.encode_task(task)

    def act(self, stream: Stream, message: dict[str, Any]) -> Chosen:
        """The model's next action.

        Args:
            stream: the history.
            message: observation, and reward, flags and info if there was a step, as a server takes them.

        Raises:
            LDMError: if the step fails.
        """
        ask: Ask = stream.room.read(stream, message)
        action = self._wait(self._batcher.act(ask))
        logits, means, deviations = (part[0] for part in ask.outputs)
        return Chosen(action, logits, means, deviations, None if ask.legal is None else ask.legal[0])

    def executed(self, stream: Stream, action: Action) -> None:
        """Tells a history what was done in the place of the action chosen last."""
        self._wait(self._batcher.call(stream.room.executed, stream, action))

    def stop(self) -> None:
        """Ends the threads."""
        self._wait(self._batcher.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def relatives(self, layout: EnvironmentLayout, most: int = 4) -> list[str]:
        """Environments that the model knows with the same spaces, at most so many, in alphabetical order."""
        key = _both(space_to_json(layout.observation_space), space_to_json(layout.action_space))
        return sorted(self._by_spaces.get(key, []))[:most]

    @cached_property
    def _by_spaces(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name, entry in self.processor.environments.items():
            found.setdefault(_both(entry["observation_space"], entry["action_space"]), []).append(name)
        return found


def _both(observation_space: SpaceJson, action_space: SpaceJson) -> str:
    return json.dumps([observation_space, action_space], sort_keys=True)
