"""What one visitor watches: the model, a reference and random actions in copies of one environment, side by side."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import wait as wait_for
from typing import TYPE_CHECKING, Any

from ..environments.knobs import Knob, Path, change, knobs_of
from ..environments.specs import EnvironmentSpec
from ..errors import EnvironmentFailure, LDMError
from ..serving.rooms import Stream
from ..spaces import space_from_json
from ..utils.parallel import Worker
from .sharing import Chosen, SharedModel
from .stage import PLAYERS, SEED, Opening, Seen, perform
from .thoughts import Bar, bars, certainty

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

logger = logging.getLogger(__name__)

FPS = 8.0  # pictures per second, at most
OPENING_SECONDS = 90.0  # that an environment may take to be made
STEP_SECONDS = 60.0  # that a step may take; the first includes the reference's preparation
PAUSE_SECONDS = 0.2  # between two looks whether a pause is over
FASTEST = 20  # steps per picture
PLOTTED = 240  # steps of the plot


@dataclass
class Settings:
    """What a visitor may change while they watch.

    Args:
        task: whether the model reads the task text.
        history: whether it remembers what it has seen.
        speed: steps per picture.
        paused: whether nothing moves.
    """

    task: bool = True
    history: bool = True
    speed: int = 1
    paused: bool = False


@dataclass
class Scene:
    """What a visitor sees at a moment.

    Args:
        pictures: JPEG files by player.
        returns: return of the running episode by player.
        ended: returns of the episodes that ended, by player, the latest last.
        steps: steps that the model has taken.
        bars: what it chose between.
        certainty: how sure it was, from 0 to 1.
        note: what went wrong with the reference.
    """

    pictures: dict[str, bytes]
    returns: dict[str, float]
    ended: dict[str, list[float]]
    steps: int = 0
    bars: list[Bar] = field(default_factory=list)
    certainty: float = 1.0
    note: str = ""


class Game:
    """One visitor's environments and history. It is for one thread at a time, but `settings` and `cut` for any.

    Args:
        model: the model of all visitors.
        row: row of the catalogue.
        references: folder of trained reference policies.
        values: new values of what the world lets change, by path.
        knobs: what it lets change, from a game in the unchanged world, whose own settings are known then.
        seed: seed of the first episode.
        context: how processes are started.

    Raises:
        LDMError: if the environment cannot be made or drawn, or the model cannot act in it.
    """

    def __init__(
        self,
        model: SharedModel,
        row: EnvironmentSpec,
        references: str,
        values: Mapping[Path, float] | None = None,
        knobs: list[Knob] | None = None,
        seed: int = SEED,
        context: ForkServerContext | None = None,
    ) -> None:
        self.row, self.settings = row, Settings()
        self.begun = self.used = time.monotonic()
        self.farewell = ""  # why it was ended, for the visitor
        self._model, self._cut, self._closed, self._released = model, False, threading.Event(), False
        self._stream: Stream | None = None
        self._lock = threading.RLock()
        self.points: dict[str, list[tuple[int, float]]] = {player: [] for player in PLAYERS}
        known, knobs = knobs is not None, knobs_of(row) if knobs is None else knobs
        self.values = dict(values or {})
        changed = change(row, self.values, knobs)
        paths = [path for knob in knobs for path in knob.points[0][1]]
        self._worker = Worker(perform, quiet=True, threads=1, context=context)
        try:
            self.opening: Opening = self._ask(OPENING_SECONDS, "open", changed, references, seed, paths)
            observation_space, action_space = (space_from_json(space) for space in self.opening.spaces)
            self._stream = model.open(row, (observation_space, action_space))
        except BaseException:
            self.close()
            raise
        self.knobs = knobs if known else [knob.with_default(self.opening.defaults) for knob in knobs]
        self._seen = self.opening.first
        self._scene = Scene(self._seen.pictures, dict.fromkeys(PLAYERS, 0.0), {player: [] for player in PLAYERS})
        self._feedback: dict[str, Any] = {}

    @property
    def stream(self) -> Stream:
        """The model's history."""
        assert self._stream is not None
        return self._stream

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._closed.is_set()

    @property
    def scene(self) -> Scene:
        """What was seen last."""
        return self._scene

    def scenes(self, fps: float = FPS) -> Iterator[Scene]:
        """Plays until the game is closed; yields what is to be shown, at most ``fps`` times a second.

        Raises:
            LDMError: if the environment or the model fails; the game is closed then.
        """
        due = time.monotonic()
        while not self.closed:
            yield self.play()
            due = max(due + 1 / min(fps, self.opening.fps), time.monotonic())
            self._closed.wait(due - time.monotonic())
            while self.settings.paused and not self._closed.wait(PAUSE_SECONDS):
                pass

    def play(self) -> Scene:
        """Takes as many steps as one picture has.

        Raises:
            LDMError: if the environment or the model fails; the game is closed then.
        """
        with self._lock:
            if self.closed:
                return self._scene
            self.used = time.monotonic()
            try:
                speed = min(max(1, self.settings.speed), FASTEST)
                for number in range(speed):
                    chosen = self._step(draw=number == speed - 1)
            except BaseException as error:
                ended = self.closed
                self.close()
                if ended and isinstance(error, LDMError):  # by the visitor, in the middle of it
                    return self._scene
                raise
            layout = self.stream.room.layout
            scene = self._scene
            scene.pictures, scene.note = self._seen.pictures, self._seen.note
            scene.bars = bars(layout, chosen, self.opening.actions)
            scene.certainty = certainty(layout, chosen)
            return scene

    def cut(self) -> None:
        """Lets the model forget what it has seen before its next step."""
        self._cut = True

    def close(self) -> None:
        """Ends the visitor's environments and forgets the history; the second call does nothing."""
        self._closed.set()  # ends what it waits for
        with self._lock:
            if self._released:
                return
            self._released = True
            self._worker.kill()
            if self._stream is not None:
                self._model.close(self._stream)

    def _step(self, draw: bool) -> Chosen:
        seen = self._seen
        if self._cut or not self.settings.history:
            self._model.clear(self.stream)
            self._cut, self._feedback = False, {}
        self._model.set_task(self.stream, None if self.settings.task else "")
        message = {"observation": seen.observation, "info": {"action_mask": seen.mask}, **self._feedback}
        if seen.mask is None:
            del message["info"]
        chosen = self._model.act(self.stream, message)
        self._seen = found = self._ask(STEP_SECONDS, "step", chosen.action, draw)
        self._feedback = {
            "reward": found.rewards["model"],
            "terminated": found.terminated,
            "truncated": found.truncated,
        }
        self._count(found)
        return chosen

    def _count(self, seen: Seen) -> None:
        scene = self._scene
        scene.steps += 1
        for player, reward in seen.rewards.items():
            scene.returns[player] += reward
            self.points[player] = [*self.points[player][-PLOTTED:], (scene.steps, scene.returns[player])]
            if seen.ends[player]:
                scene.ended[player].append(scene.returns[player])
                scene.returns[player] = 0.0

    def _ask(self, seconds: float, call: str, *arguments: Any) -> Any:
        """Calls the visitor's process.

        Raises:
            LDMError: whatever goes wrong there; the process is ended if it does not answer in time.
        """
        self._worker.begin(self.row.name, (call, *arguments))
        until = time.monotonic() + seconds
        while not self.closed:
            wait_for([self._worker.connection], min(0.5, max(0, until - time.monotonic())))
            if (outcome := self._worker.outcome(limit=seconds, silence=None)) is not None:
                if isinstance(outcome[0], LDMError):
                    raise outcome[0]
                return outcome[0]
        raise EnvironmentFailure(self.row.name, call, "the game was ended")
