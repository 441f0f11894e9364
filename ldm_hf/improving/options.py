"""Options of an improvement, and which of them may change when it is continued."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import ArgumentError
from ..spaces import Json

CHANGEABLE = ("rounds", "minutes", "jobs", "output")  # they decide how much is done, not what has been measured


@dataclass(frozen=True)
class Improvement:
    """What to improve, with which data, and for how long.

    Args:
        model: folder or Hub id of the model to start from.
        dataset: folder of trajectories to train on; what the model does is added to it.
        output: folder of the rounds, their models and ``improve.json``.
        rounds: number of rounds in all; a larger one continues an improvement that has ended.
        minutes: time for a round: collection, training, and the evaluation after it.
        names: environments to evaluate and improve; by default those of the dataset that have a reference policy.
        references: folder of trained reference policies.
        episodes: episodes that measure a model in an environment; where returns vary much, there are more.
        per_family: environments of each family that are measured, drawn by the seed; by default all. The others of
            their family are taken to score as much.
        jobs: processes that evaluate, collect and train; they share a batch evenly, on accelerators one each.
        steps: steps to collect in a round, instead of as many as the minutes allow.
        updates: updates of a round's training, instead of as many as the minutes allow.
        mix: probability that the reference acts in place of the model in a step that is collected.
        learning_rate: peak learning rate of a round.
        batch_size: segments of an update, of all processes together.
        won_share: least share of the segments for environments that are won, together.
        seed: seed of the training; the round's number is added.
    """

    model: str
    dataset: str
    output: str
    rounds: int = 1
    minutes: float = 30.0
    names: tuple[str, ...] | None = None
    references: str = "outputs/references"
    episodes: int = 20
    per_family: int | None = None
    jobs: int = 1
    steps: int | None = None
    updates: int | None = None
    mix: float = 0.1
    learning_rate: float = 3e-4
    batch_size: int = 16
    won_share: float = 0.5
    seed: int = 0

    def fixed(self) -> dict[str, Json]:
        """The options that stay as they are while an improvement is continued."""
        told = {name: value for name, value in asdict(self).items() if name not in CHANGEABLE}
        return told | {"names": None if self.names is None else list(self.names)}

    def check(self, begun: Mapping[str, Json]) -> None:
        """Checks that these options continue an improvement.

        Args:
            begun: `fixed` of the command that began it.

        Raises:
            ArgumentError: names the options that have changed.
        """
        now = self.fixed()
        changed = [
            f"--{_flag(name)} was {_told(begun.get(name))}, is {_told(value)}"
            for name, value in now.items()
            if begun.get(name) != value
        ]
        if changed:
            raise ArgumentError(
                f"{Path(self.output)} holds another improvement: {'; '.join(changed)}. Give the options that it was "
                "begun with, or choose another --output."
            )


def _flag(name: str) -> str:
    return "ids" if name == "names" else name.replace("_", "-")


def _told(value: object) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else "not given" if value is None else str(value)
