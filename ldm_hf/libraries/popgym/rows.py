"""Rows of POPGym (Morad et al. 2023)."""

from __future__ import annotations

from collections.abc import Iterator

from ldm_hf.environments.generating import by_prefix, registered, rows_of
from ldm_hf.environments.library_folders import Group

# task texts by the beginning of the name
POPGYM = {
    "Autoencode": "Watch a deck of cards and then repeat it from the last card to the first.",
    "Battleship": "Sink the hidden ships; what was shot at is not shown again.",
    "Concentration": "Turn over pairs of equal cards from memory.",
    "CountRecall": "Say how often the asked card was seen so far.",
    "HigherLower": "Guess whether the next card is higher or lower, with the cards seen in mind.",
    "MineSweeper": "Uncover all fields without mines from the numbers seen so far.",
    "MultiarmedBandit": "Find out which arm pays most and play it.",
    "NoisyPositionOnlyCartPole": "Balance the pole from noisy positions without speeds.",
    "NoisyPositionOnlyPendulum": "Swing the pendulum up from noisy positions without speeds.",
    "PositionOnlyCartPole": "Balance the pole from positions without speeds.",
    "PositionOnlyPendulum": "Swing the pendulum up from positions without speeds.",
    "RepeatFirst": "Repeat the first card again and again.",
    "RepeatPrevious": "Repeat the card seen a number of steps ago.",
    "VelocityOnlyCartpole": "Balance the pole from speeds without positions.",
}
REFERENCES = {"RepeatFirst": "repeat_first", "RepeatPrevious": "repeat_previous"}


def groups() -> Iterator[Group]:
    """All games in three sizes."""
    by_reference: dict[str | None, list[str]] = {}
    for name in registered("popgym", "popgym-"):
        family = name.removeprefix("popgym-")
        fitting = next((policy for prefix, policy in REFERENCES.items() if family.startswith(prefix)), None)
        by_reference.setdefault(fitting, []).append(name)
    for reference, ids in by_reference.items():
        rows = rows_of(ids, lambda name: by_prefix(POPGYM, name.removeprefix("popgym-")))
        group: Group = {"domain": "memory", "rows": rows}
        yield {"reference": reference, **group} if reference else group
