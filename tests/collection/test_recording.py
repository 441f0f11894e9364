"""Recording: lock step changes nothing, and a model can act while the reference labels (DAgger)."""

import json
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm_hf import LDMAgent, LDMProcessor
from ldm_hf.collection import Plan, collect
from ldm_hf.collection.actors import Perturbed, Student
from ldm_hf.collection.collecting import LANES, collect_environment
from ldm_hf.collection.recording import LabelledLane, record
from ldm_hf.environments import get_spec, make
from ldm_hf.errors import CheckpointError, EnvironmentFailure
from ldm_hf.references import Reference
from ldm_hf.trajectories import open_dataset, validate, writer

POLE = replace(get_spec("CartPole-v1"), max_episode_steps=40)
PENDULUM = replace(get_spec("Pendulum-v1"), max_episode_steps=30)


class Balance(Reference):
    """A good reference for CartPole-v1 that counts how it was asked."""

    def __init__(self, env=None):
        self.asked = []

    def act(self, env, observation, info):
        self.asked.append(np.ndim(observation))
        return np.int64(observation[..., 2] + 0.5 * observation[..., 3] > 0)


class Vectorised(Balance):
    """The same for several environments at once."""

    vectorised = True

    def act(self, env, observation, info):
        super().act(env, observation, info)
        return (observation[..., 2] + 0.5 * observation[..., 3] > 0).astype(np.int64)


def lanes(count, reference=Balance, spec=POLE):
    shared = reference()
    return [
        LabelledLane(make(spec), shared if reference is Vectorised else reference(), spec.name) for _ in range(count)
    ]


def same(left, right):
    """Are two lists of recorded episodes equal?"""
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            for path in value if isinstance(value, dict) else [None]:
                first, second = (value, other[key]) if path is None else (value[path], other[key][path])
                np.testing.assert_array_equal(first, second, err_msg=key)
    return True


# --- lock step -------------------------------------------------------------------------------------------------------


@settings(max_examples=12)
@given(st.integers(2, 6), st.integers(1, 400), st.sampled_from([Balance, Vectorised]))
def test_lanes_change_nothing(count, target, reference):
    alone = list(record(lanes(1), Perturbed(), 5, target))
    together = list(record(lanes(count, reference), Perturbed(), 5, target))
    assert same(alone, together)
    lengths = [len(episode["reward"]) for episode in alone]
    assert sum(lengths[:-1]) < target <= sum(lengths)
    assert [episode["seed"] for episode in alone] == list(range(5, 5 + len(alone)))


def test_a_vectorised_reference_is_asked_once_a_step():
    several = lanes(3, Vectorised)
    list(record(several, Perturbed((0.0,)), 0, 3 * 40))
    asked = several[0].reference.asked
    assert len(asked) == 40 and set(asked) == {2}


# --- a student acts --------------------------------------------------------------------------------------------------


@pytest.fixture()
def student(tiny, tmp_path):
    """A folder with an untrained model that knows the pole."""
    folder, env = tmp_path / "student", make(POLE)
    processor = LDMProcessor.from_config(tiny[0].config)
    statistics = {"observation": {"": {"mean": np.zeros(4), "std": np.ones(4)}}, "reward": {"mean": 1.0, "std": 1.0}}
    processor.add_environment("CartPole-v1", env.observation_space, env.action_space, statistics, POLE.task)
    tiny[0].save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture()
def plan(student, tmp_path):
    return Plan(str(tmp_path / "data"), str(tmp_path / "references"), steps=400, student=student, mix=0.5)


def elsewhere(plan, name, **changes):
    return replace(plan, folder=str(Path(plan.folder).parent / name), **changes)


def rows(plan, name="CartPole-v1"):
    return [row for path in writer.shards(Path(plan.folder) / name) for row in pq.read_table(path).to_pylist()]


def collected(plan, spec=POLE):
    collect_environment(spec, plan, Balance)
    return rows(plan, spec.name)


def test_what_a_student_did_is_a_valid_dataset(plan):
    collect_environment(POLE, plan, Balance)
    findings = validate(plan.folder, progress=False)
    assert not [finding for finding in findings if finding.level == "error"], findings


def test_labels_are_the_reference_s_while_the_student_acts(plan):
    reference = Balance()
    for row in collected(plan):
        assert row["label"] == [reference.act(None, np.array(seen, np.float32), {}) for seen in row["observation"]]
        assert row["behaviour"] == "student-0.5"
        env = make(POLE)
        assert env.reset(seed=row["seed"])[0].tolist() == row["observation"][0]
        for step, action in enumerate(row["action"][:-1]):
            assert env.step(action)[0].tolist() == row["observation"][step + 1]


@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
def test_the_mix_is_how_often_the_reference_acts(plan, mix):
    found = collected(replace(plan, mix=mix))
    helped = np.mean([a == b for row in found for a, b in zip(row["action"], row["label"], strict=True)])
    if mix == 1:
        assert helped == 1 and all(len(row["reward"]) == 40 for row in found)
    else:  # the untrained student agrees with the reference in about half of the steps
        assert mix + 0.2 * (1 - mix) < helped < mix + 0.8 * (1 - mix)


def test_the_student_acts_as_in_training_on_what_was_executed(tiny, plan):
    """The model, fed with the recorded episode as a segment, chooses what the student did wherever nobody helped it."""
    collected(plan)
    stream = open_dataset(plan.folder)["CartPole-v1"]
    processor = LDMProcessor.from_pretrained(plan.student)
    layout, checked = processor.layout("CartPole-v1"), 0
    for start, stop in zip(stream.episode_starts[:-1], stream.episode_starts[1:], strict=True):
        steps = stream.slice(start, stop)
        with torch.inference_mode():
            logits = tiny[0](**processor([layout.encode_segment(steps)])).logits
        own = logits.reshape(len(steps["reward"]), -1)[:, :2].argmax(-1).numpy()
        alone = steps["action"][""] != steps["label"][""]
        np.testing.assert_array_equal(steps["action"][""][alone], own[alone])
        checked += alone.sum()
    assert checked > 50


def test_continuous_actions_of_the_reference_enter_the_history(tiny):
    env = make(PENDULUM)
    agent = LDMAgent(*tiny, (env.observation_space, env.action_space), num_envs=1)

    class Push(Reference):
        def __init__(self):
            self.told = []

        def act(self, env, observation, info):
            return np.array([1.0], np.float32)

        def executed(self, action):
            self.told.append(action)

    lane, pushed = LabelledLane(env, Push(), "Pendulum-v1"), []
    actor = Student(agent, (0.5,))
    act = actor.act

    def spy(lanes, labels):
        actions = act(lanes, labels)
        pushed.append((actions[0] is labels[0], agent.layout.actions.decode(agent.state.positions)[""][0]))
        np.testing.assert_allclose(pushed[-1][1], actions[0], atol=1e-5)
        return actions

    actor.act = spy
    list(record([lane], actor, 0, 30))
    helped = [by_reference for by_reference, _ in pushed]
    assert 5 < sum(helped) < 25
    assert len(lane.reference.told) == 30 - sum(helped)  # it hears of the actions that were not its own


def test_a_student_s_data_follow_from_the_seed_also_when_interrupted(plan):
    whole = collected(plan)
    assert collected(elsewhere(plan, "again")) == whole
    parts = elsewhere(plan, "parts", steps=150)
    assert 0 < len(collected(parts)) < len(whole)
    assert collected(replace(parts, steps=400)) == whole


def test_a_student_is_helped_more_and_more(plan):
    found = collected(replace(plan, improving=3))
    expected = ["student-0", "student-0.5", "student-1"]
    assert [row["behaviour"] for row in found] == [expected[index % 3] for index in range(len(found))]
    assert len(found) > 2 and all(row["action"] == row["label"] for row in found[2::3])


def test_a_student_goes_on_where_the_reference_has_acted(plan):
    before = collected(replace(plan, student=None))
    assert collected(replace(plan, student=None)) == before
    found = collected(replace(plan, steps=700))
    assert found[: len(before)] == before
    assert {row["behaviour"] for row in found[len(before) :]} == {"student-0.5"}
    assert [row["seed"] for row in found] == list(range(len(found)))
    collected(replace(plan, steps=900, mix=0.0))
    told = json.loads((Path(plan.folder) / "CartPole-v1" / "environment.json").read_text())["collection"]
    assert told["students"] == [{"model": plan.student, "mix": 0.5}, {"model": plan.student, "mix": 0.0}]
    assert told["foreign_actions"] and told["seed"] == 0


def test_a_student_that_is_not_there_is_an_error_of_every_environment(plan):
    failures = collect([POLE], replace(plan, student=str(Path(plan.folder) / "nowhere")), progress=False)
    assert isinstance(failures["CartPole-v1"], CheckpointError)


def test_an_environment_that_fails_beside_others_is_named():
    class Broken(gymnasium.Wrapper):
        def step(self, action):
            raise ZeroDivisionError("bad physics")

    several = lanes(LANES)
    several[3].env = Broken(several[3].env)
    with pytest.raises(EnvironmentFailure, match=r"CartPole-v1 failed in step \(episode of seed 3\).*bad physics"):
        list(record(several, Perturbed(), 0, 100))
