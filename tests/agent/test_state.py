"""A history that survives the process: what is saved, and what is refused."""

import pickle

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete

from ldm_hf import LDMAgent, LDMForActionPrediction, LDMProcessor
from ldm_hf.errors import CheckpointError, UnwritableError

from ..model.test_backbones import config_of
from ..toys import ACTION, NEXT_STEP, OBSERVATION, Recorder, Toy, assert_same_actions, moves, toys


def check_goes_on(make_agent, path, steps=25, more=25):
    """An agent made anew chooses what the agent whose state it loads would have chosen."""
    first, second = make_agent(), make_agent()
    rng = np.random.default_rng(0)
    OBSERVATION.seed(0)

    def act(agents):
        observation = OBSERVATION.sample()
        feedback = (rng.normal(), bool(rng.random() < 0.1), bool(rng.random() < 0.1))
        return [agent.act(observation, *feedback) for agent in agents]

    for _ in range(steps):
        act([first])
    first.save_state(path)
    second.load_state(path)
    pairs = [act([first, second]) for _ in range(more)]
    assert_same_actions(*zip(*pairs, strict=True))
    for name, array in first.state.arrays().items():
        assert np.array_equal(array, second.state.arrays()[name]), name


@pytest.mark.parametrize("environment", ["Toy-v0", None], ids=["known", "unknown"])
@pytest.mark.parametrize("steps", [0, 25])
def test_another_agent_goes_on(knowing, tmp_path, monkeypatch, environment, steps):
    monkeypatch.setattr("ldm_hf.cache_ldm.REBASE_INTERVAL", 20)
    spaces, options = (OBSERVATION, ACTION), {"environment": environment, "deterministic": False, "seed": 3}
    check_goes_on(lambda: LDMAgent(*knowing, spaces, **options), tmp_path / "states" / "one", steps)


@pytest.mark.parametrize("kind", ["lfm2", "mamba2"])
def test_states_of_layers_without_attention_are_kept(tmp_path, kind):
    model = LDMForActionPrediction(config_of(kind)).eval()
    processor = LDMProcessor.from_config(model.config)
    check_goes_on(lambda: LDMAgent(model, processor, (OBSERVATION, ACTION)), tmp_path / "state")


def test_keys_of_half_the_precision_are_kept(model, processor, tmp_path):
    model = model.to(torch.bfloat16)
    check_goes_on(lambda: LDMAgent(model, processor, (OBSERVATION, ACTION)), tmp_path / "state")


def test_lanes_that_end_one_by_one_go_on(knowing, tmp_path):
    """With NEXT_STEP autoreset, it counts which lanes' last action was not executed."""
    model, _ = knowing
    envs = [toys(NEXT_STEP) for _ in range(2)]
    logits = []
    for env, split in zip(envs, (False, True), strict=True):
        agent = LDMAgent(*knowing, env, environment="Toy-v0")
        game = moves(agent, env)
        with Recorder(model, 3) as recorder:
            for number in range(40):
                next(game)
                if split and number % 7 == 6:
                    agent.save_state(tmp_path / "state")
                    agent.reset()
                    agent.load_state(tmp_path / "state")
        logits.append(torch.stack(recorder.logits))
    assert torch.equal(*logits)


def test_a_state_of_something_else_is_refused_and_nothing_forgotten(knowing, tmp_path):
    model, processor = knowing
    agent = LDMAgent(model, processor, Toy(), environment="Toy-v0")
    agent.act(OBSERVATION.sample())
    agent.save_state(tmp_path / "state")
    torch.manual_seed(1)
    others = {
        "model": LDMAgent(LDMForActionPrediction(model.config).eval(), processor, Toy(), environment="Toy-v0"),
        "environment": LDMAgent(model, processor, (OBSERVATION, ACTION)),
        "lanes": LDMAgent(model, processor, (OBSERVATION, ACTION), environment="Toy-v0", num_envs=2),
        "task": LDMAgent(model, processor, (OBSERVATION, ACTION), environment="Toy-v0", task="pull it"),
    }
    for name, other in others.items():
        before = other.state
        with pytest.raises(CheckpointError, match=f"an agent whose {name} is"):
            other.load_state(tmp_path / "state")
        assert other.state is before


def test_a_state_of_other_spaces_or_statistics_is_refused(knowing, tmp_path):
    spaces = (OBSERVATION, ACTION)
    LDMAgent(*knowing, spaces).save_state(tmp_path / "unknown")
    LDMAgent(*knowing, spaces, environment="Toy-v0").save_state(tmp_path / "known")
    other = LDMAgent(*knowing, spaces, environment="Toy-v0")
    other.layout.mean = other.layout.mean + 1
    for agent, path in ((LDMAgent(*knowing, (OBSERVATION, Discrete(7))), "unknown"), (other, "known")):
        with pytest.raises(CheckpointError, match="an agent whose spaces and statistics is"):
            agent.load_state(tmp_path / path)


def test_a_damaged_state_is_refused(knowing, tmp_path):
    agent = LDMAgent(*knowing, Toy(), environment="Toy-v0")
    agent.act(OBSERVATION.sample())
    path = tmp_path / "state"
    agent.save_state(path)
    good, before = path.read_bytes(), agent.state
    rng = np.random.default_rng(0)
    spoiled = [b"", good[:-1], pickle.dumps({"a": 1})]
    for at in rng.integers(len(good), size=300):
        spoiled.append(good[:at] + bytes([good[at] ^ int(rng.integers(1, 256))]) + good[at + 1 :])
    for content in spoiled:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="state"):
            agent.load_state(path)
    with pytest.raises(CheckpointError, match="nowhere is no state"):
        agent.load_state(tmp_path / "nowhere")
    assert agent.state is before


def test_a_state_that_cannot_be_written_leaves_the_old_one(knowing, tmp_path):
    agent = LDMAgent(*knowing, Toy(), environment="Toy-v0")
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match="choose a place that can"):
        agent.save_state(tmp_path / "file" / "state")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
