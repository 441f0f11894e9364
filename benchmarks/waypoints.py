"""Turns the script of a Meta-World task into a few waypoints, and searches for ones that earn more in 100 steps.

    python benchmarks/waypoints.py --tasks door-unlock-v3,handle-pull-v3 --minutes 5 --json outputs/waypoints.json

The present reference is played once. What it aims at, cut into three, four or five parts of equal length until the task
is done, are waypoints to begin with; the best of them are changed by CMA-ES (Hansen 2016, arXiv 1604.00772), in two
other episodes for each generation. What is best in sixteen episodes stays. Printed are the return and the share of
successes of the reference and of what was found, in ten episodes that served for nothing else: a return can grow
without the task being done. The numbers go into ``reference_kwargs`` of the row.

Needs cma (``pip install cma``).
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import cma
import gymnasium
import numpy as np
import typer

from ldm_hf.environments import get_spec, make
from ldm_hf.libraries.metaworld.policies_waypoints import GAIN, NUMBERS, STEPS, MetaWorldWaypoints
from ldm_hf.references import Reference, load_reference
from ldm_hf.rollouts.returns import HELD_OUT_SEED, SELECTION_SEED

HORIZON = 100  # steps that published scores count
POPULATION, EPISODES, SEEDS = 12, 2, 16  # candidates of a generation, their episodes, and different ones of these
NEAR = 0.02
CHECKED = 10


def played(env: gymnasium.Env, policy: Reference, seed: int) -> tuple[float, bool]:
    """Return of the first hundred steps of an episode, and whether the task was done in one of them."""
    observation, info = env.reset(seed=seed)
    policy.reset(env)
    reached, done = 0.0, False
    for _ in range(HORIZON):
        observation, reward, *_, info = env.step(policy.act(env, observation, info))
        reached, done = reached + float(reward), done or bool(info["success"])
    return reached, done


def aims(env: gymnasium.Env, policy: Reference) -> tuple[np.ndarray, int]:
    """Where a policy aims from the object, with the effort of its grip, ``(HORIZON, 4)``, and when the task is done."""
    observation, info = env.reset(seed=SELECTION_SEED)
    policy.reset(env)
    aimed, done = [], None
    for step in range(HORIZON):
        action = np.asarray(policy.act(env, observation, info))
        aimed.append([*(observation[:3] + action[:3] / GAIN - observation[4:7]), action[3]])
        observation, *_, info = env.step(action)
        if done is None and info["success"]:
            done = step + 1
    return np.array(aimed), done or HORIZON // 2


def beginnings(aimed: np.ndarray, done: int) -> list[np.ndarray]:
    """Waypoints ``(count, 6)`` to begin with: some of what is aimed at, at even distances in time."""
    found = []
    for count in (3, 4, 5):
        cuts = np.linspace(0, done, count + 1)
        for share in (0.3, 0.6, 0.99):
            at = (cuts[:-1] + share * np.diff(cuts)).astype(int)
            found.append(np.column_stack([aimed[at], np.full(count, NEAR), 1.2 * np.diff(cuts)]))
    return found


def search(task: str, seconds: float, seed: int) -> dict[str, Any]:
    """The waypoints that are found for a task, and their return beside that of the present reference."""
    spec = get_spec(f"metaworld-{task}")
    env, until = make(spec), time.monotonic() + seconds
    reference = load_reference(spec, "nowhere")

    def value(waypoints: np.ndarray, seeds: range) -> float:
        policy = MetaWorldWaypoints(env, waypoints.ravel().tolist())
        return float(np.mean([played(env, policy, SELECTION_SEED + number)[0] for number in seeds]))

    first = range(1)
    begun = max(beginnings(*aims(env, reference)), key=lambda waypoints: value(waypoints, first))
    if isinstance(reference, MetaWorldWaypoints):  # of a former search
        begun = max(begun, reference.waypoints, key=lambda waypoints: value(waypoints, first))
    scales = np.tile(STEPS, len(begun))
    strategy = cma.CMAEvolutionStrategy(
        begun.ravel() / scales, 0.35, {"popsize": POPULATION, "seed": seed + 1, "verbose": -9}
    )
    generation = 0
    while not generation or time.monotonic() < until:
        asked = strategy.ask()
        start = EPISODES * generation % SEEDS
        values = [value(np.reshape(one * scales, (-1, NUMBERS)), range(start, start + EPISODES)) for one in asked]
        strategy.tell(asked, [-one for one in values])
        generation += 1
        print(f"{task} generation {generation}: {np.mean(values):.0f}, best {max(values):.0f}", flush=True)
    # a search that was short may have moved away from what it began with, and the best of its candidates was lucky
    ends = [begun, *(np.reshape(end * scales, (-1, NUMBERS)) for end in (strategy.mean, strategy.best.x))]
    found = max(ends, key=lambda waypoints: value(waypoints, range(SEEDS))).round(4)
    policies = {"reference": reference, "found": MetaWorldWaypoints(env, found.ravel().tolist())}
    held_out = range(HELD_OUT_SEED, HELD_OUT_SEED + CHECKED)
    means = {
        name: np.mean([played(env, one, at) for at in held_out], axis=0).tolist() for name, one in policies.items()
    }
    env.close()
    return {**means, "generations": generation, "waypoints": found.ravel().tolist()}


def main(
    tasks: Annotated[str, typer.Option(help="Tasks of Meta-World, separated by commas, such as door-unlock-v3.")],
    minutes: Annotated[float, typer.Option(help="Minutes of search for each.")] = 5,
    seed: int = 0,
    json_path: Annotated[Path | None, typer.Option("--json", help="File for the numbers.")] = None,
) -> None:
    """Searches for waypoints, one task after the other."""
    found = {}
    for task in tasks.split(","):
        found[task] = search(task, 60 * minutes, seed)
        print(task, json.dumps(found[task]), flush=True)
        if json_path is not None:
            json_path.parent.mkdir(parents=True, exist_ok=True)
            json_path.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    typer.run(main)
