"""Really makes and steps environments: which work, how fast, with which spaces."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from tqdm.auto import tqdm

from ..errors import LDMError, MissingExtraError, UnsupportedSpaceError
from ..hashing import key
from ..parallel import run_tasks
from ..spaces import flatten, leaves
from ..utils.display import draw_without_display
from ..versions import versions
from .catalogue import SPACES, EnvironmentSpec, catalogue, recorded_spaces
from .making import make, quiet

STEPS = 50  # of random actions
LIMIT = 120.0  # seconds that one environment may take, imports included
LONGEST = 300  # characters of a described space
SEED = 11

WORKS, MISSING = "works", "not installed"
RAISES, DIES, OUTSIDE, IRREPRODUCIBLE, UNSUPPORTED, OTHER = (
    "raises an error",
    "crashes or hangs",
    "breaks its promise",
    "is not reproducible",
    "has a space that is not supported",
    "has other spaces than expected",
)


class _Flaw(Exception):
    """What is wrong with an environment that raises no error of its own."""

    def __init__(self, verdict: str, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict


def describe(space: gymnasium.Space) -> str:
    """A space in short: ``Dict(image: Box(7x7x3 uint8), direction: Discrete(4))``."""
    if isinstance(space, spaces.Dict):
        text = f"Dict({', '.join(f'{name}: {describe(child)}' for name, child in space.spaces.items())})"
    elif isinstance(space, spaces.Tuple):
        text = f"Tuple({', '.join(map(describe, space.spaces))})"
    elif isinstance(space, spaces.Box):
        shape, dtype = "x".join(map(str, space.shape)), np.dtype(space.dtype or float).name
        text = f"Box({shape}{'' if dtype == 'float32' else f' {dtype}'})"
    elif isinstance(space, spaces.Discrete):
        text = f"Discrete({space.n})"
    elif isinstance(space, spaces.MultiDiscrete):
        choices = np.unique(space.nvec)
        same = f"{'x'.join(map(str, space.nvec.shape))} of {choices[0]}"
        text = f"MultiDiscrete({same if len(choices) == 1 else ', '.join(map(str, space.nvec.ravel()))})"
    elif isinstance(space, spaces.MultiBinary):
        text = f"MultiBinary({'x'.join(map(str, space.shape))})"
    elif isinstance(space, spaces.Text):
        text = f"Text({space.max_length})"
    else:
        text = type(space).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def check_environment(spec: EnvironmentSpec) -> dict[str, Any]:
    """Makes one environment, plays `STEPS` random steps from a seed, twice, and compares.

    Args:
        spec: row of the catalogue.

    Returns:
        ``verdict``, ``reason`` if it is not `WORKS`, and as far as it came: both spaces in short, the time limit in steps, seconds to make it,
        steps per second.
    """
    found: dict[str, Any] = {}
    try:
        started = time.perf_counter()
        env = make(spec)
        found["seconds_to_make"] = round(time.perf_counter() - started, 2)
        try:
            with quiet():
                _examine(env, spec, found)
        finally:
            env.close()
    except _Flaw as flaw:
        return found | {"verdict": flaw.verdict, "reason": str(flaw)}
    except MissingExtraError as error:
        return {"verdict": MISSING, "reason": str(error)}
    except UnsupportedSpaceError as error:
        return found | {"verdict": UNSUPPORTED, "reason": str(error)}
    except Exception as error:  # of the library
        reason = str(error) if isinstance(error, LDMError) else f"{type(error).__name__}: {error}"
        return found | {"verdict": RAISES, "reason": reason[:500]}
    return found | {"verdict": WORKS}


def _examine(env: gymnasium.Env, spec: EnvironmentSpec, found: dict[str, Any]) -> None:
    found["observation"], found["action"] = describe(env.observation_space), describe(env.action_space)
    found["time_limit"] = getattr(env.spec, "max_episode_steps", None)
    leaves(env.observation_space), leaves(env.action_space)
    if spec.expected_spaces not in (None, (found["observation"], found["action"])):
        raise _Flaw(OTHER, f"expected {spec.expected_spaces}")
    started = time.perf_counter()
    first = _play(env)
    found["steps_per_second"] = round(STEPS / (time.perf_counter() - started), 1)
    for step, (left, right) in enumerate(zip(first, _play(env), strict=False)):  # ends of episodes are compared, too
        if not _same(left, right):
            raise _Flaw(IRREPRODUCIBLE, f"two runs from the same seed differ at step {step}")


def _play(env: gymnasium.Env) -> list[dict[str, Any]]:
    """The leaves of all observations of `STEPS` random steps and their rewards; only the first reset has a seed."""
    observation, _ = env.reset(seed=SEED)
    actions = env.action_space  # after the reset, and once: some environments make their spaces anew
    actions.seed(SEED)
    seen = [_checked(env, observation)]
    for _ in range(STEPS):
        observation, reward, terminated, truncated, _ = env.step(actions.sample())
        over = bool(terminated or truncated)
        seen.append(_checked(env, observation, reward, over))
        if over:
            observation, _ = env.reset()
            seen.append(_checked(env, observation))
    return seen


def _checked(env: gymnasium.Env, observation: Any, reward: Any = 0.0, over: bool = False) -> dict[str, Any]:
    if not env.observation_space.contains(observation):
        raise _Flaw(OUTSIDE, f"observation {_outside(env.observation_space, observation)}")
    if np.ndim(reward) or not np.isfinite(reward):
        raise _Flaw(OUTSIDE, f"the reward is no finite number: {reward!r:.100}")
    return copy.deepcopy(flatten(env.observation_space, observation)) | {"reward": reward, "over": over}


def _outside(space: gymnasium.Space, observation: Any) -> str:
    """Which leaf is outside its space, and how."""
    try:
        parts = flatten(space, observation)
    except LDMError as error:
        return str(error)
    for leaf in leaves(space):
        value = parts[leaf.path]
        if not leaf.space.contains(value):
            kind = f"{type(value).__name__} {getattr(value, 'dtype', '')} {np.shape(value)}"
            return f"{leaf.path or 'as a whole'} is no member of {leaf.space!r:.150}: {kind} {value!r:.150}"
    return f"has parts that its space {describe(space)} does not have"


def _same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Equal but for rounding: simulators keep what their solvers start from over a reset."""

    def close(first: Any, second: Any) -> bool:
        first, second = np.asarray(first), np.asarray(second)
        if first.shape != second.shape:
            return False
        if first.dtype.kind != "f":
            return bool((first == second).all())
        return np.allclose(first, second, rtol=1e-4, atol=1e-5, equal_nan=True)

    return left.keys() == right.keys() and all(close(left[path], right[path]) for path in left)


def check(
    specs: list[EnvironmentSpec],
    output: Path,
    jobs: int = 1,
    limit: float = LIMIT,
    force: bool = False,
    command: str = "",
) -> dict[str, Any]:
    """Checks environments, each in a process that may crash or hang; goes on where an earlier run was interrupted.

    Args:
        specs: rows of the catalogue.
        output: JSON, rewritten as results come; what it says of other environments stays.
        jobs: processes.
        limit: seconds that one environment may take.
        force: check again what works already.
        command: written into the results.

    Returns:
        ``{"command", "versions", "environments": {name: entry}}``; an entry is what `check_environment` returns, and where the row comes from.
    """
    results: dict[str, Any] = {"environments": {}}
    if output.exists():
        results = json.loads(output.read_text(encoding="utf-8"))
    results |= {"command": command, "versions": versions()}
    entries = results["environments"]
    due = [
        spec
        for spec in specs
        if force
        or entries.get(spec.name, {}).get("verdict") != WORKS
        or entries[spec.name]["row"] != fingerprint(spec)
    ]
    due.sort(key=lambda spec: spec.library.lower())
    output.parent.mkdir(parents=True, exist_ok=True)
    with tqdm(total=len(due), desc="check", unit="environment") as bar:
        for library, rows in itertools.groupby(
            due, lambda spec: spec.library
        ):  # no library sees what another has left behind
            by_name = {spec.name: spec for spec in rows}
            bar.set_postfix(library=library)
            for name, outcome in run_tasks(
                _check_quietly, {name: (spec,) for name, spec in by_name.items()}, jobs, limit=limit
            ):
                if isinstance(outcome, LDMError):
                    outcome = {"verdict": DIES, "reason": str(outcome)}
                entries[name] = _origin(by_name[name]) | outcome
                _write(results, output)
                bar.update()
    return results


def record(results: dict[str, Any]) -> None:
    """Makes the spaces that were found the ones expected from now on (`EnvironmentSpec.expected_spaces`)."""
    found = {
        name: [entry["observation"], entry["action"]]
        for name, entry in results["environments"].items()
        if "observation" in entry
    }
    known = {name: pair for name, pair in (recorded_spaces() | found).items() if name in catalogue()}
    lines = [f"{json.dumps(name)}: {json.dumps(pair)}" for name, pair in sorted(known.items())]
    SPACES.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    recorded_spaces.cache_clear()


def fingerprint(spec: EnvironmentSpec) -> str:
    """Changes with everything that `make` reads of a row, and with the version of its library."""
    row = asdict(spec)
    parts = [row[field] for field in ("env_id", "library", "kwargs", "wrappers", "max_episode_steps")]
    return f"{key(json.dumps(parts, sort_keys=True), spec.version):x}"


def _check_quietly(spec: EnvironmentSpec) -> dict[str, Any]:
    draw_without_display()
    logging.disable(logging.WARNING)
    return check_environment(spec)


def _origin(spec: EnvironmentSpec) -> dict[str, Any]:
    return {
        "library": spec.library,
        "version": spec.version,
        "licence": spec.licence,
        "domain": spec.domain,
        "row": fingerprint(spec),
    }


def _write(results: dict[str, Any], output: Path) -> None:
    ordered = results | {"environments": dict(sorted(results["environments"].items()))}
    part = output.with_suffix(".part")
    part.write_text(json.dumps(ordered, indent=1), encoding="utf-8")
    part.replace(output)
