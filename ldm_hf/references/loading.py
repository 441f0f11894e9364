"""From a row of the catalogue to its reference policy."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..environments import EnvironmentSpec, make
from ..environments.isolation import is_isolated
from ..errors import LDMError
from ..libraries.bsuite import policies as bsuite
from ..libraries.dm_control import policies as suite
from ..libraries.gym_electric_motor import policies as electric
from ..libraries.gymnasium import policies as control
from ..libraries.gymnasium_robotics import policies as gripper
from ..libraries.highway_env import policies as driving
from ..libraries.minigrid import policies as mazes
from ..libraries.nasim import policies as planning
from ..libraries.ogbench import policies as manipulation
from ..libraries.popgym import policies as memory
from ..libraries.pyrddlgym import policies as rddl
from ..libraries.rware import policies as teams
from ..libraries.stockpyl import policies as operations
from ..libraries.sumo_rl import policies as traffic
from . import gait, scripted, tabular
from . import general as constant
from .base import Reference
from .isolated import IsolatedReference
from .scores import entry, reference_scores

POLICIES: dict[str, type[Reference]] = {
    "acrobot": control.Acrobot,
    "atari_freeway": scripted.AtariFreeway,
    "attack_planner": planning.AttackPlanner,
    "autoencode": memory.Autoencode,
    "babyai_bot": scripted.BabyAIBot,
    "base_stock": operations.BaseStock,
    "battery_program": operations.BatteryProgram,
    "battleship": memory.Battleship,
    "blackjack": tabular.Blackjack,
    "bsuite": bsuite.BSuiteExpert,
    "cartpole": control.CartPole,
    "concentration": memory.Concentration,
    "constant": constant.Constant,
    "count_recall": memory.CountRecall,
    "cube_arranger": manipulation.CubeArranger,
    "drive_controller": electric.DriveController,
    "echelon_base_stock": operations.EchelonBaseStock,
    "foraging": teams.Foraging,
    "gait": gait.Gait,
    "hidden_cartpole": memory.HiddenCartPole,
    "hidden_pendulum": memory.HiddenPendulum,
    "higher_lower": memory.HigherLower,
    "lane_changer": driving.LaneChanger,
    "lane_keeper": driving.LaneKeeper,
    "lights_out": manipulation.LightsOut,
    "linear_regulator": control.LinearRegulator,
    "lunar_lander": control.LunarLander,
    "max_pressure": traffic.MaxPressure,
    "maze_runner": mazes.MazeRunner,
    "maze_search": mazes.MazeSearch,
    "metaworld": scripted.MetaWorld,
    "minatar_freeway": scripted.MinAtarFreeway,
    "mine_sweeper": memory.MineSweeper,
    "most_work_remaining": operations.MostWorkRemaining,
    "mountain_car": control.MountainCar,
    "multiarmed_bandit": memory.MultiarmedBandit,
    "network_base_stock": operations.NetworkBaseStock,
    "obstacle_dodger": mazes.ObstacleDodger,
    "pendulum": control.Pendulum,
    "pick_and_place": gripper.PickAndPlace,
    "point_runner": mazes.PointRunner,
    "push": gripper.Push,
    "rddl_planner": rddl.RDDLPlanner,
    "reach_goal": control.ReachGoal,
    "reacher": control.Reacher,
    "reorder_point": operations.ReorderPoint,
    "repeat_first": scripted.RepeatFirst,
    "repeat_previous": scripted.RepeatPrevious,
    "suite_cartpole": suite.SuiteCartPole,
    "suite_pendulum": suite.SuitePendulum,
    "suite_reacher": suite.SuiteReacher,
    "suite_regulator": suite.SuiteRegulator,
    "trader": operations.Trader,
    "value_iteration": tabular.ValueIteration,
    "warehousing": teams.Warehousing,
}


def method_of(spec: EnvironmentSpec) -> str:
    """tabular, scripted, heuristic, planner, rl or none."""
    spec = with_reference(spec)
    if spec.reference is None:
        return "none"
    return "rl" if spec.reference == "rl" else policy_of(spec.name, spec.reference).method


def with_reference(spec: EnvironmentSpec) -> EnvironmentSpec:
    """The row with the reference that it names or, if it names none, the one of the packaged scores that is better than random."""
    told = reference_scores().get(spec.name)
    if spec.reference is not None or told is None or not told["beats_random"]:
        return spec
    return replace(spec, reference=told["policy"], reference_kwargs=told["kwargs"])


def policy_of(environment: str, reference: str) -> type[Reference]:
    """The class of a reference: a key of `POLICIES`, or ``module:Class`` of the user's own.

    Raises:
        LDMError: if there is none of this name.
    """
    if reference in POLICIES:
        return POLICIES[reference]
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(["rl", *POLICIES])
        raise LDMError(
            f"{environment}: no reference policy {reference!r} ({error}); give 'module:Class' or one of: {known}"
        ) from error


def load_reference(spec: EnvironmentSpec, folder: str | Path) -> Reference:
    """Builds or loads the reference policy of an environment.

    It is the best one that `ldm reference` has found in ``folder``; else the one that the row names; else that of the packaged scores.

    Args:
        spec: row of the catalogue.
        folder: of trained policies and of the records of what was tried.

    Raises:
        LDMError: if the environment has no reference.
        CheckpointError: if the reference has to be trained first, or was trained for other spaces.
    """
    from ..environments.checking import fingerprint
    from .records import Record

    record = Record.load(Path(folder) / spec.name)
    if record is not None and record.row == fingerprint(spec) and (best := record.best):
        spec = replace(spec, reference=best.reference, reference_kwargs=best.kwargs)
    spec = with_reference(spec)
    if spec.reference is None:
        raise LDMError(
            f"{spec.name} has no reference policy; find one with: ldm reference --ids {spec.name}, give its row in the "
            "catalogue one, or collect with your own."
        )
    return build_reference(spec, folder)


def known_scores(spec: EnvironmentSpec, folder: str | Path) -> dict[str, dict[str, Any]] | None:
    """What `ldm reference` has measured of random actions and of the policy that `load_reference` gives; None if it has not.

    Returns:
        ``{"random": {"mean", "ci", "episodes", "seed"}, "reference": {...}}``, intervals being ``mean ± ci`` at 95 %.
    """
    from ..environments.checking import fingerprint
    from .records import Record

    row, chosen, told = fingerprint(spec), with_reference(spec), reference_scores().get(spec.name)
    record = Record.load(Path(folder) / spec.name)
    if record is not None and record.row == row and record.best:
        told = entry(record)
    elif told is not None and (
        # weights in the folder may be others than those that were published
        told["policy"] == "rl" or (told["policy"], told["kwargs"]) != (chosen.reference, chosen.reference_kwargs)
    ):
        return None
    if told is None or told["row"] != row or not told["reference"]:
        return None
    measured = {field: told[field] for field in ("episodes", "seed")}
    return {policy: told[policy] | measured for policy in ("random", "reference")}


def build_reference(spec: EnvironmentSpec, folder: str | Path) -> Reference:
    """The policy that the row names, see `load_reference`."""
    if is_isolated(spec.library) and spec.reference != "rl":
        return IsolatedReference(policy_of(spec.name, str(spec.reference)), spec.reference_kwargs)
    env = make(spec)
    try:
        if spec.reference == "rl":
            from .learned.policy import ReinforcementLearned  # needs torch

            return ReinforcementLearned.load(Path(folder) / spec.name, env, spec.name)
        return policy_of(spec.name, str(spec.reference))(env, **spec.reference_kwargs)
    finally:
        env.close()
