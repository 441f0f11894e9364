"""Watching a model play, in a window or as a video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.wrappers import HumanRendering

from .agent import load_model
from .environments import get_spec, make
from .errors import LDMError, MissingExtraError
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
    env = make(spec, render_mode="rgb_array")
    if "rgb_array" not in env.metadata.get("render_modes", []):
        raise LDMError(
            f"{spec.name} has no picture (no render mode 'rgb_array'); `ldm evaluate` scores a model in it."
        )
    agent = make_agent(*load_model(model), spec.name, spec.task or None, env)
    if video is None:
        env = HumanRendering(env)
    frames: list[np.ndarray] = []
    returns: list[float] = []
    feedback: tuple[Any, Any, Any] = (None, None, None)
    for index in range(episodes):
        observation, info = env.reset(seed=seed + index)
        returns.append(0.0)
        while True:
            if video is not None:
                frames.append(np.asarray(env.render()))
            observation, reward, terminated, truncated, info = env.step(agent.act(observation, *feedback, info))
            feedback = (reward, terminated, truncated)
            returns[-1] += float(reward)
            if terminated or truncated:
                break  # the agent sees how the episode ended together with the first observation of the next
    fps = env.metadata.get("render_fps") or 30
    env.close()
    if video is not None:
        _write(Path(video), frames, fps)
    return returns


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
