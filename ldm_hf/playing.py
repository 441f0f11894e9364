"""Watching a model play, in a window or as a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.wrappers import HumanRendering

from .agent import load_model
from .environments import get_spec, make
from .errors import EnvironmentFailure, LDMError, MissingExtraError
from .evaluation.evaluate import make_agent


def play(model: str, name: str, video: str | Path | None = None, episodes: int = 1, seed: int = 0) -> list[float]:
    """Lets a model play.

    Args:
        model: folder or Hub id.
        name: of the environment, in the catalogue or Gymnasium's registry.
        video: file to write (``.mp4`` or ``.gif``); None opens a window.
        episodes: how many; the model's history goes on across them.
        seed: of the first episode.

    Returns:
        Return of each episode.

    Raises:
        LDMError: if the environment cannot be drawn.
        MissingExtraError: without imageio.
    """
    spec = get_spec(name)
    try:
        env = make(spec, render_mode="rgb_array")
        drawn = "rgb_array" in env.metadata.get("render_modes", [])
    except EnvironmentFailure:
        env = make(spec)  # if it can be made without: its constructor does not know the mode
        drawn = False
    if not drawn:
        env.close()
        raise LDMError(
            f"{spec.name} has no picture (no render mode 'rgb_array'); `ldm evaluate` scores a model in it."
        )
    agent = make_agent(*load_model(model), spec.name, spec.task or None, env)
    if video is None:
        env = HumanRendering(env)

    def call(which: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(env, which)(*args, **kwargs)
        except Exception as error:  # also of a machine that cannot draw
            raise EnvironmentFailure(spec.name, which, error) from error

    frames: list[np.ndarray] = []
    returns: list[float] = []
    feedback: tuple[Any, Any, Any] = (None, None, None)
    for index in range(episodes):
        observation, info = call("reset", seed=seed + index)
        returns.append(0.0)
        while True:
            if video is not None:
                frames.append(_pixels(call("render")))
            action = agent.act(observation, *feedback, info)
            observation, reward, terminated, truncated, info = call("step", action)
            feedback = (reward, terminated, truncated)
            returns[-1] += float(reward)
            if terminated or truncated:
                break  # the agent sees how the episode ended together with the first observation of the next
    fps = env.metadata.get("render_fps") or 30
    env.close()
    if video is not None:
        _write(Path(video), frames, fps)
    return returns


def _pixels(frame: Any) -> np.ndarray:
    """uint8; real numbers are taken to lie between 0 and 1."""
    frame = np.asarray(frame)
    return frame if frame.dtype == np.uint8 else (255 * np.clip(frame, 0, 1)).astype(np.uint8)


def _write(path: Path, frames: list[np.ndarray], fps: float) -> None:
    try:
        import imageio.v3 as imageio
    except ImportError as error:
        raise MissingExtraError("imageio", extra="eval") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        imageio.imwrite(path, frames, duration=1000 / fps, loop=0)
    else:
        imageio.imwrite(path, frames, fps=fps, macro_block_size=2)
