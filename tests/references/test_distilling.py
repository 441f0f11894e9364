"""Planning in a copy of MuJoCo's state, and networks that are distilled from planners."""

from dataclasses import replace

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import assume, given
from hypothesis import strategies as st

from ldm_hf.environments import get_spec, make
from ldm_hf.errors import CheckpointError, LDMError, UnsupportedSpaceError
from ldm_hf.references import finding, load_reference
from ldm_hf.references.finding import find_reference
from ldm_hf.references.learned import distilling
from ldm_hf.references.learned.algorithms import configurations
from ldm_hf.references.learned.distilling import Distillation, teacher_of
from ldm_hf.references.learned.spaces import Adapter
from ldm_hf.references.learned.states import LABELS
from ldm_hf.references.learned.training import JOURNAL, train_reference
from ldm_hf.references.sampling import PredictiveSampling, simulator
from ldm_hf.rollouts import ReferencePolicy, rollout
from ldm_hf.spaces import flatten

from ..strategies import nested, primitives

FEW = {"horizon": 10, "knots": 3, "samples": 6}


@pytest.mark.parametrize("name", ["InvertedPendulum-v5", "dm-cartpole-balance-v0"])
def test_plans_hold_a_pole_and_leave_the_environment_alone(name):
    env, policy = make(name), PredictiveSampling(make(name), **FEW)
    observation, info = env.reset(seed=1)
    policy.reset(env)
    total, data = 0.0, simulator(env)[1]
    for _ in range(30):
        before = data.qpos.copy(), data.qvel.copy(), data.time
        action = policy.act(env, observation, info)
        assert np.array_equal(before[0], data.qpos) and np.array_equal(before[1], data.qvel) and before[2] == data.time
        observation, reward, terminated, truncated, info = env.step(action)
        total += float(reward)
        assert env.action_space.contains(action) and not terminated and not truncated
    assert total > 25
    env.close()


@pytest.mark.parametrize("name", ["CartPole-v1", "Pendulum-v1"])
def test_without_a_simulator_to_copy_there_is_one_message(name):
    with pytest.raises(LDMError, match=r"in a copy of MuJoCo's state.*choose another policy"):
        PredictiveSampling(make(name))


def test_plans_of_no_length_are_refused():
    with pytest.raises(LDMError, match="horizon=1"):
        PredictiveSampling(make("InvertedPendulum-v5"), horizon=1)


@given(nested(primitives(with_images=False)), st.integers(0, 2**31 - 1))
def test_labels_are_what_a_network_would_have_to_give(space, seed):
    try:
        adapter = Adapter(spaces.Box(-1, 1, (2,)), space)
    except UnsupportedSpaceError:
        assume(False)
    space.seed(seed)
    action = space.sample()
    chosen = adapter.chosen(action)
    assert adapter.action_space.contains(chosen)
    again, once = flatten(space, adapter.action(chosen)), flatten(space, action)
    assert all(np.allclose(again[path], once[path]) for path in once)


def test_a_planner_is_distilled_into_a_network_that_acts_without_it(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "candidates", lambda spec, env: ["rl"])
    monkeypatch.setattr(finding, "SHORTEST_TRAINING", 0.0)
    monkeypatch.setattr(finding, "EPISODES", 5)
    spec = replace(get_spec("InvertedPendulum-v5"), reference=None, max_episode_steps=200)
    record = find_reference(spec, tmp_path, budget=12, learning={"algorithm": "distilled", "target": 190})
    (distilled,) = record.attempts
    assert distilled.method == "distilled" and distilled.training["algorithm"] == "DISTILLED"
    assert distilled.score["mean"] > 100 > record.random["mean"] and record.best is distilled
    policy = load_reference(spec, tmp_path)
    returns = rollout(lambda: make(spec), ReferencePolicy(lambda: policy), 3, 5, num_envs=1)
    assert returns.mean() > 100


def test_a_world_without_a_planner_cannot_be_distilled(tmp_path):
    spec = replace(get_spec("CartPole-v1"), reference=None)
    with pytest.raises(LDMError, match="choose another policy"):
        train_reference(spec, tmp_path, budget=5, learning={"algorithm": "distilled"})


def test_a_planner_cannot_look_into_another_process():
    with pytest.raises(LDMError, match="jumanji runs in a process of its own"):
        teacher_of(get_spec("jumanji-Snake-v1"), make("CartPole-v1"))


class Counting(PredictiveSampling):
    """A planner with few plans, which counts its labels, and is interrupted before one of them."""

    asked, last = 0, None

    def __init__(self, env):
        super().__init__(env, horizon=4, knots=2, samples=2)

    def act(self, env, observation, info):
        if Counting.asked == Counting.last:
            raise KeyboardInterrupt
        Counting.asked += 1
        return super().act(env, observation, info)


@pytest.fixture
def counted(monkeypatch):
    """A row whose planner counts, with episodes of 25 steps: two of them between two trainings."""
    monkeypatch.setattr(Counting, "asked", 0)
    monkeypatch.setattr(Counting, "last", None)
    monkeypatch.setattr(distilling, "teacher_of", lambda spec, env: Counting(env))
    return replace(get_spec("InvertedPendulum-v5"), reference=None, max_episode_steps=25)


def distillation(spec, place):
    env = make(spec)
    adapter = Adapter(env.observation_space, env.action_space)
    (settings,) = configurations(adapter, {"algorithm": "distilled", "net_arch": [16]})
    return Distillation(spec, adapter, settings, 0, place)


def weights(learner):
    return {name: value.numpy().copy() for name, value in learner.policy.state_dict().items()}


def test_an_interrupted_distillation_asks_for_no_label_twice(counted, tmp_path):
    (tmp_path / "whole").mkdir()
    whole = distillation(counted, tmp_path / "whole")
    for _ in range(4):
        whole.learn()
    whole.close()
    assert whole.steps == Counting.asked
    Counting.asked = 0
    first = distillation(counted, tmp_path)
    first.learn()
    first.learn()
    first.close()
    again = distillation(counted, tmp_path)
    again.learn()
    again.learn()
    again.close()
    assert Counting.asked == again.steps == whole.steps
    assert np.array_equal(np.stack(again.labels), np.stack(whole.labels))
    assert all(np.array_equal(value, weights(whole)[name]) for name, value in weights(again).items())


def test_a_killed_training_goes_on_with_its_labels_and_removes_them_at_its_end(counted, tmp_path, monkeypatch):
    learning = {"algorithm": "distilled", "net_arch": [16], "target": 1000}
    Counting.last = 120  # in the middle of the third part
    with pytest.raises(KeyboardInterrupt):
        train_reference(counted, tmp_path, budget=60, learning=learning)
    place = tmp_path / counted.name
    assert {JOURNAL, LABELS} <= {path.name for path in place.iterdir()}
    Counting.last = None
    learnt = []
    learn = Distillation.learn
    monkeypatch.setattr(Distillation, "learn", lambda self: learnt.append(self.steps) or learn(self))
    record = train_reference(counted, tmp_path, budget=4, learning=learning)
    assert learnt[:2] == [120, 150] and record["steps"] <= Counting.asked
    assert {path.name for path in place.iterdir()} == {"policy.json", "policy.safetensors"}


@pytest.mark.parametrize("damage", ["shortened", "another network"])
def test_labels_that_cannot_be_used_are_named(counted, tmp_path, damage):
    learner = distillation(counted, tmp_path)
    learner.learn()
    learner.close()
    path = tmp_path / LABELS
    if damage == "shortened":
        path.write_bytes(path.read_bytes()[:-100])
    else:
        learner.settings["net_arch"] = [8]
    with pytest.raises(CheckpointError, match=r"labels.safetensors is damaged .*remove it, and the training begins"):
        Distillation(counted, learner.adapter, learner.settings, 0, tmp_path)
