#!/usr/bin/env python
"""A server of environments and a server of policies, talking over two ports; this process only carries messages.

The environments are those of an OpenEnv server, or any others; the policy is a model behind `ldm serve`. Each
environment has a stream of its own, and the server of policies steps all of them in one forward pass:

    ldm serve --model model_cards/ldm-nano --port 8001
    python examples/two_servers.py --policy ws://localhost:8001 --env openenv:http://localhost:8000 --count 8
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from ldm_hf import RemoteAgent
from ldm_hf.environments import make


def episodes(policy: str, name: str, token: str | None, seed: int, count: int) -> Iterator[float]:
    """Returns of the episodes of one environment."""
    env = make(name)
    with RemoteAgent(policy, env, token=token) as agent:
        observation, info = env.reset(seed=seed)
        action = agent.act(observation, info=info)
        for _ in range(count):
            total, ended = 0.0, False
            while not ended:
                observation, reward, terminated, truncated, info = env.step(action)
                total, ended = total + float(reward), terminated or truncated
                if ended:
                    observation, info = env.reset()  # the history goes on: pass on how the episode ended
                action = agent.act(observation, reward, terminated, truncated, info)
            yield total
    env.close()


def main() -> None:
    """Plays in several environments at a time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--policy", default="ws://localhost:8001", help="address of `ldm serve`")
    parser.add_argument("--env", default="openenv:http://localhost:8000", help="OpenEnv server, name or Gymnasium id")
    parser.add_argument("--count", type=int, default=4, help="environments that are played at a time")
    parser.add_argument("--episodes", type=int, default=2, help="episodes in each")
    args = parser.parse_args()

    def play(number: int) -> list[float]:
        return list(episodes(args.policy, args.env, os.environ.get("LDM_SERVE_TOKEN"), number, args.episodes))

    with ThreadPoolExecutor(args.count) as pool:
        for number, returns in enumerate(pool.map(play, range(args.count))):
            for total in returns:
                print(f"environment {number}: return {total:.4g}")


if __name__ == "__main__":
    main()
