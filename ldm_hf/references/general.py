"""Policies that are not made for one library: a constant action, value iteration, an open-loop gait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import gymnasium
import numpy as np
from gymnasium import spaces

from ..environments.building import Kwargs
from ..spaces import Action, Info, Observation, leaves, unflatten
from .base import Reference, inside
from .control import bounded

MOST_VARIANTS = 24
SWEEPS = 100_000

Transitions = Mapping[int, Sequence[tuple[float, int, float, bool]]]
"""Outcomes by action: ``(probability, next state, reward, terminated)``."""


class Constant(Reference):
    """Repeats one action; a last resort before learning, in any environment.

    It beats random actions where doing nothing, or full speed, is half of the task.

    Args:
        env: environment that the policy will act in.
        choice: action of a Discrete space.
        level: value of every element of any other space, from 0 (its lowest) to 1 (its highest).
    """

    name = "constant"

    def __init__(self, env: gymnasium.Env, choice: int | None = None, level: float = 0.5) -> None:
        space = env.action_space
        if choice is None:
            self.parts = {leaf.path: _at(leaf.space, level) for leaf in leaves(space)}
        else:
            self.parts = {"": np.int64(choice)}

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return all(
            not isinstance(leaf.space, spaces.Text)
            and (not isinstance(leaf.space, spaces.Box) or leaf.space.is_bounded())
            for leaf in leaves(env.action_space)
        )

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[Kwargs]:
        space = env.action_space
        if isinstance(space, spaces.Discrete):
            step = -(-int(space.n) // MOST_VARIANTS)
            return [{"choice": int(space.start) + number} for number in range(0, int(space.n), step)]
        return [{"level": level} for level in (0.5, 0.0, 1.0)]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return unflatten(env.action_space, {path: np.copy(part)[()] for path, part in self.parts.items()})


def _at(space: gymnasium.Space[object], level: float) -> Action:
    if isinstance(space, spaces.Discrete):
        return np.int64(space.start + round(level * (int(space.n) - 1)))
    if isinstance(space, spaces.MultiDiscrete):
        return (space.start + np.round(level * (space.nvec - 1))).astype(space.dtype)
    if isinstance(space, spaces.MultiBinary):
        return np.full(space.shape, round(level), space.dtype)
    assert isinstance(space, spaces.Box)
    value = space.low + level * (space.high.astype(float) - space.low)
    return (np.round(value) if np.issubdtype(space.dtype, np.integer) else value).astype(space.dtype)


def best_values(
    worth: Callable[[np.ndarray], np.ndarray], states: int | tuple[int, ...], tolerance: float = 1e-9
) -> np.ndarray:
    """Values of states and actions under the best policy, by synchronous sweeps over all states (Bellman 1957).

    Args:
        worth: what each action is worth in each state, ``(*states, A)``, by the values of the states, ``states``.
        states: number of states, or their shape.
        tolerance: the sweeps end when no value changes by this much, `SWEEPS` at the latest.

    Returns:
        ``(*states, A)``.
    """
    values = np.zeros(states)
    for _ in range(SWEEPS):
        q = worth(values)
        best = q.max(-1)
        if np.abs(best - values).max() < tolerance:
            break
        values = best
    return q


def value_iteration(table: Mapping[int, Transitions], discount: float = 0.999) -> np.ndarray:
    """State-action values of a tabular environment.

    Args:
        table: transitions by state.
        discount: discount factor.

    Returns:
        ``(S, A)``.
    """
    states, actions = len(table), len(table[0])
    outcomes = max(len(table[s][a]) for s in range(states) for a in range(actions))
    probability, reward, following, goes_on = (np.zeros((states, actions, outcomes)) for _ in range(4))
    for s in range(states):
        for a in range(actions):
            for k, (p, s2, r, terminated) in enumerate(table[s][a]):
                probability[s, a, k], reward[s, a, k], following[s, a, k], goes_on[s, a, k] = p, r, s2, not terminated
    following = following.astype(int)
    return best_values(
        lambda values: (probability * (reward + discount * goes_on * values[following])).sum(-1), states
    )


class ValueIteration(Reference):
    """The greedy policy of an environment whose transitions are known (``env.unwrapped.P``)."""

    name = "value_iteration"
    method = "tabular"

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return hasattr(env.unwrapped, "P")

    def __init__(self, env: gymnasium.Env, discount: float = 0.999) -> None:
        # Rounding keeps ties equal, so that the first of equally good actions is always taken.
        self.policy = value_iteration(self.transitions(env), discount).round(8).argmax(1)

    @staticmethod
    def transitions(env: gymnasium.Env) -> Mapping[int, Transitions]:
        """Transitions by state."""
        table: Mapping[int, Transitions] = inside(env).P
        return table

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        return np.int64(self.policy[int(observation)])


POPULATION, GENERATIONS = 20, 30
STIFFNESS, DAMPING = 2.0, 0.05  # shares of the strongest action of a joint, per radian and per radian a second


class Gait(Reference):
    """Open-loop oscillators (Raffin et al. 2023): every joint follows its own sine, all with the same frequency.

    Differential evolution (Storn & Price 1997) finds the sines; each candidate plays one episode. The gait is far from
    the best way to move, but takes a minute and no learning.

    Args:
        env: robot of Gymnasium whose actions are torques of joints.
        gait: frequency in hertz, then the amplitudes (radians), phases (turns) and offsets (radians) of the joints.
    """

    name = "gait"
    worlds = ("HalfCheetahEnv", "HopperEnv", "SwimmerEnv", "Walker2dEnv")

    def __init__(self, env: gymnasium.Env, gait: Sequence[float]) -> None:
        model = inside(env).model
        joints = model.actuator_trnid[:, 0]
        self.places, self.speeds = model.jnt_qposadr[joints], model.jnt_dofadr[joints]
        self.frequency = gait[0]
        self.amplitudes, self.phases, self.offsets = np.reshape(gait[1:], (3, len(joints)))

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[Kwargs]:
        from scipy.optimize import differential_evolution

        joints = inside(env).model.nu
        bounds = np.array([(0.5, 3.0)] + 2 * joints * [(0.0, 1.0)] + joints * [(-0.5, 0.5)])
        first = np.random.default_rng(0).uniform(bounds[:, 0], bounds[:, 1], (POPULATION, len(bounds)))
        found = differential_evolution(
            lambda gait: -cls(env, gait).play(env),
            bounds,
            init=first,
            maxiter=GENERATIONS - 1,
            tol=0,
            polish=False,
            rng=0,
        )
        return [{"gait": found.x.round(3).tolist()}]

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        data = inside(env).data
        wanted = self.offsets + self.amplitudes * np.sin(2 * np.pi * (self.frequency * data.time + self.phases))
        torques = STIFFNESS * (wanted - data.qpos[self.places]) - DAMPING * data.qvel[self.speeds]
        return bounded(torques, env.action_space)

    def play(self, env: gymnasium.Env) -> float:
        """The return of an episode that always has the same seed."""
        observation, info = env.reset(seed=0)
        total, ended = 0.0, False
        while not ended:
            observation, reward, terminated, truncated, info = env.step(self.act(env, observation, info))
            total, ended = total + float(reward), terminated or truncated
        return total
