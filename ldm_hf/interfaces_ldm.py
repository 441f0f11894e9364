"""What users and other libraries hand to an agent (environments, steps), in the one form that the agent works with.

Gymnasium, its vector environments, Stable-Baselines3's VecEnv and PettingZoo's parallel environments are told apart
by what they have, so none of these libraries is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv

from .errors import ArgumentError, SpaceMismatchError
from .spaces import Action, Member, Observation, Space, describe_difference, stack, unflatten, unstack

FIVE = "agent.act(observation, reward, terminated, truncated, info)"
MODES = {mode.value.lower(): mode for mode in AutoresetMode}  # "nextstep", "samestep", "disabled"


@dataclass(frozen=True)
class Interface:
    """How an environment is spoken to.

    Args:
        observation_space: observation space of one lane.
        action_space: action space of one lane.
        lanes: number of lanes; None for an environment whose observations have no axis of lanes.
        autoreset: when the lanes of a vector are reset.
        env_id: the environment's id, if it has one.
        agents: names of the agents of a PettingZoo environment, one a lane.
    """

    observation_space: Space
    action_space: Space
    lanes: int | None = None
    autoreset: AutoresetMode = AutoresetMode.SAME_STEP
    env_id: str | None = None
    agents: tuple[Any, ...] = ()


def read_environment(env: Any, lanes: int | None = None) -> Interface:
    """Finds out what kind of environment this is.

    Args:
        env: an environment, a vector of environments, or ``(observation_space, action_space)`` of one lane.
        lanes: number of lanes, as the caller has it.

    Raises:
        ArgumentError: if it is no environment that an agent can act in; says what to pass instead.
    """
    if lanes is not None and not (isinstance(lanes, int | np.integer) and lanes >= 1):
        raise ArgumentError(f"num_envs is the number of lanes, 1 or more, not {lanes!r}")
    if isinstance(env, list | tuple):
        return Interface(*_pair(env), lanes=lanes)
    _refuse(env)
    if callable(env.observation_space):
        found = _zoo(env)
    elif hasattr(env, "single_observation_space"):
        own = AutoresetMode.NEXT_STEP if isinstance(env, VectorEnv) else AutoresetMode.SAME_STEP
        mode = _mode((getattr(env, "metadata", None) or {}).get("autoreset_mode") or own)
        found = Interface(env.single_observation_space, env.single_action_space, int(env.num_envs), mode, _id(env))
    elif any(kind.__name__ == "VecEnv" for kind in type(env).__mro__):  # Stable-Baselines3
        found = Interface(env.observation_space, env.action_space, int(env.num_envs), env_id=_id(env))
    else:
        return Interface(env.observation_space, env.action_space, lanes, env_id=_id(env))
    if lanes not in (None, found.lanes):
        raise ArgumentError(f"num_envs is {lanes}, but {_name(env)} has {found.lanes} lanes; leave num_envs out")
    return found


def _name(value: object) -> str:
    kind = value if isinstance(value, type) else type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _id(env: Any) -> str | None:
    """The environment's id. A vector made from a list of functions has no spec, its environments have."""
    spec = getattr(env, "spec", None) or getattr(next(iter(getattr(env, "envs", ())), None), "spec", None)
    return getattr(spec, "id", None)


def _pair(env: Sequence[Any]) -> tuple[Space, Space]:
    if any(hasattr(one, "observation_space") for one in env):
        raise ArgumentError(
            f"this is a {type(env).__name__} of {len(env)} environments; make a vector of them: "
            "gymnasium.vector.SyncVectorEnv([make_one, make_another, ...])"
        )
    if len(env) != 2:
        raise ArgumentError(
            f"expected an environment or the pair (observation_space, action_space), got a {type(env).__name__} of "
            f"{len(env)} entries"
        )
    return env[0], env[1]


def _refuse(env: Any) -> None:
    """Refuses what is no environment at all."""
    if isinstance(env, str):
        raise ArgumentError(f"{env!r} is an id; an agent takes the environment itself: gymnasium.make({env!r})")
    if isinstance(env, type) or (callable(env) and not hasattr(env, "observation_space")):
        raise ArgumentError(f"{env!r} makes environments; an agent takes what it returns when called")
    for part in ("observation_space", "action_space"):
        if getattr(env, part, None) is None:
            raise ArgumentError(
                f"{_name(env)} has no {part}: pass a Gymnasium environment (shimmy wraps those of other libraries) or "
                "the pair (observation_space, action_space)"
            )


def _mode(mode: Any) -> AutoresetMode:
    if isinstance(mode, AutoresetMode):
        return mode
    text = str(getattr(mode, "value", mode)).rpartition(".")[2]
    known = MODES.get("".join(letter for letter in text.lower() if letter.isalpha()))
    if known is None:
        raise ArgumentError(
            f"metadata['autoreset_mode'] is {mode!r}; expected one of "
            f"{', '.join(f'gymnasium.vector.{known}' for known in AutoresetMode)}"
        )
    return known


def _zoo(env: Any) -> Interface:
    """The interface of a PettingZoo environment, whose spaces are methods of an agent's name."""
    if hasattr(env, "agent_iter") or hasattr(env, "agent_selection"):
        raise ArgumentError(
            f"{_name(env)} is a PettingZoo environment whose agents act in turn (AEC); wrap it by "
            "pettingzoo.utils.conversions.aec_to_parallel, or make an LDMAgent for each of its agents: "
            "(env.observation_space(name), env.action_space(name))"
        )
    agents = tuple(getattr(env, "possible_agents", None) or ())
    if not agents:
        raise ArgumentError(f"{_name(env)} names no possible_agents, of which each would be a lane")
    pairs = [(env.observation_space(agent), env.action_space(agent)) for agent in agents]
    for agent, pair in zip(agents, pairs, strict=True):
        different = [text for two in zip(pairs[0], pair, strict=True) for text in describe_difference(*two)]
        if different:
            raise ArgumentError(
                f"the agents {agents[0]!r} and {agent!r} of {_name(env)} have different spaces ({different[0]}), so "
                "they cannot be lanes of one agent; make an LDMAgent for each kind: "
                "(env.observation_space(name), env.action_space(name))"
            )
    return Interface(*pairs[0], lanes=len(agents), agents=agents)


# --- steps -----------------------------------------------------------------------------------------------------------


@dataclass
class Step:
    """What came back from an environment, for ``B`` lanes.

    Args:
        observation: observations, batched where the interface has lanes.
        feedback: rewards (float64) and both flags (bool), ``(B,)`` each; None after `env.reset`.
        mask: legal actions, as `ActionCodec.read_mask` takes them; None if all are legal.
        present: which lanes take part, ``(B,)`` bool.
    """

    observation: Observation
    feedback: tuple[np.ndarray, np.ndarray, np.ndarray] | None
    mask: Member
    present: np.ndarray


def read_step(interface: Interface, observation: Any, reward: Any, terminated: Any, truncated: Any, info: Any) -> Step:
    """Reads what came back from an environment, in the order of `env.step`.

    Args:
        interface: the environment's interface.
        observation: observations, batched where the interface has lanes.
        reward: rewards, None after `env.reset`.
        terminated: termination flags.
        truncated: truncation flags.
        info: the info, or one for each lane.

    Raises:
        ArgumentError: if an argument is in another's place, lacks or has another shape; says what to pass.
        SpaceMismatchError: if the observations of agents do not fit into their space.
    """
    _check_places(interface.observation_space, observation, reward, terminated, truncated)
    lanes = interface.lanes or 1
    present = np.ones(lanes, bool)
    if interface.agents:
        observation, present = _of_agents(interface, observation)
        reward, terminated, truncated, info = (
            None if value is None else _by_lane(interface.agents, name, value, default)
            for name, value, default in (
                ("reward", reward, 0.0),
                ("terminated", terminated, False),
                ("truncated", truncated, False),
                ("info", info, None),
            )
        )
    feedback = None
    if reward is not None:
        feedback = (
            _numbers("reward", reward, lanes),
            read_flags("terminated", terminated, lanes),
            read_flags("truncated", truncated, lanes),
        )
    return Step(observation, feedback, None if info is None else _mask(info, lanes), present)


def _is_info(value: Any) -> bool:
    return isinstance(value, Mapping) or (
        isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(one, Mapping) for one in value)
    )


def _check_places(space: Space, observation: Any, reward: Any, terminated: Any, truncated: Any) -> None:
    if isinstance(observation, tuple) and observation and _is_info(observation[-1]):
        children = space.spaces if isinstance(space, spaces.Tuple) else ()
        fits = len(children) == len(observation) and isinstance(children[-1], spaces.Dict | spaces.Tuple)
        call = {2: "env.reset()", 4: "env.step() of the old gym", 5: "env.step()"}.get(len(observation))
        if call and not fits:
            raise ArgumentError(
                f"the observation is all that {call} returned, a tuple of {len(observation)}; unpack it: "
                + ("observation, info = env.reset()" if len(observation) == 2 else f"{FIVE}")
            )
    told = {"reward": reward, "terminated": terminated, "truncated": truncated}
    absent = [name for name, value in told.items() if value is None]
    if _is_info(reward) and len(absent) == 2:
        raise ArgumentError(
            "the info is in the place of the reward; after env.reset, name it: agent.act(observation, info=info)"
        )
    if _is_info(truncated) and not _is_info(reward):
        raise ArgumentError(
            "the info is in the place of truncated, as if env.step had returned four values (old gym, "
            f"Stable-Baselines3's VecEnv); call {FIVE} with truncated = info.get('TimeLimit.truncated', False) and "
            "terminated = done and not truncated"
        )
    if absent and len(absent) < 3:
        raise ArgumentError(
            f"{' and '.join(absent)} is missing beside the rest; call {FIVE} with all that env.step returned (False "
            "for a flag that the environment does not have), or with the observation alone after env.reset"
        )


def _numbers(name: str, value: Any, lanes: int) -> np.ndarray:
    """One number a lane, ``(B,)`` float64, of a scalar, ``(B,)`` or ``(B, 1)``."""
    if isinstance(value, bool | float):  # the usual case of a single environment
        return np.full(lanes, value, np.float64)
    given = array = np.zeros(0, object)
    try:
        given = np.asarray(on_host(value))
        with np.errstate(over="ignore"):
            array = given.astype(np.float64)
    except (TypeError, ValueError, OverflowError):
        pass
    if array.dtype == object or given.dtype.kind in "USmMc" or (given.dtype == object and None in given):
        raise ArgumentError(f"{name} is {value!r:.60}; expected a number for each of {lanes} lane(s); call {FIVE}")
    if array.ndim == 0:
        return np.full(lanes, array)
    if array.shape not in ((lanes,), (lanes, 1)):
        raise ArgumentError(f"{name} has shape {array.shape}, expected ({lanes},) for {lanes} lane(s); call {FIVE}")
    return array.reshape(lanes)


def read_flags(name: str, value: Any, lanes: int) -> np.ndarray:
    """Flags ``(B,)`` bool, of one, ``(B,)`` or ``(B, 1)``.

    Args:
        name: name of the argument, for messages.
        value: True, False, 1 or 0, or an array of them.
        lanes: number of lanes, B.

    Raises:
        ArgumentError: if they are something else.
    """
    if isinstance(value, bool):  # the usual case of a single environment
        return np.full(lanes, value)
    numbers = _numbers(name, value, lanes)
    flags: np.ndarray = numbers != 0
    if not (numbers[flags] == 1).all():
        raise ArgumentError(f"{name} is {value!r:.60}; expected True or False; call {FIVE}")
    return flags


def _mask(info: Any, lanes: int) -> Member:
    if isinstance(info, Mapping):
        return on_host(info.get("action_mask"))
    if not isinstance(info, list | tuple | np.ndarray) or getattr(info, "ndim", 1) == 0 or len(info) != lanes:
        raise ArgumentError(
            f"info is {info!r:.60}; expected a dict, or a list of one dict for each of {lanes} lane(s); call {FIVE}"
        )
    masks = np.full(lanes, None, object)
    for lane, one in enumerate(info):
        if one is not None and not isinstance(one, Mapping):
            raise ArgumentError(f"the info of lane {lane} is {one!r:.60}; expected a dict")
        masks[lane] = None if one is None else on_host(one.get("action_mask"))
    return None if all(mask is None for mask in masks) else masks


def on_host(value: Any) -> Any:
    """Takes tensors, which environments on GPUs return, to the CPU as NumPy arrays."""
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


# --- agents of PettingZoo --------------------------------------------------------------------------------------------


def _by_lane(agents: tuple[Any, ...], name: str, value: Any, default: Any) -> list[Any]:
    if not isinstance(value, Mapping) or not set(value) <= set(agents):
        raise ArgumentError(
            f"{name} is {value!r:.60}; expected a dict by the names of agents, as the environment returns it: "
            f"{', '.join(map(str, agents))}"
        )
    return [value.get(agent, default) for agent in agents]


def _of_agents(interface: Interface, observation: Any) -> tuple[Observation, np.ndarray]:
    """A batch of the agents' observations, and which agents there are; the others get any observation."""
    rows = _by_lane(interface.agents, "observation", observation, None)
    present = np.array([row is not None for row in rows])
    if not present.any():
        return None, present
    some = next(row for row in rows if row is not None)
    try:
        parts = stack(interface.observation_space, [some if row is None else row for row in rows])
    except (TypeError, ValueError, OverflowError) as error:
        raise SpaceMismatchError(
            f"the observations of the agents do not fit into {interface.observation_space}: {error}"
        ) from error
    return unflatten(interface.observation_space, parts), present


def by_agent(interface: Interface, actions: Action, active: np.ndarray) -> dict[Any, Action]:
    """The actions of the agents that are to act, by name, of a batch of actions of all."""
    rows = unstack(interface.action_space, actions, len(active))
    return {agent: row for agent, row, acts in zip(interface.agents, rows, active, strict=True) if acts}


__all__ = ["Interface", "Step", "by_agent", "on_host", "read_environment", "read_flags", "read_step"]
