#!/usr/bin/env python
"""Lets a pretrained LDM act in an environment, step after step, and prints the return of each episode.

python examples/act.py --env CartPole-v1 --steps 1000
"""

from __future__ import annotations

import argparse

from ldm_hf import LDMAgent
from ldm_hf.agent import load_model
from ldm_hf.environments import make


def main() -> None:
    """Plays."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="model_cards/ldm-nano", help="folder or Hub id of a pretrained LDM")
    parser.add_argument("--env", default="CartPole-v1", help="name in the catalogue, or any Gymnasium id")
    parser.add_argument("--steps", type=int, default=1000, help="environment steps")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode")
    args = parser.parse_args()

    env = make(args.env)
    model, processor = load_model(args.model)
    # The processor knows the environments of the training: their statistics and task texts. In others, the agent
    # estimates statistics as it goes.
    agent = LDMAgent(model, processor, env, environment=args.env if args.env in processor.environments else None)

    observation, info = env.reset(seed=args.seed)
    action = agent.act(observation, info=info)
    total = 0.0
    for _ in range(args.steps):
        observation, reward, terminated, truncated, info = env.step(action)
        total += float(reward)
        if terminated or truncated:
            print(f"return {total:.4g}")
            total = 0.0
            observation, info = env.reset()  # the agent keeps its history: pass on how the episode ended
        action = agent.act(observation, reward, terminated, truncated, info)


if __name__ == "__main__":
    main()
