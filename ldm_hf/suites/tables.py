"""The tables of suites: one file a suite in ``tables/``, which names rows, conditions and published scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..environments import EnvironmentSpec, get_spec
from ..environments.library_folders import Changes
from ..errors import LDMError
from ..utils.files import read_yaml

FOLDER = Path(__file__).parent / "tables"


@dataclass(frozen=True)
class SuiteTask:
    """One environment of a suite.

    Args:
        name: name of its row in the catalogue.
        domain: group in which the suite averages it.
        expert: published mean return that counts as 1.
        random: published mean return of random actions, which counts as 0; None to measure it.
        horizon: time limit in steps; None where episodes have no other end than their own.
        others: published mean returns of other models.
        changes: what turns the row into the suite's conditions.
    """

    name: str
    domain: str
    expert: float
    random: float | None = None
    horizon: int | None = None
    others: dict[str, float] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)

    @property
    def spec(self) -> EnvironmentSpec:
        """The row at the suite's conditions."""
        return get_spec(self.name).changed(self.changes)


@dataclass(frozen=True)
class Suite:
    """A table of published scores.

    Args:
        name: name of the suite, and of its file.
        title: what it is, for people.
        source: where the numbers stand.
        about: what differs here from there.
        episodes: episodes that each policy plays by default.
        others: what the other models are, by the name that the tasks use.
        tasks: its environments by name.
    """

    name: str
    title: str
    source: str
    about: str
    episodes: int
    others: dict[str, str]
    tasks: dict[str, SuiteTask]


def suite_names() -> list[str]:
    """The names of all suites."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def load_suite(name: str) -> Suite:
    """Reads the table of a suite.

    Raises:
        LDMError: if there is none of this name, or its file is damaged.
    """
    if name not in suite_names():
        raise LDMError(f"no suite {name!r}; there are {', '.join(suite_names())}")
    path = FOLDER / f"{name}.yaml"
    try:
        table = read_yaml(path)
        groups, tasks = table.pop("groups"), {}
        for group in groups:
            members = group.pop("tasks")
            for task, fields in members.items():
                changes = group.get("changes", {}) | fields.get("changes", {})
                tasks[task] = SuiteTask(task, **group | fields | {"changes": changes})
        return Suite(name, tasks=tasks, **table)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise LDMError(f"the suite {path} cannot be read: {error!r}") from error
