#!/usr/bin/env python
"""What collection costs beside the environment itself: bare steps, steps with labels, and everything that is recorded and written.

python benchmarks/collection.py --json outputs/benchmarks/collection.json

"bare" replays the actions, "labelled" asks the reference at every step, too, as anybody has to who wants labels. "kept" does nothing else but to append the
label, the action, a copy of the observation and the reward to lists: no collection that is written in Python can be faster.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from common import cpu_seconds, parser, show

from ldm_hf.collection import Plan
from ldm_hf.collection.actors import Perturbed
from ldm_hf.collection.collecting import describe, open_lanes
from ldm_hf.collection.recording import LabelledLane, record
from ldm_hf.environments import get_spec
from ldm_hf.references import load_reference
from ldm_hf.spaces import unflatten, unstack
from ldm_hf.trajectories import TrajectoryWriter

GOAL = 0.9
ROUNDS = 3
NAMES = [
    *("CartPole-v1", "Pendulum-v1", "LunarLander-v3", "FrozenLake-v1", "Taxi-v4", "BaseStock-v0", "StocksTrending-v0"),
    *("HomeBattery-v0", "nasim-tiny", "popgym-RepeatPreviousEasy-v0", "MinAtar-Freeway", "BabyAI-GoToRedBall-v0"),
    *("BabyAI-GoToRedBallNoDists-pixels", "metaworld-reach-v3", "metaworld-window-close-v3"),
]


def keep(lane: LabelledLane, episodes: list[tuple[int, list[Any]]]) -> None:
    """The least that a collection has to do: what `replay` does with labels, and everything kept in lists."""
    env, reference = lane.env, lane.reference
    kept: tuple[list[Any], ...] = ([], [], [], [])
    labels, executed, observations, rewards = (values.append for values in kept)
    for seed, actions in episodes:
        observation, info = env.reset(seed=seed)
        reference.reset(env)
        for action in actions:
            labels(reference.act(env, observation, info))
            executed(action)
            observations(observation.copy() if isinstance(observation, np.ndarray) else observation)
            observation, reward, _, _, info = env.step(action)
            rewards(reward)
        for values in kept:
            values.clear()


def replay(lane: LabelledLane, episodes: list[tuple[int, list[Any]]], label: bool) -> None:
    """Steps the environment through recorded actions as a plain loop would, and asks the reference at every step if told to."""
    env, reference = lane.env, lane.reference
    for seed, actions in episodes:
        observation, info = env.reset(seed=seed)
        reference.reset(env)
        for action in actions:
            if label:
                reference.act(env, observation, info)
            observation, _, _, _, info = env.step(action)


def compare(name: str, references: str, budget: float, most: int) -> dict[str, Any]:
    """One environment: the same episodes three times over, in turns."""
    spec = get_spec(name)
    lanes = open_lanes(spec, lambda: load_reference(spec, references), several=False)
    info = describe(spec, lanes[0], Plan("nowhere", references), {}, None)

    def collect(steps: int) -> list[dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder, TrajectoryWriter(folder, info) as writer:
            episodes = []
            for episode in record(lanes, Perturbed(), 0, steps):
                writer.write(episode)
                episodes.append(episode)
        return episodes

    collect(1)  # imports what is imported late
    rate = 200 / max(cpu_seconds(lambda: collect(200)), 1e-6)
    steps = most if len(lanes) > 1 else min(most, max(200, int(rate * budget / ROUNDS)))
    recorded = collect(steps)
    count = sum(len(episode["reward"]) for episode in recorded)
    space = lanes[0].env.action_space
    episodes = [
        (episode["seed"], unstack(space, unflatten(space, episode["action"]), len(episode["reward"])))
        for episode in recorded
    ]
    contenders = {
        "bare": lambda: replay(lanes[0], episodes, label=False),
        "labelled": lambda: replay(lanes[0], episodes, label=True),
        "kept": lambda: keep(lanes[0], episodes),
        "collected": lambda: collect(steps),
    }
    turns = [{contender: cpu_seconds(work) for contender, work in contenders.items()} for _ in range(ROUNDS)]
    times = {contender: float(np.median([turn[contender] for turn in turns])) for contender in contenders}
    for lane in lanes:
        lane.env.close()
    return {
        "environment": name,
        "reference": lanes[0].reference.method,
        "lanes": len(lanes),
        **{contender: count / seconds for contender, seconds in times.items()},
        "kept of bare": times["bare"] / times["kept"],
        "of bare": times["bare"] / times["collected"],
        "of labelled": times["labelled"] / times["collected"],
        "of kept": times["kept"] / times["collected"],
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--ids", nargs="+", default=NAMES)
    made.add_argument("--references", default="outputs/references")
    made.add_argument("--seconds", type=float, default=2.0, help="of each contender in each environment, about")
    made.add_argument("--steps", type=int, default=5_000, help="of a turn, at most")
    args = made.parse_args()
    rows = [compare(name, args.references, args.seconds, args.steps) for name in args.ids]
    notes = [
        f"{GOAL:.0%} or more of {what}: {sum(row[f'of {what}'] >= GOAL for row in rows)} of {len(rows)} environments"
        for what in ("bare", "labelled", "kept")
    ]
    possible = sum(row["kept of bare"] >= GOAL for row in rows)
    notes.append(f"{GOAL:.0%} or more of bare with nothing but lists: {possible} of {len(rows)} environments")
    show("Collection: steps per second of CPU time, in the same episodes", rows, args, notes)


if __name__ == "__main__":
    main()
