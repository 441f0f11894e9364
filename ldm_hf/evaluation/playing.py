"""Watching a model play, in a window or as a video, in one environment or many side by side."""

from __future__ import annotations

import importlib
import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import gymnasium
import numpy as np
from gymnasium.wrappers import HumanRendering
from tqdm.auto import tqdm

from ..agent import LDMAgent, load_model, make_agent
from ..environments import get_spec, make
from ..errors import EnvironmentFailure, LDMError, MissingExtraError
from ..rollouts.lane import Lane

CAPTION = 14  # height in pixels of the name under a picture
GRID_FPS = 20


def play(
    model: str,
    name: str,
    video: str | Path | None = None,
    episodes: int = 1,
    seed: int = 0,
    show: Callable[[str], object] = print,
) -> list[float]:
    """Lets a model play in one environment.

    Args:
        model: Folder or Hub id of a pretrained LDM.
        name: Name of the environment in the catalogue or Gymnasium's registry.
        video: File to write (``.mp4`` or ``.gif``); None opens a window, or shows the texts of an environment that has
            no picture.
        episodes: Number of episodes; the model's history goes on across them.
        seed: Seed of the first episode.
        show: Receives these texts.

    Returns:
        The return of each episode.

    Raises:
        LDMError: if the environment cannot be drawn.
        MissingExtraError: without imageio.
    """
    env = _drawn_environment(name, ("rgb_array", "ansi") if video is None else ("rgb_array",))
    agent = make_agent(*load_model(model), get_spec(name).name, get_spec(name).task or None, env)
    as_text = env.render_mode == "ansi"
    if video is None and not as_text:
        env = HumanRendering(env)
    frames: list[np.ndarray] = []
    returns = [0.0] * episodes
    for episode, frame, reward in _steps(Lane(env, name), agent, episodes, seed, draw=as_text or video is not None):
        returns[episode] += reward
        if as_text:
            show(str(frame))
        elif isinstance(frame, np.ndarray):
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
        model: Folder or Hub id of a pretrained LDM.
        names: Names of the environments.
        video: File to write.
        steps: Steps in each environment; ended episodes are followed by new ones.
        side: Width and height of a picture in pixels.
        seed: Seed of the first episode in each environment.

    Returns:
        Errors by the name of the environment, where it has no picture; it is left out.

    Raises:
        LDMError: if none of them has a picture.
        MissingExtraError: without imageio.
    """
    _imageio()
    loaded = load_model(model)
    tiles: dict[str, list[np.ndarray]] = {}
    failures: dict[str, LDMError] = {}
    for name in tqdm(names, desc="play", unit="environment"):
        try:
            env = _drawn_environment(name)
            agent = make_agent(*loaded, get_spec(name).name, get_spec(name).task or None, env)
            endless = _steps(Lane(env, name), agent, None, seed, draw=True)
            tiles[name] = [
                _tile(frame, name, side)
                for _, frame, _ in itertools.islice(endless, steps)
                if isinstance(frame, np.ndarray)
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
            make(spec).close()  # if this works, its constructor just does not know the mode
            continue
        if mode in env.metadata.get("render_modes", []):
            return env
        env.close()
    raise LDMError(f"{spec.name} has no picture (no render mode 'rgb_array'); `ldm evaluate` scores a model in it.")


def _steps(
    lane: Lane, agent: LDMAgent, episodes: int | None, seed: int, draw: bool
) -> Iterator[tuple[int, np.ndarray | str | None, float]]:
    """Episode number, picture (or text) before the step, and reward of each step; endless if ``episodes`` is None."""
    feedback: tuple[float | None, bool | None, bool | None] = (None, None, None)
    for episode in itertools.count() if episodes is None else range(episodes):
        lane.begin(seed + episode)
        over = False
        while not over:
            frame: np.ndarray | str | None = None
            if draw:
                with lane.named("render"):  # also where the machine cannot draw
                    drawn = lane.env.render()
                frame = drawn if isinstance(drawn, str | None) else _pixels(drawn)
            action = agent.act(lane.observation, *feedback, lane.info)
            over = lane.step(action)
            # the agent sees how an episode ended together with the first observation of the next
            feedback = lane.reward, lane.terminated, lane.truncated
            yield episode, frame, lane.reward


def _pixels(drawn: object) -> np.ndarray:
    """A picture as uint8; real numbers are taken to be between 0 and 1."""
    frame = np.asarray(drawn)
    return frame if frame.dtype == np.uint8 else (255 * np.clip(frame, 0, 1)).astype(np.uint8)


def _tile(frame: np.ndarray, name: str, side: int) -> np.ndarray:
    """A picture ``(side + CAPTION, side, 3)`` with the name of its environment below."""
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


def _imageio() -> ModuleType:
    try:
        return importlib.import_module("imageio.v3")
    except ImportError as error:
        raise MissingExtraError("imageio", extra="eval") from error
