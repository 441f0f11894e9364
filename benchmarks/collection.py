#!/usr/bin/env python
"""What collection costs beside the environment itself: bare steps, steps with labels, and everything that is recorded and written.

python benchmarks/collection.py --json outputs/benchmarks/collection.json
"""

from __future__ import annotations

import tempfile
from typing import Any

from common import clock, parser, race, show

from ldm_hf.behaviours import Perturbed
from ldm_hf.collection import Plan, describe, open_lanes
from ldm_hf.environments import get_spec
from ldm_hf.recording import Lane, record
from ldm_hf.references import load_reference
from ldm_hf.spaces import unflatten, unstack
from ldm_hf.trajectories import TrajectoryWriter

GOAL = 0.9
ROUNDS = 5
NAMES = [
    *("CartPole-v1", "Pendulum-v1", "LunarLander-v3", "FrozenLake-v1", "Taxi-v4", "BaseStock-v0", "StocksTrending-v0"),
    *("HomeBattery-v0", "nasim-tiny", "popgym-RepeatPreviousEasy-v0", "MinAtar-Freeway", "BabyAI-GoToRedBall-v0"),
    *("BabyAI-GoToRedBallNoDists-pixels", "metaworld-reach-v3", "metaworld-window-close-v3"),
]


def replay(lane: Lane, episodes: list[tuple[int, list[Any]]], label: bool) -> None:
    """Steps the environment through recorded actions as a plain loop would, and asks the reference at every step if told to."""
    env, reference = lane.env, lane.reference
    for seed, actions in episodes:
        observation, info = env.reset(seed=seed)
        reference.reset(env)
        for action in actions:
            if label:
                reference.act(env, observation, info)
            observation, _, _, _, info = env.step(action)


def compare(name: str, references: str, budget: float) -> dict[str, Any]:
    """One environment: the same episodes three times over, in turns."""
    spec = get_spec(name)
    lanes = open_lanes(spec, lambda: load_reference(spec, references), several=False)
    plan = Plan("nowhere", references)
    info = describe(spec, lanes[0], plan, {}, None)

    def collect(steps: int) -> list[dict[str, Any]]:
        with tempfile.TemporaryDirectory() as folder, TrajectoryWriter(folder, info) as writer:
            episodes = []
            for episode in record(lanes, Perturbed(), 0, steps):
                writer.write(episode)
                episodes.append(episode)
        return episodes

    rate = 200 / clock(lambda: collect(200))
    steps = max(200, int(rate * budget / ROUNDS / 4))  # some four passes a turn
    recorded = collect(steps)
    count = sum(len(episode["reward"]) for episode in recorded)
    space = lanes[0].env.action_space
    episodes = [
        (episode["seed"], unstack(space, unflatten(space, episode["action"]), len(episode["reward"])))
        for episode in recorded
    ]
    times = race(
        {
            "bare": lambda: replay(lanes[0], episodes, label=False),
            "labelled": lambda: replay(lanes[0], episodes, label=True),
            "collected": lambda: collect(steps),
        },
        budget,
        rounds=ROUNDS,
    )
    for lane in lanes:
        lane.env.close()
    return {
        "environment": name,
        "reference": lanes[0].reference.method,
        "lanes": len(lanes),
        **{contender: count / seconds for contender, seconds in times.items()},
        "of bare": times["bare"] / times["collected"],
        "of labelled": times["labelled"] / times["collected"],
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--ids", nargs="+", default=NAMES)
    made.add_argument("--references", default="outputs/references")
    made.add_argument("--seconds", type=float, default=2.0, help="of each contender in each environment")
    args = made.parse_args()
    rows = [compare(name, args.references, args.seconds) for name in args.ids]
    notes = [
        f"{GOAL:.0%} or more of {what}: {sum(row[f'of {what}'] >= GOAL for row in rows)} of {len(rows)} environments"
        for what in ("bare", "labelled")
    ]
    show("Collection: steps per second of the same episodes", rows, args, notes)


if __name__ == "__main__":
    main()
