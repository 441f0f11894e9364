"""Rows of OGBench (Park et al. 2025)."""

from __future__ import annotations

from collections.abc import Iterator

from ldm_hf.environments.generating import by_prefix, registered, rows_of
from ldm_hf.environments.library_folders import Group

# task texts by the beginning of the name
OGBENCH = {
    "antmaze": "Walk the ant through the {size} maze to goal {task}.",
    "antsoccer": "Push the ball with the ant to goal {task} of the {size}.",
    "cube-double": "Bring two cubes into arrangement {task}.",
    "cube-octuple": "Bring eight cubes into arrangement {task}.",
    "cube-quadruple": "Bring four cubes into arrangement {task}.",
    "cube-single": "Bring the cube into arrangement {task}.",
    "cube-triple": "Bring three cubes into arrangement {task}.",
    "humanoidmaze": "Walk the humanoid through the {size} maze to goal {task}.",
    "pointmaze": "Move the point through the {size} maze to goal {task}.",
    "puzzle": (
        "Press the buttons, each of which also switches its neighbours, until the {size} lights show pattern {task}."
    ),
    "scene": "Work drawer, window, buttons and cube into arrangement {task}.",
}


def groups() -> Iterator[Group]:
    """The five goals of each scene whose state is observed; the library fails to make humanoids among teleporters."""
    pattern = f"({'|'.join(OGBENCH)})-.*singletask-task|scene-singletask-task"
    ids = [name for name in registered("ogbench", pattern) if not name.startswith("humanoidmaze-teleport")]

    def task(name: str) -> str:
        scene, goal = name.removesuffix("-v0").split("-singletask-task")
        size = {"teleport": "teleporting"}.get(scene.split("-")[-1], scene.split("-")[-1])
        return by_prefix(OGBENCH, name).format(size=size, task=goal)

    for domain, mazes in (("robotics", False), ("locomotion", True)):
        chosen = [name for name in ids if name.startswith(("ant", "humanoid", "point")) == mazes]
        yield {
            "domain": domain,
            "wrappers": ["global_random_state"],
            "rows": rows_of(chosen, task, lambda name: f"ogbench-{name.replace('singletask-', '')}"),
        }
