"""Finds, builds or loads the reference policy of a row of the catalogue."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import cache
from pathlib import Path

from ..environments import EnvironmentSpec
from ..environments.isolation import is_isolated
from ..environments.library_folders import ROOT
from ..environments.making import opened
from ..environments.specs import plain_name
from ..errors import CheckpointError, LDMError, short
from ..rollouts.returns import Measurement, Scores
from . import general, sampling
from .base import Reference
from .isolated import IsolatedReference
from .scores import entry, reference_scores


@cache
def known_policies() -> dict[str, type[Reference]]:
    """All policies that have a name, sorted by it: those of the libraries' folders and the general ones."""
    files = sorted(path.relative_to(ROOT).with_suffix("") for path in ROOT.glob("*/policies*.py"))
    found_in = (importlib.import_module(".".join(("ldm_hf.libraries", *path.parts))) for path in files)
    modules = [*found_in, general, sampling]
    found: dict[str, type[Reference]] = {}
    for module in modules:
        classes = [value for value in vars(module).values() if isinstance(value, type)]
        for policy in classes:
            if issubclass(policy, Reference) and policy.__module__ == module.__name__ and vars(policy).get("name"):
                assert policy.name not in found, f"two policies are called {policy.name}"
                found[str(policy.name)] = policy
    return dict(sorted(found.items()))


def method_of(spec: EnvironmentSpec) -> str:
    """Method of the row's reference policy: tabular, scripted, heuristic, planner, rl, distilled or none."""
    spec = with_reference(spec)
    if spec.reference is None:
        return "none"
    if spec.reference != "rl":
        return policy_of(spec.name, spec.reference).method
    scores = reference_scores().get(spec.name)
    return str(scores["method"]) if scores and scores["policy"] == "rl" else "rl"


def with_reference(spec: EnvironmentSpec) -> EnvironmentSpec:
    """The row with a reference: the one that it names, or else that of the packaged scores, if it beats random.

    A row of drawn numbers has the policy of the row that they were put into.
    """
    scores = reference_scores().get(plain_name(spec.name))
    if spec.reference is not None or scores is None or not scores["beats_random"]:
        return spec
    return replace(spec, reference=scores["policy"], reference_kwargs=scores["kwargs"])


def policy_of(environment: str, reference: str) -> type[Reference]:
    """The class of a reference policy.

    Args:
        environment: name of the environment, for messages.
        reference: name of one of `known_policies`, or ``module:Class`` of the user's own.

    Raises:
        LDMError: if there is none of this name.
    """
    if policy := known_policies().get(reference):
        return policy
    module, _, attribute = reference.partition(":")
    try:
        found: type[Reference] = getattr(importlib.import_module(module), attribute)
        return found
    except (ImportError, AttributeError, ValueError) as error:
        known = ", ".join(["rl", *known_policies()])
        raise LDMError(
            f"{environment}: no reference policy {reference!r} ({error}); give 'module:Class' or one of: {known}"
        ) from error


def load_reference(spec: EnvironmentSpec, folder: str | Path) -> Reference:
    """Builds or loads the reference policy of an environment.

    That is the best one that `ldm reference` has found in ``folder``; else the one that the row names; else that of the
    packaged scores.

    Args:
        spec: row of the catalogue.
        folder: folder of trained policies and of the records of what was tried.

    Raises:
        LDMError: if the environment has no reference.
        CheckpointError: if the reference has to be trained first, or was trained for other spaces.
    """
    from ..environments.specs import fingerprint
    from .records import Record

    record = Record.load(Path(folder) / spec.name)
    if record is not None and record.row == fingerprint(spec) and (best := record.best):
        if best.reference not in ("rl", spec.reference, *known_policies()):
            raise CheckpointError(
                f"the record of {spec.name} in {folder} names the policy {short(best.reference)}, which is neither one "
                "of this package nor that of its row, so it is not imported; remove it, and try again with `ldm "
                "reference`."
            )
        spec = replace(spec, reference=best.reference, reference_kwargs=best.kwargs)
    spec = with_reference(spec)
    if spec.reference is None:
        raise LDMError(
            f"{spec.name} has no reference policy; find one with: ldm reference --ids {spec.name}, name one in its row "
            "of the catalogue, or collect with your own."
        )
    return build_reference(spec, folder)


def known_scores(spec: EnvironmentSpec, folder: str | Path) -> Scores | None:
    """What `ldm reference` has measured of random actions and of the policy that `load_reference` gives.

    Args:
        spec: row of the catalogue.
        folder: folder of trained policies and of the records of what was tried.

    Returns:
        Measurements with ``mean``, ``ci``, ``episodes`` and ``seed``; None if it has not measured them.
    """
    from ..environments.specs import fingerprint
    from .records import Record

    row, chosen, scores = fingerprint(spec), with_reference(spec), reference_scores().get(spec.name)
    record = Record.load(Path(folder) / spec.name)
    if record is not None and record.row == row and record.best:
        scores = entry(record)
    elif scores is not None and (
        # weights in the folder may be others than those that were published
        scores["policy"] == "rl" or (scores["policy"], scores["kwargs"]) != (chosen.reference, chosen.reference_kwargs)
    ):
        return None
    if scores is None or scores["row"] != row or not scores["reference"]:
        return None
    measured = Measurement(episodes=scores["episodes"], seed=scores["seed"])
    return {"random": {**scores["random"], **measured}, "reference": {**scores["reference"], **measured}}


def build_reference(spec: EnvironmentSpec, folder: str | Path) -> Reference:
    """Builds or loads the policy that the row names, see `load_reference`."""
    if is_isolated(spec.library) and spec.reference != "rl":
        return IsolatedReference(policy_of(spec.name, str(spec.reference)), spec.reference_kwargs)
    with opened(spec) as env:
        if spec.reference == "rl":
            from .learned.policy import ReinforcementLearned  # needs torch

            return ReinforcementLearned.load(Path(folder) / spec.name, env, spec.name)
        return policy_of(spec.name, str(spec.reference))(env, **spec.reference_kwargs)
