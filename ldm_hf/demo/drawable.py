"""Which environments of the catalogue can draw themselves; ``python -m ldm_hf.demo.drawable`` tries it anew."""

from __future__ import annotations

import json
import logging
import re
from functools import cache
from pathlib import Path

from ..environments.building import NAMESPACE
from ..environments.isolation import installed_version
from ..environments.library_folders import libraries
from ..environments.making import make
from ..environments.specs import EnvironmentSpec, catalogue
from ..errors import LDMError
from ..evaluation.pictures import prepare_drawing
from ..utils.files import read_json, write_atomically
from ..utils.guarding import close
from ..utils.parallel import run_tasks

FILE = Path(__file__).with_name("blind.json")
logger = logging.getLogger(__name__)
LIMIT = 120.0  # seconds that an environment may take to draw its first picture


@cache
def drawable() -> dict[str, EnvironmentSpec]:
    """The rows that can be watched here, by name: those whose libraries are installed, without the worlds that could
    not draw themselves, and the user's own."""
    blind = {(world["library"], world["word"]) for world in read_json(FILE)}
    ours, here = libraries(), cache(installed_version)
    return {
        name: row
        for name, row in catalogue().items()
        if row.library not in ours or (here(row.library) and world_of(row) not in blind)
    }


def world_of(row: EnvironmentSpec) -> tuple[str, str]:
    """What rows share that draw themselves by the same code: the library and the first word of the Gymnasium id."""
    world = str(row.kwargs.get("env_id", row.env_id)).removeprefix(NAMESPACE)
    return row.library, re.findall("[A-Z]*[a-z_]*", world)[0] or world


def draws(name: str) -> bool:
    """Whether an environment gives a picture after its first reset."""
    prepare_drawing()
    env = make(name, render_mode="rgb_array")
    try:
        env.reset(seed=0)
        frame = env.render()
        return getattr(frame, "ndim", 0) == 3 and frame.size > 0  # type: ignore[union-attr]
    finally:
        close(env, name)


def record(jobs: int = 1) -> None:
    """Lets one environment of each installed world draw, and writes which could not."""
    first: dict[tuple[str, str], str] = {}
    for name, row in catalogue().items():
        if installed_version(row.library):
            first.setdefault(world_of(row), name)
    worlds = {name: world for world, name in first.items()}
    blind = []
    for name, outcome in run_tasks(draws, {name: (name,) for name in worlds}, jobs, limit=LIMIT):
        logger.info("%s: %s", name, "draws" if outcome is True else outcome or "no picture")
        if outcome is not True:
            library, word = worlds[name]
            why = f"{outcome!s:.120}" if isinstance(outcome, LDMError) else "no picture"
            blind.append({"library": library, "word": word, "tried": name, "why": why})
    lines = ",\n".join(json.dumps(world) for world in sorted(blind, key=lambda world: world["tried"]))
    write_atomically(FILE, f"[\n{lines}\n]\n")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    record()
