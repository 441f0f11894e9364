"""The results of a model as the explorer shows them: a table, returns of single environments, the threshold curve."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..environments.specs import catalogue
from ..errors import LDMError
from ..evaluation.scores import EnvironmentResult
from ..utils.files import read_json

FILE = "results.json"
HEADER = ["environment", "score %", "history only %", "model", "reference", "random", "domain", "library", "family"]
PLAYERS = {"ldm": "model", "reference": "reference", "random": "random"}
LOWEST, HIGHEST = -20.0, 150.0  # per cent: scores beyond are drawn at the edge


@dataclass(frozen=True)
class Entry:
    """What was measured in one environment.

    Args:
        name: name of the environment.
        domain: its domain.
        library: its library.
        family: its family.
        result: what `ldm evaluate` wrote.
    """

    name: str
    domain: str
    library: str
    family: str
    result: EnvironmentResult

    @property
    def score(self) -> float:
        """Normalised score with the task text, in per cent."""
        return 100 * self.result["normalised"]

    def cells(self) -> list[Any]:
        """The row of the table."""
        scores = [_rounded(value) for value in (self.score, 100 * self.result["normalised_history_only"])]
        means = [_rounded(self.result[player]["mean"]) for player in PLAYERS]  # type: ignore[literal-required]
        return [self.name, *scores, *means, self.domain, self.library, self.family]


class Results:
    """The results of a model.

    Args:
        environments: what `ldm evaluate` wrote of each environment.
    """

    def __init__(self, environments: dict[str, EnvironmentResult]) -> None:
        rows = catalogue()
        self.entries: dict[str, Entry] = {}
        for name, result in environments.items():
            row = rows.get(name)
            library, family = (row.library, row.family) if row else ("", name)
            self.entries[name] = Entry(name, result["domain"], library, family, result)

    @classmethod
    def of_model(cls, model: str) -> Results:
        """Reads ``results.json`` of a model; there are no results where it has none.

        Args:
            model: folder or Hub id.

        Raises:
            LDMError: if the file is damaged.
        """
        path = Path(model) / FILE
        if not path.exists() and not Path(model).exists():
            path = _from_hub(model) or path
        if not path.exists():
            return cls({})
        try:
            return cls(read_json(path)["environments"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise LDMError(f"{path} holds no results of `ldm evaluate` ({error!r:.200}); write it anew.") from error

    def values(self, column: str) -> list[str]:
        """The different values of a column: domain, library or family, sorted."""
        return sorted({getattr(entry, column) for entry in self.entries.values()})

    def select(self, domain: str = "", library: str = "", family: str = "", text: str = "") -> list[Entry]:
        """Entries of a domain, library and family whose names contain a text, the best first; empty is no condition."""
        wanted = {"domain": domain, "library": library, "family": family}
        chosen = [
            entry
            for entry in self.entries.values()
            if all(not value or getattr(entry, column) == value for column, value in wanted.items())
            and text.strip().lower() in entry.name.lower()
        ]
        return sorted(chosen, key=lambda entry: (-entry.score, entry.name))

    def returns(self, name: str) -> dict[str, list[Any]]:
        """Returns of the held-out episodes of an environment: columns episode, return and player.

        Where only the mean of a player is known, it stands for each episode.
        """
        columns: dict[str, list[Any]] = {"episode": [], "return": [], "player": []}
        if (entry := self.entries.get(name)) is None:
            return columns
        episodes = entry.result["ldm"]["episodes"]
        for key, player in PLAYERS.items():
            measured = entry.result[key]  # type: ignore[literal-required]
            for number, value in enumerate(measured.get("returns") or [measured["mean"]] * episodes):
                columns["episode"].append(number + 1)
                columns["return"].append(float(value))
                columns["player"].append(player)
        return columns


def threshold_points(entries: list[Entry]) -> dict[str, list[Any]]:
    """The threshold curve as points, one an environment: how many environments are at or above its score.

    Args:
        entries: from `Results.select`, the best first.
    """
    return {
        "score": [float(np.clip(entry.score, LOWEST, HIGHEST)) for entry in entries],
        "environments": list(range(1, len(entries) + 1)),
        "environment": [entry.name for entry in entries],
        "domain": [entry.domain for entry in entries],
    }


def headline(entries: list[Entry]) -> str:
    """One sentence on some results."""
    if not entries:
        return "No environment fits."
    good = sum(entry.result["normalised"] >= 0.8 for entry in entries)
    families = len({entry.family for entry in entries})
    several = f"{len(entries):,} environments ({families:,} families)" if len(entries) > 1 else "1 environment"
    return f"{several}; in {good:,} the model reaches 80 % of the reference (0 %: random actions)."


def _from_hub(repo: str) -> Path | None:
    """The results of a model on the Hub; None if it has none."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repo, FILE))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError):
        return None


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")
