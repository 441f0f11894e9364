"""Streams of one environment, whose steps are read, encoded and chosen together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from gymnasium.vector import AutoresetMode

from ..errors import ArgumentError, SpaceMismatchError
from ..interfaces_ldm import Interface, read_flags, read_step
from ..layout_ldm import EncodedSteps, EnvironmentLayout
from ..spaces import Action, Arrays, flatten, leaves, members_array, unflatten, unstack
from ..state_ldm import LDMState


@dataclass(eq=False)
class Stream:
    """One client's history, of one lane or more.

    Args:
        room: the room that it is in.
        interface: how its environment is spoken to.
        task: ids of its task text, ``(k,)``.
        rng: generator of its samples.
        deterministic: take the most likely action.
        temperature: sampling temperature.
    """

    room: Room
    interface: Interface
    task: np.ndarray
    rng: np.random.Generator
    deterministic: bool = True
    temperature: float = 1.0
    seats: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    slots: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    warned: bool = False
    closed: bool = False
    steps: int = 0
    prompt: str | None = None  # the task text that a client of openpi's sent last

    @property
    def lanes(self) -> int:
        """Number of lanes."""
        return len(self.seats)

    def pick(self, lanes: Any = None) -> np.ndarray:
        """Which lanes are meant by numbers or a bool mask, ``(L,)`` bool; None is all.

        Raises:
            ArgumentError: if there is no such lane.
        """
        chosen = np.zeros(self.lanes, bool)
        try:
            given = slice(None) if lanes is None else np.atleast_1d(np.asarray(lanes))
            if isinstance(given, np.ndarray) and not given.size:
                return chosen
            chosen[given] = True
        except (IndexError, ValueError, TypeError) as error:
            raise ArgumentError(f"there are {self.lanes} lanes, counted from 0, so none at {lanes!r:.80}") from error
        return chosen


@dataclass(eq=False)
class Ask:
    """A step that a stream asks for, read and checked.

    Args:
        stream: the stream.
        parts: observations by leaf, ``{path: (L, *shape)}``.
        present: lanes that take part, ``(L,)`` bool.
        given: whether the environment was stepped, rather than reset.
        feedback: rewards and both flags, ``(L,)`` each.
        rewardless: act without rewards, as Stable-Baselines3's `predict`; the flags say where episodes begin.
        legal: legal choices, ``(L, n)`` bool; None: all.
    """

    stream: Stream
    parts: Arrays
    present: np.ndarray
    given: bool
    feedback: tuple[np.ndarray, np.ndarray, np.ndarray]
    rewardless: bool = False
    legal: np.ndarray | None = None
    warning: str | None = None  # what the client should know, once the step is taken
    active: np.ndarray = field(init=False)  # lanes that kept the step, ``(L,)`` bool, once it is taken
    outputs: tuple[np.ndarray, np.ndarray, np.ndarray] = field(init=False)  # logits, means, deviations; the same


@dataclass(eq=False)
class Pass:
    """The steps of one room in one forward pass: what `Room.encode` hands to `Room.choose`."""

    asks: Sequence[Ask]
    bounds: np.ndarray
    seats: np.ndarray
    state: LDMState
    active: np.ndarray
    encoded: EncodedSteps
    broken: np.ndarray | None


class _Generators:
    """Draws the rows of each stream from the stream's own generator."""

    def __init__(self, streams: Sequence[Stream]) -> None:
        self._streams = streams

    def gumbel(self, size: tuple[int, ...]) -> np.ndarray:
        return np.concatenate([stream.rng.gumbel(size=(stream.lanes, *size[1:])) for stream in self._streams])

    def laplace(self, means: np.ndarray, scales: np.ndarray) -> np.ndarray:
        rows = np.cumsum([stream.lanes for stream in self._streams])[:-1]
        parts = zip(self._streams, np.split(means, rows), np.split(scales, rows), strict=True)
        return np.concatenate([stream.rng.laplace(mean, scale) for stream, mean, scale in parts])


class Room:
    """The streams of one layout. Their state beside the cache is a row of arrays for each lane, its *seat*.

    Args:
        layout: the layout of the environment.
    """

    def __init__(self, layout: EnvironmentLayout) -> None:
        self.layout = layout
        self.streams: set[Stream] = set()
        self.state = self._empty(4)
        self._free = list(range(4))

    def _empty(self, lanes: int) -> LDMState:
        return LDMState.empty(Held(), lanes, len(self.layout.actions.sizes), self.layout.observations.precision)

    def enter(self, stream: Stream, lanes: int) -> None:
        """Gives a stream its seats."""
        count = self.state.lanes
        while len(self._free) < lanes:
            grown = self._empty(2 * count)
            grown.assign(np.arange(count), self.state.select(np.arange(count)))
            self.state = grown
            self._free += range(count, 2 * count)
            count *= 2
        self._free.sort(reverse=True)
        stream.seats = np.array([self._free.pop() for _ in range(lanes)])
        self.streams.add(stream)
        self.clear(stream.seats)

    def leave(self, stream: Stream) -> None:
        """Takes the seats back."""
        self.streams.remove(stream)
        self._free += stream.seats.tolist()

    def clear(self, seats: np.ndarray) -> None:
        """Forgets the histories at these seats."""
        mask = np.zeros(self.state.lanes, bool)
        mask[seats] = True
        self.state.clear(mask)
        self.state.reward_known[seats] = True
        self.state.positions[seats] = self.state.reward[seats] = 0

    # --- a step -----------------------------------------------------------------------------------------------------

    def read(self, stream: Stream, message: dict[str, Any]) -> Ask:
        """Reads what a client sent for `act`.

        Raises:
            ArgumentError: if an argument is in another's place, lacks or has another shape.
            SpaceMismatchError: if the observation or the mask does not fit into its space.
        """
        layout, interface, lanes = self.layout, stream.interface, stream.lanes
        no = np.zeros(lanes, bool)
        rewardless = message.get("reward") is None and "episode_start" in message
        reward, ended, cut = (
            None if rewardless else message.get(name) for name in ("reward", "terminated", "truncated")
        )
        step = read_step(interface, message.get("observation"), reward, ended, cut, message.get("info"))
        present = step.present
        if message.get("present") is not None:
            present = read_flags("present", message["present"], lanes)
        parts = layout.observations.parts(self._leaves(interface, step.observation), lanes, layout.name)
        feedback = step.feedback or (np.zeros(lanes), no, no)
        if rewardless:
            starts = read_flags("episode_start", message["episode_start"], lanes)
            feedback = (np.zeros(lanes), starts, starts)
        legal = None if step.mask is None else layout.actions.read_mask(step.mask, lanes)
        return Ask(stream, parts, present, step.feedback is not None, feedback, rewardless, legal)

    def _leaves(self, interface: Interface, observation: Any) -> dict[str, Any]:
        values = flatten(self.layout.observation_space, observation)
        return values if interface.lanes is not None else {path: [value] for path, value in values.items()}

    def encode(self, asks: Sequence[Ask]) -> Pass:
        """Encodes a step of each of these streams; the room itself stays as it is."""
        layout = self.layout
        streams = [ask.stream for ask in asks]
        counts = np.array([stream.lanes for stream in streams])
        bounds = np.concatenate([[0], counts.cumsum()])
        seats = np.concatenate([stream.seats for stream in streams])
        state = self.state.select(seats)
        present = np.concatenate([ask.present for ask in asks])
        given = np.repeat([ask.given for ask in asks], counts)
        feedback = tuple(np.concatenate(part) for part in zip(*(ask.feedback for ask in asks), strict=True))
        rewards, terminated, truncated = feedback
        modes = [stream.interface.autoreset is AutoresetMode.NEXT_STEP for stream in streams]
        rewardless = np.repeat([ask.rewardless for ask in asks], counts)
        before = (state.terminated, state.truncated, state.reward_known)
        active = state.feed(given, present, (rewards, terminated, truncated), np.repeat(modes, counts))
        if rewardless.any():
            starts = terminated & state.has_previous
            state.terminated = np.where(rewardless, starts, state.terminated)
            state.truncated = np.where(rewardless, starts, state.truncated)
            state.reward_known = np.where(rewardless, before[2], state.reward_known)
        known = state.reward_known & ~rewardless
        parts = {path: np.concatenate([ask.parts[path] for ask in asks]) for path in asks[0].parts}
        parts, numbers, broken = layout.observations.repair(parts, len(seats), layout.mean)
        task = np.repeat([stream.task for stream in streams], counts, axis=0)
        encoded = layout.encode_lanes(parts, numbers, state, active, known, task)
        return Pass(asks, bounds, seats, state, active, encoded, broken)

    def choose(self, step: Pass, logits: np.ndarray, means: np.ndarray, deviations: np.ndarray) -> list[Action]:
        """Chooses the actions of a pass, and takes over its histories.

        Args:
            step: from `encode`.
            logits: scores of the choices, ``(B, E, choices)``.
            means: means of continuous elements, ``(B, E)``.
            deviations: their expected absolute errors, ``(B, E)``.

        Returns:
            For each stream its action, as its environment takes it.
        """
        positions = self._positions(step, logits, means, deviations)
        step.state.note(positions, step.active)
        self.state.assign(step.seats, step.state)
        decoded = self.layout.actions.decode(positions)
        actions = []
        for ask, start, stop in zip(step.asks, step.bounds[:-1], step.bounds[1:], strict=True):
            some = slice(start, stop) if ask.stream.interface.lanes is not None else start
            actions.append(
                unflatten(self.layout.action_space, {path: values[some] for path, values in decoded.items()})
            )
            ask.stream.steps += 1
            ask.active = step.active[start:stop]
        return actions

    def _positions(self, step: Pass, logits: np.ndarray, means: np.ndarray, deviations: np.ndarray) -> np.ndarray:
        counts, codec = np.diff(step.bounds), self.layout.actions
        streams = [ask.stream for ask in step.asks]
        legal = self._legal(step)
        sampled = np.array([not stream.deterministic for stream in streams])
        if not sampled.any():
            return codec.choose(logits, means, deviations, mask=legal)
        positions = np.zeros(means.shape, np.float32)
        for sampling in {*sampled.tolist()}:
            rows = np.repeat(sampled == sampling, counts)
            some = [stream for stream in streams if stream.deterministic != sampling]
            heat = np.repeat([stream.temperature for stream in some], [stream.lanes for stream in some])
            generators = cast(np.random.Generator, _Generators(some))
            mask = None if legal is None else legal[rows]
            positions[rows] = codec.choose(
                logits[rows], means[rows], deviations[rows], not sampling, heat, generators, mask
            )
        return positions

    def _legal(self, step: Pass) -> np.ndarray | None:
        given = [ask.legal for ask in step.asks]
        width = next((mask.shape[1] for mask in given if mask is not None), None)
        if width is None:
            return None
        # all that is illegal counts as no mask
        lanes = [ask.stream.lanes for ask in step.asks]
        none = [np.zeros((count, width), bool) for count in lanes]
        return np.concatenate([empty if mask is None else mask for mask, empty in zip(given, none, strict=True)])

    # --- save and restore -------------------------------------------------------------------------------------------

    def export(self, stream: Stream, cache: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays of a stream's history, as `LDMState.arrays` gives them, with those of its cache."""
        some = self.state.select(stream.seats)
        some.cache = Held(cache)
        return some.arrays()

    def read_arrays(self, stream: Stream, arrays: dict[str, np.ndarray]) -> tuple[LDMState, dict[str, np.ndarray]]:
        """Checks what `export` gave; the state, and the arrays of the cache.

        Raises:
            ValueError: if an array is missing, has another shape or type, or is not finite.
        """
        some = self._empty(stream.lanes)
        some.take(arrays)
        for name, array in arrays.items():
            if name.partition(".")[0] in ("positions", "statistics") and not np.isfinite(array).all():
                raise ValueError(f"{name} is not finite")
        return some, some.cache.arrays

    # --- what was done instead --------------------------------------------------------------------------------------

    def read_action(self, stream: Stream, action: Any) -> np.ndarray:
        """Positions ``(L, E)`` of an action as `act` returns it.

        Raises:
            SpaceMismatchError: if it is no member of the action space.
        """
        space = self.layout.action_space
        try:
            members = unstack(space, action, stream.lanes) if stream.interface.lanes is not None else [action]
            rows = [flatten(space, member) for member in members]
            parts = {leaf.path: members_array(leaf, [row[leaf.path] for row in rows]) for leaf in leaves(space)}
        except (LookupError, TypeError, ValueError) as error:
            raise SpaceMismatchError(f"{self.layout.name}: {action!r:.200} is no action of {space!s:.500}") from error
        for lane in range(stream.lanes):
            member = unflatten(space, {path: values[lane] for path, values in parts.items()})
            if not space.contains(member):
                raise SpaceMismatchError(f"{self.layout.name}: {member!r:.200} is no action of {space!s:.500}")
        return self.layout.actions.positions(parts, self.layout.name, stream.lanes)

    def executed(self, stream: Stream, action: Any, lanes: Any = None) -> None:
        """Notes what was done in the place of the actions chosen last, as `LDMAgent.executed`.

        Raises:
            ArgumentError: if nothing was chosen yet, or there is no such lane.
            SpaceMismatchError: if it is no member of the action space.
        """
        chosen = stream.pick(lanes)
        if not self.state.has_previous[stream.seats[chosen]].all():
            raise ArgumentError("executed replaces what act has chosen; call act first")
        self.state.positions[stream.seats[chosen]] = self.read_action(stream, action)[chosen]


class Held:
    """Stands for the cache of some lanes, which is in the engine's slots, where their state is saved or restored."""

    def __init__(self, arrays: dict[str, np.ndarray] | None = None) -> None:
        self.arrays = arrays or {}

    def take_arrays(self, arrays: dict[str, np.ndarray]) -> None:
        """Keeps the arrays for the slots."""
        self.arrays = arrays

    def reset(self, lanes: np.ndarray) -> None:
        """There is nothing to reset."""
