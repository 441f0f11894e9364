"""Laws of control that policies of several libraries share."""

from __future__ import annotations

from typing import Any

import numpy as np


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
