"""From a row of the catalogue to its reference policy."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

from ..environments import EnvironmentSpec, make
from ..errors import LDMError
from . import control, driving, operations, planning, scripted, tabular
from .base import Reference

POLICIES: dict[str, Callable[..., Reference]] = {
    "atari_freeway": scripted.AtariFreeway,
    "attack_planner": planning.AttackPlanner,
    "babyai_bot": scripted.BabyAIBot,
    "base_stock": operations.BaseStock,
    "battery_program": operations.BatteryProgram,
    "blackjack": tabular.Blackjack,
    "cartpole": control.CartPole,
    "echelon_base_stock": operations.EchelonBaseStock,
    "lane_changer": driving.LaneChanger,
    "lane_keeper": driving.LaneKeeper,
    "lunar_lander": control.LunarLander,
    "metaworld": scripted.MetaWorld,
    "minatar_freeway": scripted.MinAtarFreeway,
    "mountain_car": control.MountainCar,
    "pendulum": control.Pendulum,
    "reorder_point": operations.ReorderPoint,
    "repeat_first": scripted.RepeatFirst,
    "repeat_previous": scripted.RepeatPrevious,
    "trader": operations.Trader,
    "value_iteration": tabular.ValueIteration,
}


def method_of(spec: EnvironmentSpec) -> str:
    """tabular, scripted, heuristic, planner, rl or none."""
    if spec.reference is None:
        return "none"
    return "rl" if spec.reference == "rl" else _policy(spec).method  # type: ignore[attr-defined]


def _policy(spec: EnvironmentSpec) -> Callable[..., Reference]:
    """The class of a reference: a key of `POLICIES`, or ``module:Class`` of the user's own."""
    name = str(spec.reference)
    if name in POLICIES:
        return POLICIES[name]
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(["rl", *POLICIES])
        raise LDMError(
            f"{spec.name}: no reference policy {name!r} ({error}); give 'module:Class' or one of: {known}"
        ) from error


def load_reference(spec: EnvironmentSpec, folder: str | Path) -> Reference:
    """Builds or loads the reference policy of an environment.

    Args:
        spec: row of the catalogue.
        folder: of the policies trained by reinforcement learning.

    Raises:
        LDMError: if the environment has no reference.
        CheckpointError: if the reference has to be trained first, or was trained for other spaces.
    """
    if spec.reference is None:
        raise LDMError(
            f"{spec.name} has no reference policy; give its row in the catalogue one, or collect with your own."
        )
    env = make(spec)
    try:
        if spec.reference == "rl":
            from .rl import ReinforcementLearned  # needs torch

            return ReinforcementLearned.load(Path(folder) / spec.name, env, spec.name)
        return _policy(spec)(env, **spec.reference_kwargs)
    finally:
        env.close()
