"""``ldm doctor``: what is installed, what that makes possible, and what to install next."""

from __future__ import annotations

import json
import os
import platform
import time
from importlib import metadata
from typing import Annotated, TypedDict

import typer
from rich.table import Table

from .options import console

PACKAGE = "ldm_hf"
TOGETHER = ("all", "dev", "docs")  # extras that are several others, or for those who work on the package
STEP_SECONDS, BUSY_SECONDS = 0.5, 0.2
HERE, OWN, MISSING = "installed", "installed in an environment of its own", "not installed"


class LibraryState(TypedDict):
    """A library of environments.

    Attributes:
        state: `HERE`, `OWN` or `MISSING`.
        version: its version; empty if it is not installed.
        environments: number of rows of the catalogue.
        install: command that installs it.
        tried: what became of one of its environments, `checking.WORKS` or what is wrong; empty if none was tried.
    """

    state: str
    version: str
    environments: int
    install: str
    tried: str


class Diagnosis(TypedDict):
    """What was found.

    Attributes:
        versions: versions of Python and of the packages that decide results.
        machine: system, number of cores, how busy they are, number of torch's threads, names of the GPUs.
        step_ms: time of a step of ldm-nano in one environment, its network alone, in milliseconds.
        extras: packages that each extra of this package lacks.
        libraries: libraries of environments.
    """

    versions: dict[str, str]
    machine: dict[str, object]
    step_ms: float
    extras: dict[str, list[str]]
    libraries: dict[str, LibraryState]


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    attempt: Annotated[
        bool, typer.Option("--try", help="Make and step an environment of each installed library; takes a minute.")
    ] = False,
) -> None:
    """Says what is installed, how quick this machine is, and what to install next."""
    found = diagnose()
    if attempt:
        _try(found["libraries"])
    if as_json:
        print(json.dumps(found, indent=2))
        return
    console.print(", ".join(f"{name} {version}" for name, version in found["versions"].items()))
    console.print(", ".join(f"{name}: {value}" for name, value in found["machine"].items()))
    console.print(f"a step of ldm-nano: {found['step_ms']:.1f} ms")
    table = Table(title="Extras")
    for title in ("extra", "lacks"):
        table.add_column(title, overflow="fold")
    for extra, lacking in found["extras"].items():
        table.add_row(extra, ", ".join(lacking) or "nothing")
    console.print(table)
    table = Table(title="Libraries of environments")
    for title in ("library", "state", "version", "environments", *(["tried"] if attempt else [])):
        table.add_column(title, justify="right" if title == "environments" else "left", overflow="fold")
    for library, state in found["libraries"].items():
        tried = [state["tried"]] if attempt else []
        table.add_row(library, state["state"], state["version"], f"{state['environments']:,}", *tried)
    console.print(table)
    for line in advice(found):
        console.print(line, markup=False, highlight=False)


def diagnose() -> Diagnosis:
    """Finds out what is installed, and how quick a step is."""
    import psutil
    import torch

    from ..environments.specs import catalogue
    from ..utils.installed import versions

    rows = catalogue().values()
    return {
        "versions": versions(),
        "machine": {
            "system": platform.platform(terse=True),
            "cores": os.cpu_count(),
            "busy": f"{psutil.cpu_percent(BUSY_SECONDS):.0f} %",
            "threads": torch.get_num_threads(),
            "GPUs": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
        },
        "step_ms": 1000 * _seconds_of_a_step(),
        "extras": _extras(),
        "libraries": _libraries([row.library for row in rows]),
    }


def advice(found: Diagnosis) -> list[str]:
    """Commands that would help, the one that brings most environments first."""
    gains: dict[str, int] = {}
    for state in found["libraries"].values():
        if state["state"] == MISSING and state["environments"]:
            gains[state["install"]] = gains.get(state["install"], 0) + state["environments"]
    ordered = sorted(gains.items(), key=lambda gain: -gain[1])
    lines = [f"{command}  # {count:,} environments more" for command, count in ordered]
    mentioned = " ".join(gains)
    lines += [
        f'pip install "{PACKAGE}[{extra}]"'
        for extra, lacking in found["extras"].items()
        if lacking and f"[{extra}]" not in mentioned
    ]
    return lines or ["Everything is installed."]


def _extras() -> dict[str, list[str]]:
    """What each extra lacks."""
    from packaging.requirements import Requirement

    from ..utils.installed import package_version

    requirements = [Requirement(text) for text in metadata.requires(PACKAGE) or []]
    extras = [extra for extra in metadata.metadata(PACKAGE).get_all("Provides-Extra") or [] if extra not in TOGETHER]
    return {
        extra: sorted(
            {
                one.name
                for one in requirements
                if one.marker and one.marker.evaluate({"extra": extra}) and not one.marker.evaluate({"extra": ""})
                if not one.specifier.contains(package_version(one.name) or "none", prereleases=True)
            }
        )
        for extra in sorted(extras)
    }


def _libraries(rows: list[str]) -> dict[str, LibraryState]:
    """The libraries of the catalogue by their names, given the library of each row."""
    from ..environments import installed_version
    from ..environments.isolation import is_isolated
    from ..environments.library_folders import libraries

    found: dict[str, LibraryState] = {}
    for name, library in sorted(libraries().items()):
        state, install = HERE, f'pip install "{PACKAGE}[{library.extra}]"'
        if is_isolated(name):
            state, install = OWN, f"ldm envs install {name}"
        version = installed_version(name)
        found[name] = {
            "state": state if version else MISSING,
            "version": version,
            "environments": rows.count(name),
            "install": install,
            "tried": "",
        }
    return found


def _try(states: dict[str, LibraryState]) -> None:
    """Makes and steps the environment of the shortest name of each installed library, in a process of its own."""
    from tqdm.auto import tqdm

    from ..environments.checking import LIMIT, WORKS, check_environment
    from ..environments.specs import catalogue
    from ..errors import LDMError
    from ..utils.parallel import run_tasks

    chosen = {row.library: row for row in sorted(catalogue().values(), key=lambda row: -len(row.name))}
    tasks = {library: (row,) for library, row in chosen.items() if library in states and states[library]["version"]}
    outcomes = run_tasks(check_environment, tasks, limit=LIMIT)
    for library, outcome in tqdm(outcomes, "trying", len(tasks), unit="library", leave=False):
        if isinstance(outcome, LDMError):
            states[library]["tried"] = str(outcome)
        else:
            reason = outcome.get("reason")
            states[library]["tried"] = WORKS if reason is None else f"{outcome['verdict']}: {reason}"


def _seconds_of_a_step() -> float:
    """The mean time of the network's step in one environment with 17 numbers and 6 actions."""
    import numpy as np
    from gymnasium import spaces

    from .. import LDMAgent, LDMConfig, LDMForActionPrediction, LDMProcessor

    config = LDMConfig.preset("ldm-nano")
    pair = spaces.Box(-1, 1, (17,)), spaces.Box(-1, 1, (6,))
    agent = LDMAgent(LDMForActionPrediction(config).eval(), LDMProcessor.from_config(config), pair)
    observation = np.zeros(17, np.float32)
    agent.act(observation)
    steps, started = 0, time.perf_counter()
    while time.perf_counter() - started < STEP_SECONDS:
        agent.act(observation, 0.0, False, False)
        steps += 1
    return (time.perf_counter() - started) / steps
