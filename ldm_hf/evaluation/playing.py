"""Watching a model play, in a window or as a video, in one environment or many side by side."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import gymnasium
import numpy as np
from gymnasium.wrappers import HumanRendering
from tqdm.auto import tqdm

from ..agent import LDMAgent, load_model, loaded_model, make_agent
from ..environments import get_spec, make
from ..environments.specs import known_as
from ..errors import EnvironmentFailure, LDMError
from ..modeling_ldm import LDMForActionPrediction
from ..processing_ldm import LDMProcessor
from ..rollouts.lane import Lane
from ..utils.files import check_writable
from ..utils.guarding import close
from ..utils.parallel import SILENT_SECONDS, report, run_tasks, share_cores
from .pictures import drawing_error, imageio_v3, pixels, prepare_drawing, side_by_side, tile, write_video


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
        LDMError: if the environment cannot be drawn, or the file cannot be written.
        MissingExtraError: without imageio.
    """
    if video is not None:
        check_writable(video)
    prepare_drawing()
    share_cores()
    model, video = _fixed(model), None if video is None else Path(video).absolute()
    env = _drawn_environment(name, ("rgb_array", "ansi") if video is None else ("rgb_array",))
    agent = _agent(load_model(model), name, env)
    as_text = env.render_mode == "ansi"
    if video is None and not as_text:
        env = HumanRendering(env)
    frames: list[np.ndarray] = []
    returns = [0.0] * episodes
    lane = Lane(env, name)
    try:
        for episode, frame, reward in _steps(lane, agent, episodes, seed, draw=as_text or video is not None):
            returns[episode] += reward
            if as_text:
                show(str(frame))
            elif isinstance(frame, np.ndarray):
                frames.append(frame)
        fps = env.metadata.get("render_fps") or 30
    finally:
        lane.close()
    if video is not None:
        write_video(video, frames, fps)
    return returns


def play_grid(
    model: str,
    names: list[str],
    video: str | Path,
    seconds: float = 8,
    side: int = 128,
    fps: int = 20,
    seed: int = 0,
) -> dict[str, LDMError]:
    """Lets a model play in several environments and writes one video of all, each at its own speed (``render_fps``).

    Args:
        model: Folder or Hub id of a pretrained LDM.
        names: Names of the environments.
        video: File to write.
        seconds: Length of the video; ended episodes are followed by new ones.
        side: Width and height of a picture in pixels.
        fps: Frames per second of the video. A faster environment is not drawn at every step, a slower one stands
            still for some frames.
        seed: Seed of the first episode in each environment.

    Returns:
        Errors by the name of the environment, where it failed or has no picture; it is left out.

    Raises:
        LDMError: if none of them has a picture, or the file cannot be written.
        MissingExtraError: without imageio.
    """
    imageio_v3()
    check_writable(video)
    loaded_model.cache_clear()  # the folder may hold another model than at the last call
    length = max(1, round(seconds * fps))
    tasks = {name: (_fixed(model), name, length, side, fps, seed) for name in names}
    tiles: dict[str, list[np.ndarray]] = {}
    failures: dict[str, LDMError] = {}
    with tqdm(total=len(tasks), desc="play", unit="environment") as bar:
        for name, outcome in run_tasks(_tiles, tasks, silence=SILENT_SECONDS):
            if isinstance(outcome, LDMError):
                failures[name] = outcome
            else:
                tiles[name] = outcome
            bar.update()
    if not tiles:
        raise next(iter(failures.values()))
    write_video(Path(video), [side_by_side(pictures) for pictures in zip(*tiles.values(), strict=True)], fps)
    return failures


def _tiles(model: str, name: str, length: int, side: int, fps: int, seed: int) -> list[np.ndarray]:
    """The pictures of one of several environments."""
    prepare_drawing()
    loaded = loaded_model(model)
    lane = Lane(_drawn_environment(name), name)
    try:
        agent = _agent(loaded, name, lane.env)
        speed = lane.env.metadata.get("render_fps") or fps
        skipped, held = max(1, round(speed / fps)), max(1, round(fps / speed))
        drawn = (f for _, f, _ in _steps(lane, agent, None, seed, draw=skipped) if isinstance(f, np.ndarray))
        pictures = [tile(frame, name, side) for frame in itertools.islice(drawn, -(-length // held))]
        lane.check()
    finally:
        lane.close()
    return [picture for picture in pictures for _ in range(held)][:length]


def _agent(loaded: tuple[LDMForActionPrediction, LDMProcessor], name: str, env: gymnasium.Env) -> LDMAgent:
    """An agent that plays the row of this name."""
    model, processor = loaded
    spec = get_spec(name)
    return make_agent(model, processor, known_as(spec.name, processor.environments), spec.task or None, env)


def _fixed(path: str) -> str:
    """A path that does not depend on the working directory, which an environment may change; a Hub id stays."""
    return str(Path(path).absolute()) if Path(path).exists() else path


def _drawn_environment(name: str, modes: tuple[str, ...] = ("rgb_array",)) -> gymnasium.Env:
    """An environment in the first of the render modes that it has."""
    spec = get_spec(name)
    for mode in modes:
        try:
            env = make(spec, render_mode=mode)
        except EnvironmentFailure:
            close(make(spec), spec.name)  # if this works, its constructor just does not know the mode
            continue
        if mode in env.metadata.get("render_modes", []):
            return env
        close(env, spec.name)
    raise LDMError(f"{spec.name} has no picture (no render mode 'rgb_array'); `ldm evaluate` scores a model in it.")


def _steps(
    lane: Lane, agent: LDMAgent, episodes: int | None, seed: int, draw: int
) -> Iterator[tuple[int, np.ndarray | str | None, float]]:
    """Episode number, picture (or text) before the step, and reward of each step; endless if ``episodes`` is None.

    Only every ``draw``-th step has a picture; none has one if it is 0.
    """
    feedback: tuple[float | None, bool | None, bool | None] = (None, None, None)
    step = itertools.count()
    for episode in itertools.count() if episodes is None else range(episodes):
        lane.begin(seed + episode)
        over = False
        while not over:
            frame = _draw(lane) if draw and next(step) % draw == 0 else None
            try:
                action = agent.act(lane.observation, *feedback, lane.info)
            except Exception:
                lane.check()  # the cause may be the observation
                raise
            over = lane.step(action)
            report(0)  # a sign of life
            # the agent sees how an episode ended together with the first observation of the next
            feedback = lane.reward, lane.terminated, lane.truncated
            yield episode, frame, lane.reward
        lane.check()


def _draw(lane: Lane) -> np.ndarray | str | None:
    """A picture, or the text of an environment that has none; an error names the environment."""
    try:
        frame = lane.env.render()
    except BaseException as error:
        if isinstance(error, Exception) and (known := drawing_error(lane.name, error)):
            raise known from error
        lane.fail("render", error)
    return frame if isinstance(frame, str | None) else pixels(frame)
