"""Control laws that policies of several libraries share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gymnasium
import numpy as np
from gymnasium import spaces

if TYPE_CHECKING:
    import mujoco


def regulator(model: mujoco.MjModel, substeps: int, effort: float = 0.01, speed: float = 1.0) -> np.ndarray:
    """Gains of the discrete linear-quadratic regulator of a MuJoCo model around its resting pose.

    Args:
        model: model with as many positions as speeds.
        substeps: steps of the simulator for one step of the environment.
        effort: cost of the square of a control, where that of a position costs 1.
        speed: cost of the square of a speed.

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


def bounded(action: np.ndarray, space: gymnasium.Space[object]) -> np.ndarray:
    """Clips an action to the bounds of a Box and gives it the dtype of that space."""
    assert isinstance(space, spaces.Box)
    clipped: np.ndarray = np.clip(action, space.low, space.high).astype(space.dtype)
    return clipped
