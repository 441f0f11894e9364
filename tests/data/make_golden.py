"""Records what the published model is shown and does, for tests/model/test_golden.py; run it after a release.

python tests/data/make_golden.py
"""

import json
from pathlib import Path

import numpy as np

from ldm_hf import LDMAgent
from ldm_hf.environments import get_spec, make
from ldm_hf.spaces import flatten

MODEL = Path(__file__).parents[2] / "model_cards" / "ldm-nano"
STEPS = 40
ENVIRONMENTS = (  # every kind of leaf and element
    "CartPole-v1",
    "LunarLanderContinuous-v3",
    "Taxi-v4",
    "BabyAI-GoToLocalS5N2-v0",
    "MinAtar-Freeway",
    "metaworld-reach-v3",
    "HomeBattery-v0",
    "nasim-tiny",
    "popgym-RepeatPreviousEasy-v0",
    "StocksTrending-v0",
    "SerialSupplyChain-v0",
)


def plain(value):
    return value if isinstance(value, str) else np.asarray(value).tolist()


def main() -> None:
    recorded = {}
    for name in ENVIRONMENTS:
        env = make(name)
        agent = LDMAgent.from_pretrained(MODEL, env, environment=name)
        observation, info = env.reset(seed=3)
        feedback, steps = (None, None, None), []
        for step in range(STEPS):
            action = agent.act(observation, *feedback, info)
            steps.append(
                {
                    "observation": {
                        path: plain(part) for path, part in flatten(env.observation_space, observation).items()
                    },
                    "feedback": [None if part is None else plain(part) for part in feedback],
                    "mask": plain(info["action_mask"]) if "action_mask" in info else None,
                    "action": {path: plain(part) for path, part in flatten(env.action_space, action).items()},
                }
            )
            observation, reward, terminated, truncated, info = env.step(action)
            feedback = (float(reward), bool(terminated), bool(truncated))
            if terminated or truncated:
                observation, info = env.reset(seed=4 + step)
        env.close()
        recorded[name] = {"task": get_spec(name).task, "steps": steps}
    path = Path(__file__).with_name("golden.json")
    lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in recorded.items()]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
