"""The published weights choose the recorded actions on recorded inputs: a change of the code must not change them."""

import json
from pathlib import Path

import numpy as np
import pytest

from ldm_hf import LDMAgent
from ldm_hf.agent import load_model
from ldm_hf.spaces import flatten, unflatten

MODEL = Path(__file__).parents[2] / "model_cards" / "ldm-nano"
GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "golden.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def published():
    return load_model(MODEL)


@pytest.mark.parametrize("name", GOLDEN)
def test_the_published_weights_choose_the_recorded_actions(name, published):
    layout = published[1].layout(name)
    agent = LDMAgent(*published, (layout.observation_space, layout.action_space), environment=name)
    for number, step in enumerate(GOLDEN[name]["steps"]):
        parts = {
            path: value if isinstance(value, str) else np.array(value) for path, value in step["observation"].items()
        }
        info = {} if step["mask"] is None else {"action_mask": np.array(step["mask"])}
        action = agent.act(unflatten(layout.observation_space, parts), *step["feedback"], info)
        for path, part in flatten(layout.action_space, action).items():
            np.testing.assert_allclose(
                part, step["action"][path], atol=1e-4, err_msg=f"step {number}, element {path!r}"
            )


def test_the_recorded_actions_are_of_many_kinds():
    layouts = {
        name: [np.shape(part) for part in entry["steps"][0]["action"].values()] for name, entry in GOLDEN.items()
    }
    assert len({str(shapes) for shapes in layouts.values()}) >= 4
    assert all(len({str(step["action"]) for step in entry["steps"]}) > 1 for entry in GOLDEN.values())
