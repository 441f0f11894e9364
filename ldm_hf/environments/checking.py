"""Checks environments by making and stepping them: which work, how fast, with which spaces."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any, Literal, TypedDict

import gymnasium
import numpy as np
from gymnasium import spaces
from tqdm.auto import tqdm

from ..errors import LDMError, MissingExtraError, UnsupportedSpaceError
from ..spaces import Observation, flatten, leaves
from ..utils.display import draw_without_display
from ..utils.files import check_writable, read_json, write_atomically
from ..utils.guarding import INTERRUPTS
from ..utils.installed import versions
from ..utils.parallel import run_tasks
from ..utils.tables import markdown_table
from .library_folders import save_measured
from .making import opened, quiet
from .specs import EnvironmentSpec, catalogue, fingerprint

STEPS = 50  # random actions of one run
LIMIT = 120.0  # seconds that one environment may take, imports included
LONGEST = 300  # characters of a space in short
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
Grouping = Literal["domain", "library"]
GROUPINGS: tuple[Grouping, ...] = ("domain", "library")


class Finding(TypedDict, total=False):
    """What was found of one environment, as far as the check came.

    Attributes:
        library: distribution that the environment comes from.
        version: version of the library.
        licence: licence of the library.
        domain: domain of the row.
        row: fingerprint of the row, see `specs.fingerprint`.
        verdict: `WORKS`, or what is wrong.
        reason: details, if the verdict is not `WORKS`.
        seconds_to_make: time to make it, the import of its library included.
        observation: observation space in short.
        action: action space in short.
        time_limit: most steps of an episode; None without a limit.
        steps_per_second: speed with random actions, resets included.
    """

    library: str
    version: str
    licence: str
    domain: str
    row: str
    verdict: str
    reason: str
    seconds_to_make: float
    observation: str
    action: str
    time_limit: int | None
    steps_per_second: float


class CheckResults(TypedDict):
    """The file that `check` writes.

    Attributes:
        environments: findings by the name of the environment.
        command: command that wrote the file last.
        versions: versions of the packages involved.
    """

    environments: dict[str, Finding]
    command: str
    versions: dict[str, str]


class _Flaw(Exception):
    """A flaw of an environment that raises no error itself."""

    def __init__(self, verdict: str, reason: str) -> None:
        super().__init__(reason)
        self.verdict = verdict


def in_short(space: gymnasium.Space[object]) -> str:
    """A space in short: ``Dict(image: Box(7x7x3 uint8), direction: Discrete(4))``."""
    if isinstance(space, spaces.Dict):
        text = f"Dict({', '.join(f'{name}: {in_short(child)}' for name, child in space.spaces.items())})"
    elif isinstance(space, spaces.Tuple):
        text = f"Tuple({', '.join(map(in_short, space.spaces))})"
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


def check_environment(spec: EnvironmentSpec) -> Finding:
    """Makes one environment, plays `STEPS` random steps from a seed twice, and compares both runs.

    Args:
        spec: row of the catalogue.

    Returns:
        The finding without what the row says of the environment.
    """
    found: Finding = {}
    try:
        started = time.perf_counter()
        with opened(spec) as env:
            found["seconds_to_make"] = round(time.perf_counter() - started, 2)
            with quiet():
                _examine(env, spec, found)
    except _Flaw as flaw:
        return found | {"verdict": flaw.verdict, "reason": str(flaw)}
    except MissingExtraError as error:
        return {"verdict": MISSING, "reason": str(error)}
    except UnsupportedSpaceError as error:
        return found | {"verdict": UNSUPPORTED, "reason": str(error)}
    except INTERRUPTS:
        raise
    except BaseException as error:  # whatever the library raises
        reason = str(error) if isinstance(error, LDMError) else f"{type(error).__name__}: {error}"
        return found | {"verdict": RAISES, "reason": reason[:500]}
    return found | {"verdict": WORKS}


def _examine(env: gymnasium.Env, spec: EnvironmentSpec, found: Finding) -> None:
    found["observation"], found["action"] = in_short(env.observation_space), in_short(env.action_space)
    found["time_limit"] = getattr(env.spec, "max_episode_steps", None)
    leaves(env.observation_space), leaves(env.action_space)
    if spec.expected_spaces not in (None, (found["observation"], found["action"])):
        raise _Flaw(OTHER, f"expected {spec.expected_spaces}")
    started = time.perf_counter()
    first = _play(env)
    found["steps_per_second"] = round(STEPS / (time.perf_counter() - started), 1)
    # The ends of episodes are part of a run, so runs of different lengths differ before the shorter one ends.
    for step, (left, right) in enumerate(zip(first, _play(env), strict=False)):
        if not _same(left, right):
            raise _Flaw(IRREPRODUCIBLE, f"two runs from the same seed differ at step {step}")


def _play(env: gymnasium.Env) -> list[dict[str, object]]:
    """Leaves, reward and end of each of `STEPS` random steps; only the first reset has a seed."""
    observation, _ = env.reset(seed=SEED)
    actions = env.action_space  # read once, after the reset: some environments make new spaces
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


def _checked(env: gymnasium.Env, observation: Observation, reward: Any = 0.0, over: bool = False) -> dict[str, object]:
    if not env.observation_space.contains(observation):
        raise _Flaw(OUTSIDE, f"observation {_outside(env.observation_space, observation)}")
    if np.ndim(reward) or not np.isfinite(reward):
        raise _Flaw(OUTSIDE, f"the reward is not a finite number: {reward!r:.100}")
    return copy.deepcopy(flatten(env.observation_space, observation)) | {"reward": reward, "over": over}


def _outside(space: gymnasium.Space[object], observation: Observation) -> str:
    """Names the leaf that is outside its space, and says how."""
    try:
        parts = flatten(space, observation)
    except LDMError as error:
        return str(error)
    for leaf in leaves(space):
        value = parts[leaf.path]
        if not leaf.space.contains(value):
            kind = f"{type(value).__name__} {getattr(value, 'dtype', '')} {np.shape(value)}"
            return f"{leaf.path or 'as a whole'} is no member of {leaf.space!r:.150}: {kind} {value!r:.150}"
    return f"has parts that its space {in_short(space)} does not have"


def _same(left: dict[str, object], right: dict[str, object]) -> bool:
    """Whether two steps are equal up to rounding: the solvers of simulators start from what they kept over a reset."""

    def close(one: object, other: object) -> bool:
        first, second = np.asarray(one), np.asarray(other)
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
) -> CheckResults:
    """Checks environments, each in a process that may crash or hang; continues an interrupted run.

    Args:
        specs: rows of the catalogue.
        output: JSON file, rewritten after every environment; other environments in it stay as they are.
        jobs: number of processes.
        limit: seconds that one environment may take.
        force: check again what works already.
        command: command line to note in the results.

    Returns:
        The content of the file.
    """
    results: CheckResults = {"environments": {}, "command": "", "versions": {}}
    if output.exists():
        results = _earlier(output)
    check_writable(output)
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
    with tqdm(total=len(due), desc="check", unit="environment") as bar:
        # New processes for every library: none sees what another has left behind.
        for library, rows in itertools.groupby(due, lambda spec: spec.library):
            by_name = {spec.name: spec for spec in rows}
            bar.set_postfix(library=library)
            for name, outcome in run_tasks(
                _check_quietly, {name: (spec,) for name, spec in by_name.items()}, jobs, limit=limit
            ):
                died: Finding = {"verdict": DIES, "reason": str(outcome)}
                entries[name] = _origin(by_name[name]) | (died if isinstance(outcome, LDMError) else outcome)
                _write(results, output)
                bar.update()
    return results


def _earlier(output: Path) -> CheckResults:
    """The results that an earlier run has written.

    Raises:
        LDMError: if the file holds something else.
    """
    try:
        results: CheckResults = read_json(output)
        if not all(isinstance(entry["row"], str) and entry["verdict"] for entry in results["environments"].values()):
            raise ValueError("an environment without row or verdict")
        return results
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LDMError(f"{output} holds no results of a check ({error!r}); remove it, or choose another.") from error


def expect(results: CheckResults) -> None:
    """Records the spaces that were found as those to expect from now on (`EnvironmentSpec.expected_spaces`)."""
    found: dict[str, dict[str, list[str]]] = defaultdict(dict)
    for name, entry in results["environments"].items():
        if "observation" in entry and name in catalogue():
            found[catalogue()[name].library][name] = [entry["observation"], entry["action"]]
    for library, spaces_of in found.items():
        save_measured("spaces", library, spaces_of)


def _check_quietly(spec: EnvironmentSpec) -> Finding:
    draw_without_display()
    logging.disable(logging.WARNING)
    return check_environment(spec)


def _origin(spec: EnvironmentSpec) -> Finding:
    return {
        "library": spec.library,
        "version": spec.version,
        "licence": spec.licence,
        "domain": spec.domain,
        "row": fingerprint(spec),
    }


def _write(results: CheckResults, output: Path) -> None:
    ordered = results | {"environments": dict(sorted(results["environments"].items()))}
    write_atomically(output, json.dumps(ordered, indent=1))


def summary_rows(results: CheckResults, field: Grouping) -> tuple[list[str], list[list[str]]]:
    """A table of how many environments there are, how many work, and how fast: a row for each domain or library.

    Args:
        results: results of `check`.
        field: field to group the environments by.

    Returns:
        The header; the rows, with that of all environments at the end.
    """
    header = [field, "environments", "work", "do not", "not installed", "median steps/s", "slowest"]
    entries = list(results["environments"].values())
    groups = {
        value: [e for e in entries if e[field] == value]
        for value in sorted({e[field] for e in entries}, key=str.lower)
    }
    return header, [_summary(name, members) for name, members in [*groups.items(), ("all", entries)]]


def _summary(name: str, entries: list[Finding]) -> list[str]:
    verdicts = [entry["verdict"] for entry in entries]
    works, missing = verdicts.count(WORKS), verdicts.count(MISSING)
    speeds = [entry["steps_per_second"] for entry in entries if entry["verdict"] == WORKS]
    shown = [f"{median(speeds):,.0f}", f"{min(speeds):,.0f}"] if speeds else ["-", "-"]
    return [name, *(f"{count:,}" for count in (len(entries), works, len(entries) - works - missing, missing)), *shown]


def flaws(results: CheckResults) -> list[list[str]]:
    """``[name, verdict, reason]`` of each environment that is installed and does not work."""
    return [
        [name, entry["verdict"], entry["reason"]]
        for name, entry in results["environments"].items()
        if entry["verdict"] not in (WORKS, MISSING)
    ]


def markdown_report(results: CheckResults) -> str:
    """The tables by domain and library and the list of flaws, with the command that made them, in Markdown."""
    made_with = ", ".join(f"{package} {version}" for package, version in results["versions"].items())
    parts = [
        f"`{results['command']}`",
        "An environment works if it can be made, resets and takes 50 random steps with observations inside its space "
        "and finite rewards, and repeats them from the same seed. Speed is that of one environment with random "
        "actions, resets included, on a machine that may have been busy with other work: a lower bound. "
        f"{made_with}.",
    ]
    for field in GROUPINGS:
        header, rows = summary_rows(results, field)
        parts.append(markdown_table(header, rows))
    if wrong := flaws(results):
        parts.append(
            "What does not work:\n\n" + markdown_table(["environment", "verdict", "reason"], wrong, right=False)
        )
    return "\n\n".join(parts) + "\n"
