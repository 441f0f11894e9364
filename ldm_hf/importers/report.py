"""The report of an import: how each column was read, and what each episode is; printed, and stored beside the data."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..spaces import Json
from ..trajectories.schema import Episode
from ..utils.files import write_atomically

REPORT = "import.json"
MOST_DISTINCT = 1000  # different values that are counted one by one


@dataclass
class ColumnReport:
    """How one column, or one part of a step, was read.

    Args:
        name: name of the column in the source.
        role: observation, action, reward, time, entity, episode or end.
        how: what the values were taken for.
        unit: unit, where the source or the YAML names one.
        missing: share of empty cells.
        first: first value, as it is stored.
        last: last value, as it is stored.
        low: smallest number.
        high: largest number.
        distinct: number of different values; `MOST_DISTINCT` stands for as many or more.
        notes: what was filled, cut or converted, and why.
    """

    name: str
    role: str
    how: str = ""
    unit: str = ""
    missing: float = 0.0
    first: Json = None
    last: Json = None
    low: float | None = None
    high: float | None = None
    distinct: int = 0
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._seen: set[object] = set()

    def see(self, values: np.ndarray) -> None:
        """Takes in values of consecutive steps ``(T, ...)``; arrays of several axes are not counted one by one."""
        if not len(values):
            return
        if self.first is None:
            self.first = _plain(values[0])
        self.last = _plain(values[-1])
        if values.dtype.kind in "biuf":
            low, high = float(values.min()), float(values.max())
            self.low = low if self.low is None else min(low, self.low)
            self.high = high if self.high is None else max(high, self.high)
        if values.ndim == 1 and len(self._seen) < MOST_DISTINCT:
            found = set(values) if values.dtype == object else set(np.unique(values)[:MOST_DISTINCT].tolist())
            self._seen |= found
            self.distinct = min(len(self._seen), MOST_DISTINCT)

    def see_texts(self, texts: pa.Array) -> None:
        """Takes in texts of consecutive steps ``(T,)``, without making Python strings of all of them."""
        if len(texts):
            some = [texts[0], *pc.unique(texts)[:MOST_DISTINCT], texts[-1]]
            self.see(np.array([text.as_py() for text in some], dtype=object))


@dataclass
class Report:
    """What became of a source.

    Args:
        name: name of the environment.
        columns: how each column was read.
        episodes: number of episodes.
        steps: number of steps.
        terminated: number of episodes that were terminated.
        truncated: number of episodes that were truncated, those without a recorded end among them.
        returns: smallest, mean and largest return.
        skipped: reason why an episode of the source was left out, by its number.
        notes: everything else that was decided, with counts.
    """

    name: str = ""
    columns: list[ColumnReport] = field(default_factory=list)
    episodes: int = 0
    steps: int = 0
    terminated: int = 0
    truncated: int = 0
    returns: dict[str, float] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._parts: dict[str, ColumnReport] = {}
        self._returns: list[float] = []
        self._counts: dict[str, dict[object, int]] = {}

    def count(self, note: str, episode: object, number: int = 1) -> None:
        """Counts a decision that is taken again and again; its note ends with the number.

        Args:
            note: what was decided.
            episode: where; an episode that is read again is not counted again.
            number: how many times in this episode.
        """
        if number:
            self._counts.setdefault(note, {})[episode] = int(number)

    def see(self, episode: Episode, described: bool = False) -> None:
        """Takes in an episode as it is stored.

        Args:
            episode: the episode.
            described: whether the columns are in the report already, as those of a table are.
        """
        self.episodes += 1
        self.steps += len(episode["reward"])
        self.terminated += bool(episode["terminated"][-1])
        self.truncated += not episode["terminated"][-1]
        self._returns.append(float(np.sum(episode["reward"], dtype=np.float64)))
        if described:
            return
        for role in ("observation", "action"):
            for path, values in sorted(episode[role].items()):
                self._part(f"{role}.{path}" if path else role, role, values)
        self._part("reward", "reward", episode["reward"])

    def _part(self, name: str, role: str, values: np.ndarray) -> None:
        if name not in self._parts:
            kind = "text" if values.dtype == object else f"{values.dtype.name} {values.shape[1:]}".removesuffix(" ()")
            self._parts[name] = ColumnReport(name, role, kind)
            self.columns.append(self._parts[name])
        self._parts[name].see(values.reshape(len(values)) if values.size == len(values) else values)

    def finish(self) -> Report:
        """Sums up what has been counted."""
        if self._returns:
            found = np.array(self._returns)
            self.returns = {"least": float(found.min()), "mean": float(found.mean()), "most": float(found.max())}
        self.notes += [f"{note}: {sum(counts.values()):,}" for note, counts in sorted(self._counts.items())]
        self._counts = {}
        return self

    def begin(self) -> Report:
        """A report of one run, which knows how the source was opened."""
        return Report(self.name, copy.deepcopy(self.columns), skipped=dict(self.skipped))

    def take_over(self, source: Report) -> None:
        """Adds what the source has noted, also while it was read."""
        self.notes = source.notes + self.notes
        self._counts = source._counts | self._counts

    def save(self, folder: Path) -> None:
        """Writes `REPORT` into the folder of the environment, whole or not at all."""
        write_atomically(folder / REPORT, json.dumps(asdict(self), indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Report:
        """Reads `REPORT` from the folder of an environment."""
        data = json.loads((folder / REPORT).read_text(encoding="utf-8"))
        skipped = {int(number): reason for number, reason in data.pop("skipped").items()}
        return cls(**data | {"columns": [ColumnReport(**column) for column in data["columns"]], "skipped": skipped})


def _plain(value: object) -> Json:
    """A value for the report: numbers and short texts as they are, long arrays by their beginning."""
    if isinstance(value, np.ndarray):
        flat = value.reshape(-1)
        return [_plain(item) for item in flat[:4]] + (["..."] if flat.size > 4 else [])
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.float32):
        plain = float(str(value))  # 1.2, not 1.2000000476837158
    return plain if isinstance(plain, bool | int | float) else str(plain)[:80]
