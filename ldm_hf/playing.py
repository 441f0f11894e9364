"""Watching a model play, in a window or as a video, in one environment or many side by side."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.wrappers import HumanRendering
from tqdm.auto import tqdm

from .agent import LDMAgent, load_model
from .environments import get_spec, make
from .errors import EnvironmentFailure, LDMError, MissingExtraError
from .evaluation.evaluate import make_agent
from .parallel import share_cores
from .utils.display import draw_without_display

CAPTION = 14  # pixels under a tile
GRID_FPS = 20


def play(
    model: str,
    name: str,
    video: str | Path | None = None,
    episodes: int = 1,
    seed: int = 0,
    show: Callable[[str], Any] = print,
) -> list[float]:
    """Lets a model play.

    Args:
        model: folder or Hub id.
        name: of the environment, in the catalogue or Gymnasium's registry.
        video: file to write (``.mp4`` or ``.gif``); None opens a window, or shows the texts of an environment that has no picture.
        episodes: how many; the model's history goes on across them.
        seed: of the first episode.
        show: takes these texts.

    Returns:
        Return of each episode.

    Raises:
        LDMError: if the environment cannot be drawn.
        MissingExtraError: without imageio.
    """
    share_cores()
    if video is not None:
        draw_without_display()
    env = _drawn_environment(name, ("rgb_array", "ansi") if video is None else ("rgb_array",))
    agent = make_agent(*load_model(model), get_spec(name).name, get_spec(name).task or None, env)
    told = env.render_mode == "ansi"
    if video is None and not told:
        env = HumanRendering(env)
    frames: list[np.ndarray] = []
    returns = [0.0] * episodes
    for episode, frame, reward in _steps(name, env, agent, episodes, seed, draw=told or video is not None):
        returns[episode] += reward
        if told:
            show(str(frame))
        elif frame is not None:
            frames.append(frame)
    fps = env.metadata.get("render_fps") or 30
    env.close()
    if video is not None:
        _write(Path(video), frames, fps)
    return returns


def play_grid(
    model: str, names: list[str], video: str | Path, steps: int = 150, side: int = 128, seed: int = 0
) -> dict[str, LDMError]:
    """Lets a model play in several environments and writes one video of all, side by side.

    Args:
        model: folder or Hub id.
        names: of the environments.
        video: file to write.
        steps: of each environment; ended episodes are followed by new ones.
        side: of a picture, in pixels.
        seed: of the first episode of each.

    Returns:
        The environments that have no picture, by name; they are left out.

    Raises:
        LDMError: if none of them has a picture.
        MissingExtraError: without imageio.
    """
    _imageio()
    share_cores()
    draw_without_display()
    loaded = load_model(model)
    tiles: dict[str, list[np.ndarray]] = {}
    failures: dict[str, LDMError] = {}
    for name in tqdm(names, desc="play", unit="environment"):
        try:
            env = _drawn_environment(name)
            agent = make_agent(*loaded, get_spec(name).name, get_spec(name).task or None, env)
            endless = _steps(name, env, agent, None, seed, draw=True)
            tiles[name] = [
                _tile(frame, name, side) for _, frame, _ in itertools.islice(endless, steps) if frame is not None
            ]
            env.close()
        except LDMError as error:
            failures[name] = error
    if not tiles:
        raise next(iter(failures.values()))
    columns = math.ceil(math.sqrt(len(tiles)))
    blank = np.zeros_like(next(iter(tiles.values()))[0])
    frames = []
    for pictures in zip(*tiles.values(), strict=True):
        filled = [*pictures, *[blank] * (-len(pictures) % columns)]
        frames.append(np.vstack([np.hstack(filled[row : row + columns]) for row in range(0, len(filled), columns)]))
    _write(Path(video), frames, GRID_FPS)
    return failures


def _drawn_environment(name: str, modes: tuple[str, ...] = ("rgb_array",)) -> gymnasium.Env:
    """An environment in the first of the render modes that it has."""
    spec = get_spec(name)
    for mode in modes:
        try:
            env = make(spec, render_mode=mode)
        except EnvironmentFailure:
            make(spec).close()  # if it can be made without: its constructor does not know the mode
            continue
        if mode in env.metadata.get("render_modes", []):
            return env
        env.close()
    raise LDMError(f"{spec.name} has no picture (no render mode 'rgb_array'); `ldm evaluate` scores a model in it.")


def _steps(
    name: str, env: gymnasium.Env, agent: LDMAgent, episodes: int | None, seed: int, draw: bool
) -> Iterator[tuple[int, Any, float]]:
    """Number of the episode, picture (or text) before the step, and reward of every step; without end if ``episodes`` is None."""

    def call(which: str, *args: Any, **kwargs: Any) -> Any:
        try:
            return getattr(env, which)(*args, **kwargs)
        except Exception as error:  # also of a machine that cannot draw
            raise EnvironmentFailure(name, which, error) from error

    feedback: tuple[Any, Any, Any] = (None, None, None)
    for episode in itertools.count() if episodes is None else range(episodes):
        observation, info = call("reset", seed=seed + episode)
        while True:
            frame = call("render") if draw else None
            if not isinstance(frame, str | None):
                frame = _pixels(frame)
            action = agent.act(observation, *feedback, info)
            observation, reward, terminated, truncated, info = call("step", action)
            feedback = (reward, terminated, truncated)
            yield episode, frame, float(reward)
            if terminated or truncated:
                break  # the agent sees how the episode ended together with the first observation of the next


def _pixels(frame: Any) -> np.ndarray:
    """uint8; real numbers are taken to lie between 0 and 1."""
    frame = np.asarray(frame)
    return frame if frame.dtype == np.uint8 else (255 * np.clip(frame, 0, 1)).astype(np.uint8)


def _tile(frame: np.ndarray, name: str, side: int) -> np.ndarray:
    """A picture ``(side + CAPTION, side, 3)`` with its name below."""
    from PIL import Image, ImageDraw  # comes with imageio

    picture = Image.fromarray(frame).convert("RGB")
    scale = side / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)
    tile = Image.new("RGB", (side, side + CAPTION))
    tile.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    ImageDraw.Draw(tile).text((2, side + 1), name[: side // 6], fill="white")
    return np.asarray(tile)


def _write(path: Path, frames: list[np.ndarray], fps: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".gif":
        _imageio().imwrite(path, frames, duration=1000 / fps, loop=0)
    else:
        _imageio().imwrite(path, frames, fps=fps, macro_block_size=2)


def _imageio() -> Any:
    try:
        import imageio.v3
    except ImportError as error:
        raise MissingExtraError("imageio", extra="eval") from error
    return imageio.v3
