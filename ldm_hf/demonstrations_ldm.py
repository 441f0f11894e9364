"""Episodes of somebody else that a model's history takes in before it acts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import ArgumentError, NonFiniteError, SpaceMismatchError
from .spaces import Arrays, Member, Space, check_same, flatten, leaf_array, leaves, unflatten

if TYPE_CHECKING:
    from .layout_ldm import EncodedSteps, EnvironmentLayout
    from .state_ldm import LDMState

CHUNK = 128  # steps of one forward pass
FLAGS = ("terminated", "truncated")
Shown = dict[str, Any]
"""Consecutive steps: ``observation`` and ``action`` ``{path: (T, *shape)}``, ``reward``, ``terminated``, ``truncated``
and ``start`` (whether an episode begins there), ``(T,)`` each."""
Episodes = Mapping[str, Any] | Iterable[Mapping[str, Any]] | Any
"""Episodes as `read_episodes` takes them."""


def read_episodes(observation_space: Space, action_space: Space, episodes: Episodes) -> list[Shown]:
    """Reads episodes of an environment.

    Args:
        observation_space: its observation space.
        action_space: its action space.
        episodes: a stream of `open_dataset`, an episode, or several. An episode is a mapping with ``observation``,
            ``action`` and ``reward``, ``T`` steps each, and perhaps ``terminated`` and ``truncated``: arrays as vector
            environments lay them out, arrays by leaf as in [`Episode`][], or the columns of a row of a dataset. Without
            flags, its last step ends it.

    Returns:
        The steps of each episode, or of each stream.

    Raises:
        ArgumentError: if there is no episode, or a part of one is missing or of another length.
        NonFiniteError: if a reward or an action is NaN or infinite.
        SpaceMismatchError: if an episode is of other spaces; names it, and the leaf.
    """
    if isinstance(episodes, Mapping) or hasattr(episodes, "num_steps"):
        episodes = [episodes]
    if isinstance(episodes, str) or not isinstance(episodes, Iterable):
        raise ArgumentError(f"episodes are {episodes!r:.80}; pass a stream of open_dataset, an episode, or several")
    read = [
        _read(observation_space, action_space, episode, f"shown episode {number}")
        for number, episode in enumerate(episodes)
    ]
    if not read:
        raise ArgumentError("no episode is shown; pass at least one")
    return read


def _read(observation_space: Space, action_space: Space, episode: Any, place: str) -> Shown:
    if hasattr(episode, "num_steps"):  # a stream knows its spaces
        check_same(observation_space, episode.observation_space, f"the observation space of {place}")
        check_same(action_space, episode.action_space, f"the action space of {place}")
        episode = episode.slice(0, episode.num_steps)
    if not isinstance(episode, Mapping):
        raise ArgumentError(
            f"{place} is a {type(episode).__name__}; an episode is a mapping with observation, action and reward, or a "
            "stream of open_dataset"
        )
    reward = _numbers(episode, "reward", None, place)
    if not np.isfinite(reward).all():
        raise NonFiniteError(f"{place}: a reward is NaN or infinite; leave the episode out, or repair it")
    steps: Shown = {"reward": reward}
    for role, space in (("observation", observation_space), ("action", action_space)):
        steps[role] = _leaves(space, role, episode, len(reward), place)
    _check_actions(action_space, steps["action"], place)
    for name in FLAGS:
        steps[name] = _numbers(episode, name, len(reward), place) != 0
    steps["truncated"][-1] |= not steps["terminated"][-1]
    ended = steps["terminated"] | steps["truncated"]
    steps["start"] = np.concatenate([[True], ended[:-1]])
    return steps


def _numbers(episode: Mapping[str, Any], name: str, count: int | None, place: str) -> np.ndarray:
    """One number a step, ``(T,)`` float64; flags that are missing are zeros."""
    value = episode.get(name)
    if value is None and count is not None:
        return np.zeros(count)
    try:
        numbers = np.asarray(value, np.float64)
    except (TypeError, ValueError):
        numbers = np.zeros((0, 0))
    if numbers.ndim != 1 or not len(numbers) or count not in (None, len(numbers)):
        raise ArgumentError(
            f"{place}: {name} is {value!r:.60}; expected one number for each of {count or 'its'} steps, of which there "
            "is at least one"
        )
    return numbers


def _leaves(space: Space, role: str, episode: Mapping[str, Any], count: int, place: str) -> Arrays:
    """The values of all leaves, ``{path: (T, *shape)}``."""
    known, given = leaves(space), episode.get(role)
    columns = {leaf.path: f"{role}.{leaf.path}" if leaf.path else role for leaf in known}
    values: Mapping[str, Member]
    if isinstance(given, Mapping) and given.keys() == columns.keys():
        values = given
    elif all(column in episode for column in columns.values()):  # a row of a dataset
        values = {path: episode[column] for path, column in columns.items()}
    elif given is None:
        raise ArgumentError(f"{place} has no {role}, but {', '.join(map(str, episode)) or 'nothing'}")
    else:
        try:
            values = flatten(space, given)
        except SpaceMismatchError as error:
            raise SpaceMismatchError(f"{place}, {role}: {error}") from error
    found = {}
    for leaf in known:
        shape = () if leaf.space.shape is None else tuple(leaf.space.shape)
        expected = f"{place}: the {role} at leaf '{leaf.path or '(root)'}'"
        try:
            with np.errstate(over="ignore", invalid="raise"):
                array = leaf_array(leaf.space, _unpacked(values[leaf.path], shape))
        except (TypeError, ValueError, ArithmeticError) as error:
            raise SpaceMismatchError(f"{expected} is not of {leaf.space!s:.200}: {error}") from error
        if array.shape != (count, *shape):
            raise SpaceMismatchError(
                f"{expected} has shape {array.shape}, expected {(count, *shape)} for {count} steps of "
                f"{leaf.space!s:.200}; an observation that follows the last action is left out"
            )
        found[leaf.path] = array
    return found


def _unpacked(values: Member, shape: tuple[int, ...]) -> Member:
    """Values of a leaf, of which a dataset may store each as one binary."""
    if isinstance(values, Sequence) and len(values) and isinstance(values[0], bytes):
        return np.stack([np.frombuffer(value, np.uint8).reshape(shape) for value in values])
    return values


def _check_actions(space: Space, parts: Arrays, place: str) -> None:
    """Checks that every action is a member of its space."""
    for step in range(len(next(iter(parts.values()), ()))):
        action = unflatten(space, {path: values[step] for path, values in parts.items()})
        if not space.contains(action):
            raise SpaceMismatchError(f"{place}: {action!r:.200} at step {step} is no action of {space!s:.200}")


def pieces(episodes: Sequence[Shown]) -> Iterator[Shown]:
    """The steps of all episodes in pieces of at most `CHUNK`."""
    whole = {
        name: {path: np.concatenate([shown[name][path] for shown in episodes]) for path in part}
        if isinstance(part, dict)
        else np.concatenate([shown[name] for shown in episodes])
        for name, part in episodes[0].items()
    }
    for start in range(0, len(whole["reward"]), CHUNK):
        some = slice(start, start + CHUNK)
        yield {
            name: {path: values[some] for path, values in part.items()} if isinstance(part, dict) else part[some]
            for name, part in whole.items()
        }


def watch(layout: EnvironmentLayout, state: LDMState, task: np.ndarray, shown: Shown) -> list[EncodedSteps]:
    """Encodes steps for all lanes of a history as if each lane had observed and chosen them itself.

    Args:
        layout: the environment.
        state: the history of ``B`` lanes, which takes in the steps except for its cache.
        task: ids of the task text, ``(k,)`` or ``(B, k)``.
        shown: the steps.

    Returns:
        The encoded step of all lanes, for each step. What the next `LDMState.feed` is told of the step before is
        ignored, since nobody has taken it.
    """
    lanes, count = state.lanes, len(shown["reward"])
    yes, no = np.ones(lanes, bool), np.zeros(lanes, bool)
    positions = layout.actions.positions(shown["action"], layout.name, count)
    parts, numbers, _ = layout.observations.repair(shown["observation"], count, layout.mean)
    encoded, state.idle = [], no
    for step in range(count):
        if shown["start"][step]:  # as after env.reset()
            state.feed(no, yes, (state.reward, no, no), False)
        here = {path: values[[step] * lanes] for path, values in parts.items()}
        encoded.append(layout.encode_lanes(here, numbers[[step] * lanes], state, yes, state.reward_known, task))
        state.note(positions[[step] * lanes], yes)
        reward, terminated, truncated = (np.repeat(shown[name][step], lanes) for name in ("reward", *FLAGS))
        state.feed(yes, yes, (reward, terminated, truncated), False)
    state.idle = yes
    return encoded
