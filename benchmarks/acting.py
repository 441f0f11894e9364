#!/usr/bin/env python
"""Microseconds that `act` takes: plain, compiled by torch, with int8 weights, and exported to ONNX, in turns.

    python benchmarks/acting.py --json docs/results/benchmarks/acting.json

All of it counts: encoding the observation, the model, choosing the action. "same actions": share of steps in which the
action is that of the plain model on the same stream; "difference": the largest of any number of an action.
"""

from __future__ import annotations

import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Row, parser, quantised, race, show
from gymnasium.vector.utils import batch_space

from ldm_hf import LDMAgent
from ldm_hf.agent import load_model
from ldm_hf.compiled import exporting
from ldm_hf.compiled.compiling import CompiledModel
from ldm_hf.compiled.running import OnnxStep
from ldm_hf.processing_ldm import ModelStep
from ldm_hf.spaces import flatten

PLAIN = "plain"


def agents_of(model: Any, processor: Any, name: str, args: Any) -> dict[str, LDMAgent]:
    """An agent for each way to run a step."""
    layout = processor.layout(name)
    graph = exporting.export_step(model, layout, layout.task_ids)
    steps: dict[str, Any] = {
        PLAIN: ModelStep(model, processor),
        "int8": ModelStep(quantised(model), processor),
        "ONNX": OnnxStep(graph.SerializeToString(), args.threads),
        "ONNX, int8": OnnxStep(exporting.quantised(graph).SerializeToString(), args.threads),
    }
    if not args.without_compiler:
        steps["compiled by torch"] = ModelStep(model, processor, CompiledModel(model))
    agents = {}
    for title, step in steps.items():
        spaces = (layout.observation_space, layout.action_space)
        agents[title] = LDMAgent(model, processor, spaces, environment=name, num_envs=args.lanes)
        agents[title]._run = step
        agents[title].reset()
    return agents


def stream(agent: LDMAgent, steps: int) -> list[tuple[Any, ...]]:
    """Random observations and feedback for an agent."""
    rng, lanes = np.random.default_rng(0), agent.num_envs
    space = batch_space(agent.layout.observation_space, lanes)
    space.seed(0)
    return [
        (space.sample(), rng.normal(size=lanes), rng.random(lanes) < 0.02, np.zeros(lanes, bool)) for _ in range(steps)
    ]


def compare(agent: LDMAgent, plain: LDMAgent, steps: list[tuple[Any, ...]]) -> tuple[float, float]:
    """Share of steps with the same action (to 1e-4), and the largest difference of any number of an action."""
    same, largest = 0, 0.0
    for step in steps:
        found, expected = (flatten(plain.layout.action_space, one.act(*step)) for one in (agent, plain))
        differences = [
            float(np.abs(np.asarray(found[path], np.float64) - np.asarray(part, np.float64)).max(initial=0))
            for path, part in expected.items()
        ]
        largest = max(largest, *differences)
        same += max(differences) <= 1e-4
    return same / len(steps), largest


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--model", type=Path, default=Path("model_cards/ldm-nano"), help="folder or Hub id of a model")
    made.add_argument(
        "--ids",
        nargs="+",
        default=["CartPole-v1", "metaworld-door-open-v3", "MiniGrid-DoorKey-8x8-v0"],
        help="environments that the model knows",
    )
    made.add_argument("--lanes", type=int, default=1, help="number of environments stepped together")
    made.add_argument("--steps", type=int, default=300, help="steps over which actions are compared")
    made.add_argument("--seconds", type=float, default=5, help="measuring time of each contender")
    made.add_argument("--without-compiler", action="store_true", help="leave torch.compile out")
    args = made.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    model, processor = load_model(args.model)
    rows: list[Row] = []
    for name in args.ids:
        agents = agents_of(model, processor, name, args)
        steps = stream(agents[PLAIN], args.steps)
        compared = {}
        for title, agent in agents.items():
            agents[PLAIN].reset()
            agent.reset()
            compared[title] = compare(agent, agents[PLAIN], steps) if title != PLAIN else (1.0, 0.0)
        step = steps[-1]
        times = race({title: partial(agent.act, *step) for title, agent in agents.items()}, args.seconds)
        rows += [
            {
                "environment": name,
                "contender": title,
                "µs per act": 1e6 * seconds,
                "of plain": seconds / times[PLAIN],
                "same actions": compared[title][0],
                "difference": compared[title][1],
            }
            for title, seconds in times.items()
        ]
    show(f"{args.model}, {args.lanes} lane(s): time of `act`", rows, args)


if __name__ == "__main__":
    main()
