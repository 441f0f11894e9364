"""Classic control: feedback, linear or through a Jacobian, and energy pumping."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ldm_hf.references.base import Reference


class CartPole(Reference):
    """Linear feedback on angle, angular velocity, position and velocity; the signs follow from the linearised dynamics."""

    worlds: tuple[str, ...] = ("CartPoleEnv",)
    gains = np.array([0.05, 0.1, 1.0, 0.3])

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.observation_space.shape == (4,)  # not where a part of the state is hidden

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return np.int64(observation @ self.gains > 0)


class MountainCar(Reference):
    """Pushes in the direction of motion, which raises the energy at every step (Moore 1990 describes the problem)."""

    worlds: tuple[str, ...] = ("MountainCarEnv", "Continuous_MountainCarEnv")

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        forward = observation[1] >= 0
        if isinstance(env.action_space, gymnasium.spaces.Box):
            return np.array([1.0 if forward else -1.0], np.float32)
        return np.int64(2 if forward else 0)


class Acrobot(Reference):
    """Turns the elbow the way it is turning, which raises the energy at every step (Spong 1995 describes the swing-up)."""

    worlds: tuple[str, ...] = ("AcrobotEnv",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        return np.int64(2 if env.unwrapped.state[3] > 0 else 0)  # type: ignore[attr-defined]


class Pendulum(Reference):
    """Energy pumping far from the top (Astrom & Furuta 2000), linear feedback near it."""

    worlds: tuple[str, ...] = ("PendulumEnv",)

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.observation_space.shape == (3,)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        cosine, sine, speed = (float(value) for value in observation)
        angle = np.arctan2(sine, cosine)
        if cosine > 0.85:
            torque = -(12.0 * angle + 3.0 * speed)
        else:
            energy = speed**2 / 6 + 5.0 * (
                cosine - 1
            )  # m = l = 1, g = 10: inertia 1/3, nought when resting at the top
            torque = -3.0 * energy * (np.sign(speed) or 1.0)
        return np.clip(np.array([torque], np.float32), -2, 2)


class LunarLander(Reference):
    """The controller that Gymnasium ships with the environment."""

    method = "scripted"
    worlds: tuple[str, ...] = ("LunarLander",)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        from gymnasium.envs.box2d.lunar_lander import heuristic

        return np.asarray(heuristic(env, observation), env.action_space.dtype)


class ReachGoal(Reference):
    """Moves a gripper straight to the goal: proportional control of its position."""

    worlds: tuple[str, ...] = ("MujocoFetchReachEnv", "PandaReachEnv")
    gain = 10.0

    @classmethod
    def fits(cls, env: gymnasium.Env) -> bool:
        return super().fits(env) and env.action_space.shape in ((3,), (4,))  # not where joints are moved

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        space: Any = env.action_space
        action = np.zeros(space.shape, space.dtype)
        action[:3] = np.clip(self.gain * (observation["desired_goal"] - observation["achieved_goal"]), -1, 1)
        return action


class LinearRegulator(Reference):
    """Balances MuJoCo's upright pendulums: the linear-quadratic regulator (Kalman 1960) of the simulator's own equations near the top."""

    method = "planner"
    worlds: tuple[str, ...] = ("InvertedPendulumEnv", "InvertedDoublePendulumEnv")

    def __init__(self, env: gymnasium.Env) -> None:
        world: Any = env.unwrapped
        self.gains = regulator(world.model, world.frame_skip)

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        data: Any = env.unwrapped.data  # type: ignore[attr-defined]
        return bounded(-self.gains @ np.concatenate([data.qpos, data.qvel]), env.action_space)


class Reacher(Reference):
    """Pulls the tip of MuJoCo's arm to its target: the force of a damped spring, as torques of the joints by the transposed Jacobian (Hogan 1985).

    Args:
        env: not used.
        spring: torque for each metre that the tip is away, and metre of lever.
        damping: torque for each radian a second.
    """

    worlds: tuple[str, ...] = ("ReacherEnv",)

    def __init__(self, env: gymnasium.Env, spring: float = 10.0, damping: float = 0.05) -> None:
        self.spring, self.damping = spring, damping

    @classmethod
    def variants(cls, env: gymnasium.Env) -> list[dict[str, Any]]:
        return [{"spring": spring, "damping": damping} for spring in (4.0, 10.0) for damping in (0.02, 0.05)]

    def act(self, env: gymnasium.Env, observation: Any, info: dict[str, Any]) -> Any:
        import mujoco

        world: Any = env.unwrapped
        jacobian = np.zeros((3, world.model.nv))
        mujoco.mj_jacBody(world.model, world.data, jacobian, None, world.model.body("fingertip").id)
        pull = self.spring * (world.get_body_com("target") - world.get_body_com("fingertip"))
        return bounded((jacobian.T @ pull - self.damping * world.data.qvel)[:2], env.action_space)


def regulator(model: Any, substeps: int, effort: float = 0.01, speed: float = 1.0) -> np.ndarray:
    """Gains of the discrete linear-quadratic regulator of a MuJoCo model about its resting pose.

    Args:
        model: whose positions and speeds are as many.
        substeps: of the simulator for a step.
        effort: what the square of a control counts, beside that of a position.
        speed: what the square of a speed counts.

    Returns:
        ``(controls, positions + speeds)``; the control is the negative product with the state.
    """
    import mujoco
    from scipy.linalg import solve_discrete_are

    data = mujoco.MjData(model)
    states, controls = 2 * model.nv, model.nu

    def after(point: np.ndarray) -> np.ndarray:
        mujoco.mj_resetData(model, data)
        data.qpos[:], data.qvel[:], data.ctrl[:] = np.split(point, (model.nv, states))
        mujoco.mj_step(model, data, nstep=substeps)
        return np.concatenate([data.qpos, data.qvel])

    steps = 1e-5 * np.eye(states + controls)  # central differences
    jacobian = np.stack([(after(step) - after(-step)) / 2e-5 for step in steps], axis=1)
    a, b = jacobian[:, :states], jacobian[:, states:]
    weights, cost = np.diag([1.0] * model.nv + [speed] * model.nv), effort * np.eye(controls)
    value = solve_discrete_are(a, b, weights, cost)
    return np.linalg.solve(cost + b.T @ value @ b, b.T @ value @ a)


def bounded(action: np.ndarray, space: Any) -> np.ndarray:
    """Within the bounds of a space, and of its dtype."""
    return np.clip(action, space.low, space.high).astype(space.dtype)
