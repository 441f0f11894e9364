"""From a row of the catalogue to its reference policy."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from ..environments import EnvironmentSpec, make
from ..environments.isolation import is_isolated
from ..environments.library_folders import ROOT
from ..errors import LDMError
from . import general
from .base import Reference
from .isolated import IsolatedReference
from .scores import entry, reference_scores


@cache
def known_policies() -> dict[str, type[Reference]]:
    """The policies that have a name, sorted by it: those of the libraries' folders and the general ones."""
    folders = sorted(path.parent.name for path in ROOT.glob("*/policies.py"))
    modules = [*(importlib.import_module(f"ldm_hf.libraries.{folder}.policies") for folder in folders), general]
    found: dict[str, type[Reference]] = {}
    for module in modules:
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        for policy in classes:
            if issubclass(policy, Reference) and policy.__module__ == module.__name__ and vars(policy).get("name"):
                found[str(policy.name)] = policy
    return dict(sorted(found.items()))


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
    """The class of a reference: the name of one of `known_policies`, or ``module:Class`` of the user's own.

    Raises:
        LDMError: if there is none of this name.
    """
    if policy := known_policies().get(reference):
        return policy
    module, _, attribute = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(["rl", *known_policies()])
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
    from ..environments.specs import fingerprint
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
    from ..environments.specs import fingerprint
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
