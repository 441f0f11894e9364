"""The process in which one visitor's environments live: three copies, for the model, a reference and random actions."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import gymnasium
import numpy as np

from ..environments.making import make
from ..environments.specs import EnvironmentSpec
from ..errors import EnvironmentFailure, LDMError
from ..evaluation.pictures import drawing_error, pixels, prepare_drawing
from ..references.base import Reference
from ..references.loading import load_reference
from ..rollouts.lane import Lane
from ..rollouts.policies import RandomPolicy
from ..spaces import Action, SpaceJson, space_to_json

SIDE = 288  # pixels of the longer side of a picture, at most
QUALITY = 82  # of a JPEG
PLAYERS = ("model", "reference", "random")
PRELOADED = [
    *("ldm_hf.demo.stage", "ldm_hf.demo.warm", "torch", "ldm_hf.references.general", "pygame", "stable_baselines3"),
    *("gymnasium.envs.box2d", "gymnasium.envs.mujoco", "mujoco", "minigrid", "highway_env", "metaworld", "ale_py"),
]
"""Modules that the process has imported from which those of the visitors are forked; what is missing is left out."""
SEED = 5_000_000
"""Seed of the first episode of the first visitor: far from the seeds that models are trained and measured with."""


@dataclass
class Seen:
    """What the page and the model are told after the environments were reset or stepped.

    Args:
        observation: what the model sees.
        mask: ``info["action_mask"]`` of the model's environment; None where there is none.
        rewards: reward of the step, by player.
        ends: whether an episode ended with it, by player.
        terminated: whether the model's last step terminated its episode.
        truncated: whether it truncated it.
        pictures: JPEG files by player; empty if nothing was drawn.
        note: what went wrong with the reference, if something did.
    """

    observation: Any
    mask: Any
    rewards: dict[str, float] = field(default_factory=dict)
    ends: dict[str, bool] = field(default_factory=dict)
    terminated: bool = False
    truncated: bool = False
    pictures: dict[str, bytes] = field(default_factory=dict)
    note: str = ""


@dataclass
class Opening:
    """What the page is told of environments that were made.

    Args:
        spaces: observation and action space.
        fps: steps per second at which the environment looks natural.
        defaults: values of what the world lets change, by path, see `knobs`.
        actions: names of the choices of a discrete action, where the environment has some.
        first: the first observation, and the first pictures.
    """

    spaces: tuple[SpaceJson, SpaceJson]
    fps: float
    defaults: dict[tuple[str, ...], float]
    actions: list[str]
    first: Seen


class Troupe:
    """Three copies of an environment, whose episodes begin with the same seeds.

    Args:
        row: row of the catalogue, perhaps changed.
        references: folder of trained reference policies.
        seed: seed of the first episode.
        paths: paths of what the world lets change, see `knobs`.
    """

    def __init__(self, row: EnvironmentSpec, references: str, seed: int, paths: list[tuple[str, ...]]) -> None:
        prepare_drawing()
        self._row, self._references, self._seed = row, references, seed
        self._lanes: dict[str, Lane] = {}
        self._episodes = dict.fromkeys(PLAYERS, 0)
        self._random = RandomPolicy()
        self._reference: Reference | None = None
        self._note: str | None = None  # None: the reference was not looked for yet
        self._paths = paths
        self._add("model")  # the others look the same at first, and are made after the first picture

    def opening(self) -> Opening:
        """Everything that is told once."""
        env = self._lanes["model"].env
        defaults = {path: value for path in self._paths if (value := default_of(env, path)) is not None}
        spaces = space_to_json(env.observation_space), space_to_json(env.action_space)
        fps = float(env.metadata.get("render_fps") or 10)
        return Opening(spaces, fps, defaults, action_names(env), self._seen(draw=True))

    def step(self, action: Action, draw: bool) -> Seen:
        """Steps the three environments; an episode that ends is followed by the next."""
        if self._note is None:
            self._add("reference")
            self._add("random")
            self._find_reference()
        actions = {"model": action}
        if (chosen := self._referred()) is not None:
            actions["reference"] = chosen[0]
        (actions["random"],) = self._random.act([self._lanes["random"]])
        ends = {player: self._lanes[player].step(chosen) for player, chosen in actions.items()}
        rewards = {player: self._lanes[player].reward for player in actions}
        lane = self._lanes["model"]
        flags = lane.terminated, lane.truncated
        for player, over in ends.items():
            if over:
                self._lanes[player].check()
                self._episodes[player] += 1
                self._begin(player)
        seen = self._seen(draw)
        seen.rewards, seen.ends, (seen.terminated, seen.truncated) = rewards, ends, flags
        return seen

    def close(self) -> None:
        """Closes the environments."""
        for lane in self._lanes.values():
            lane.close()

    def _add(self, player: str) -> None:
        self._lanes[player] = Lane(make(self._row, render_mode="rgb_array"), self._row.name)
        self._begin(player)

    def _begin(self, player: str) -> None:
        lane = self._lanes[player]
        lane.begin(self._seed + self._episodes[player])
        if player == "random":
            self._random.begin(0, lane)
        elif player == "reference" and self._reference is not None:
            self._prepare()

    def _find_reference(self) -> None:
        """Loads the reference policy, which takes longer than the first picture should."""
        self._note = ""
        try:
            self._reference = load_reference(self._row, self._references)
        except LDMError as error:
            self._lose(f"no reference plays: {error}")
            return
        self._prepare()

    def _prepare(self) -> None:
        assert self._reference is not None
        try:
            self._reference.reset(self._lanes["reference"].env)
        except Exception as error:
            self._lose(f"the reference failed in reset: {type(error).__name__}: {error}")

    def _referred(self) -> tuple[Action] | None:
        """What the reference does; None if there is none, or none any more."""
        if self._reference is None:
            return None
        lane = self._lanes["reference"]
        try:
            return (self._reference.act(lane.env, lane.observation, lane.info),)
        except Exception as error:
            self._lose(f"the reference failed: {type(error).__name__}: {error}")
            return None

    def _lose(self, note: str) -> None:
        self._reference, self._note = None, f"{note:.400}"

    def _seen(self, draw: bool) -> Seen:
        lane = self._lanes["model"]
        seen = Seen(lane.observation, lane.info.get("action_mask"), note=self._note or "")
        if draw:
            shown = [player for player in PLAYERS if player != "reference" or self._reference or self._note is None]
            first = picture(lane)
            seen.pictures = {
                player: picture(self._lanes[player]) if player in self._lanes and player != "model" else first
                for player in shown
            }
        return seen


_troupe: list[Troupe] = []


def perform(call: str, *arguments: Any) -> Any:
    """Answers a call in the visitor's process: ``open`` makes environments, ``step`` steps them."""
    if call == "open":
        while _troupe:
            _troupe.pop().close()
        _troupe.append(Troupe(*arguments))
        return _troupe[0].opening()
    return getattr(_troupe[0], call)(*arguments)


def picture(lane: Lane) -> bytes:
    """A picture of an environment as a JPEG file, with at most `SIDE` pixels on its longer side.

    Raises:
        LDMError: if it cannot be drawn.
    """
    from PIL import Image

    try:
        frame: Any = lane.env.render()
        if np.ndim(frame) not in (2, 3):
            raise LDMError(f"{lane.name} has no picture (no render mode 'rgb_array').")
        image = Image.fromarray(pixels(frame)).convert("RGB")
    except LDMError:
        raise
    except Exception as error:
        raise drawing_error(lane.name, error) or EnvironmentFailure(lane.name, "render", error, lane.seed) from error
    scale = SIDE / max(image.size)
    if scale < 1:
        image = image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))
    elif scale >= 2:  # a browser would blur it
        image = image.resize((image.width * int(scale), image.height * int(scale)), Image.Resampling.NEAREST)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def default_of(env: gymnasium.Env, path: tuple[str, ...]) -> float | None:
    """The value of what a world lets change, as it is in an environment; None if it cannot be found.

    Args:
        env: the environment.
        path: names of keyword arguments within each other; what is in ``changes`` are attributes, see
            `ldm_hf.libraries.gymnasium.adapter.make_altered`.
    """
    world: Any = env.unwrapped
    value: Any
    try:
        if path[0] == "changes":
            value = reduce(getattr, path[1].split("."), world)
        else:
            value = world.spec.kwargs if world.spec else {}
            if path[0] in value:
                for name in path:
                    value = value[name]
            else:
                value = _argument(world, path)
    except (AttributeError, LookupError, TypeError):
        return None
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return float(value) if number and np.isfinite(value) else None


def _argument(world: object, path: tuple[str, ...]) -> object:
    """The default of an argument of the constructor, or the attribute of its name."""
    import inspect

    (name,) = path
    parameter = inspect.signature(type(world).__init__).parameters.get(name)
    return getattr(world, name) if parameter is None or parameter.default is parameter.empty else parameter.default


def action_names(env: gymnasium.Env) -> list[str]:
    """Names of the choices of a discrete action, as Atari (``get_action_meanings``) and MiniGrid (``actions``) say."""
    world: Any = env.unwrapped
    try:
        if hasattr(world, "get_action_meanings"):
            return [str(name).lower() for name in world.get_action_meanings()]
        return [action.name for action in world.actions]
    except Exception:  # whatever the attribute of this name may be
        return []
