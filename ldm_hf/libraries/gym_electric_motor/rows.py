"""Rows of gym-electric-motor (Traue et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator

from ldm_hf.environments.generating import registered, rows_of
from ldm_hf.environments.library_folders import Group

# parts of a name, in words
MOTORS = {
    "DFIM": "doubly fed induction motor",
    "EESM": "externally excited synchronous motor",
    "ExtExDc": "externally excited DC motor",
    "PMSM": "permanent magnet synchronous motor",
    "PermExDc": "permanently excited DC motor",
    "SCIM": "squirrel cage induction motor",
    "SIXPMSM": "six-phase permanent magnet synchronous motor",
    "SeriesDc": "DC series motor",
    "ShuntDc": "DC shunt motor",
    "SynRM": "synchronous reluctance motor",
}
CONTROLLED = {"CC": "currents", "SC": "speed", "TC": "torque"}
CONVERTER = {"Cont": "continuous duty cycles", "Finite": "a choice of switching states"}


def groups() -> Iterator[Group]:
    """Ten motors, three controlled quantities, two kinds of converter."""

    def task(name: str) -> str:
        converter, controlled, motor, _ = name.split("-")
        return (
            f"Follow the reference of the {CONTROLLED[controlled]} of a {MOTORS[motor]} with {CONVERTER[converter]}."
        )

    ids = registered("gym-electric-motor", "(Cont|Finite)-(CC|SC|TC)-")
    yield {
        "domain": "energy",
        "max_episode_steps": 500,
        "wrappers": ["unbounded", "seed_every_reset"],
        "rows": rows_of(ids, task, lambda name: f"GEM-{name}"),
    }
