"""Rows of MinAtar (Young & Tian 2019)."""

from __future__ import annotations

from collections.abc import Iterator

from ldm_hf.environments.generating import registered, rows_of
from ldm_hf.environments.library_folders import Group

MINATAR = {
    "Asterix": "Collect the gold and avoid the enemies.",
    "Breakout": "Break the bricks with the ball.",
    "Freeway": "Cross the road and avoid the cars.",
    "Seaquest": "Rescue divers, shoot enemies and come up for air.",
    "SpaceInvaders": "Shoot the aliens.",
}


def groups() -> Iterator[Group]:
    """All five games, each with the actions that matter in it."""
    yield {
        "domain": "video_games",
        "max_episode_steps": 500,
        "wrappers": ["forget_last_action"],
        "rows": rows_of(
            registered("MinAtar", "MinAtar/.*-v1"),
            lambda name: MINATAR[name.removeprefix("MinAtar/").removesuffix("-v1")],
            lambda name: name.replace("/", "-").removesuffix("-v1"),
        ),
    }
