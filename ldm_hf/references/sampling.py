"""Planning by predictive sampling in MuJoCo (Howell et al. 2022, arXiv 2212.00541)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium import spaces

from ..errors import LDMError
from ..spaces import Action, Info, Observation
from .base import Reference, inside
from .control import bounded

if TYPE_CHECKING:
    import mujoco


def simulator(env: gymnasium.Env) -> tuple[mujoco.MjModel, mujoco.MjData] | None:
    """Model and data of the MuJoCo simulator in an environment; None if there is none to be copied."""
    try:
        from mujoco import MjData, MjModel
    except ImportError:
        return None
    world = inside(env)
    physics = getattr(getattr(world, "_env", None), "physics", None)  # dm_control in Shimmy
    if physics is not None:
        return physics.model.ptr, physics.data.ptr
    model, data = getattr(world, "model", None), getattr(world, "data", None)
    return (model, data) if isinstance(model, MjModel) and isinstance(data, MjData) else None


class PredictiveSampling(Reference):
    """Tries changes of its plan in a copy of the simulator before each step, and keeps the one with the highest return.

    A plan is a spline through a few actions. Its mean carries no noise, so that labels are smoother than what was
    tried. A step takes the time of ``samples * horizon`` steps of the environment: rows name this policy, or learn from
    it (`distilling`); it is not tried everywhere.

    Args:
        env: environment like the one that the policy will act in; plans are tried in it.
        horizon: steps of a plan.
        knots: actions that a plan interpolates.
        samples: plans to try before each step.
        noise: standard deviation of the changes, as a share of the range of actions.
        seed: seed of the changes.

    Raises:
        LDMError: if there is no MuJoCo simulator to copy, actions are not bounded numbers, or a size is too small.
    """

    name = "predictive_sampling"
    method = "planner"

    def __init__(
        self,
        env: gymnasium.Env,
        horizon: int = 24,
        knots: int = 5,
        samples: int = 16,
        noise: float = 0.2,
        seed: int = 0,
    ) -> None:
        space = env.action_space
        if simulator(env) is None or not isinstance(space, spaces.Box) or not space.is_bounded():
            raise LDMError(
                f"{env}: predictive_sampling tries bounded real-valued actions in a copy of MuJoCo's state, and this "
                "environment has no such actions or no such state; choose another policy for it"
            )
        if min(horizon, knots) < 2 or samples < 1:
            raise LDMError(
                "predictive_sampling needs a horizon and knots of at least 2 and one sample, got "
                f"horizon={horizon}, knots={knots}, samples={samples}"
            )
        self.twin, self.space, self.seed = env, space, seed
        self.horizon, self.samples = horizon, samples
        self.low, self.high = (np.ravel(end).astype(float) for end in (space.low, space.high))
        self.noise = noise * (self.high - self.low)
        places = np.linspace(0, knots - 1, horizon)
        self.between = np.maximum(1 - np.abs(places[:, None] - np.arange(knots)), 0)  # (horizon, knots)
        self.later = np.minimum(np.arange(knots) + (knots - 1) / (horizon - 1), knots - 1)  # the knots one step on
        self.rng = np.random.default_rng(seed)
        self.plan = np.zeros((knots, len(self.low)))

    def reset(self, env: gymnasium.Env) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.plan = np.tile((self.low + self.high) / 2, (len(self.plan), 1))
        self.twin.reset()
        world = copy.deepcopy(env.unwrapped)  # also what is drawn for an episode, such as goals
        if isinstance(self.twin, gymnasium.Wrapper):
            last = self.twin
            while isinstance(last.env, gymnasium.Wrapper):
                last = last.env
            last.env = world
        else:
            self.twin = world

    def act(self, env: gymnasium.Env, observation: Observation, info: Info) -> Action:
        shifted = np.array([np.interp(self.later, np.arange(len(self.plan)), part) for part in self.plan.T]).T
        plans = np.tile(shifted, (self.samples + 1, 1, 1))
        sizes = self.rng.choice([0.3, 1.0], (self.samples, 1, 1))  # some refine the plan, others leave it
        plans[1:] += sizes * self.noise * self.rng.normal(size=plans[1:].shape)
        plans = np.clip(plans, self.low, self.high)
        state = _state(env)
        self.plan = plans[int(np.argmax([self._value(state, plan) for plan in plans]))]
        return self._action(self.plan[0])

    def _action(self, numbers: np.ndarray) -> Action:
        return bounded(numbers.reshape(self.space.shape), self.space)

    def _value(self, state: np.ndarray, plan: np.ndarray) -> float:
        """Return of a plan, tried from a state of the simulator."""
        import mujoco

        found = simulator(self.twin)
        assert found is not None  # by the constructor
        mujoco.mj_setState(*found, state, mujoco.mjtState.mjSTATE_INTEGRATION)
        mujoco.mj_forward(*found)
        _rewind(inside(self.twin))
        total = 0.0
        for numbers in self.between @ plan:
            _, reward, terminated, _, _ = self.twin.step(self._action(numbers))
            total += float(reward)
            if terminated:
                break
        return total


def _state(env: gymnasium.Env) -> np.ndarray:
    """All that decides how the simulator goes on, ``(size,)``."""
    import mujoco

    found = simulator(env)
    assert found is not None  # the policy is for such environments
    state = np.empty(mujoco.mj_stateSize(found[0], mujoco.mjtState.mjSTATE_INTEGRATION))
    mujoco.mj_getState(*found, state, mujoco.mjtState.mjSTATE_INTEGRATION)
    return state


def _rewind(world: Any) -> None:
    """Makes an episode of dm_control begin anew without changing its state: it would reset itself at its end."""
    episode = getattr(world, "_env", None)
    if episode is not None:
        episode._step_count, episode._reset_next_step = 0, False
