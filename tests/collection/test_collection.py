"""Collection: labels, perturbations, interruption, failures and what is told about the data."""

import errno
import json
import os
from dataclasses import replace
from pathlib import Path

import gymnasium
import numpy as np
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces

import ldm_hf.collection.collecting
from ldm_hf.collection import Plan, collect
from ldm_hf.collection.collecting import LADDER, collect_environment
from ldm_hf.environments import EnvironmentSpec, get_spec, make
from ldm_hf.errors import CheckpointError, DatasetError, EnvironmentFailure, LDMError
from ldm_hf.references import Reference, known_scores, load_reference, reference_scores
from ldm_hf.rollouts import HELD_OUT_SEED, RandomPolicy, ReferencePolicy, rollout
from ldm_hf.spaces import space_to_json
from ldm_hf.trajectories import open_dataset, writer
from ldm_hf.utils.parallel import run_tasks

from ..recorded import record_episode


class Balance(Reference):
    """A good reference for CartPole-v1."""

    def act(self, env, observation, info):
        return np.int64(observation[2] + 0.5 * observation[3] > 0)


class Fall(Reference):
    """Worse than random in CartPole-v1."""

    def act(self, env, observation, info):
        return np.int64(0)


class Confused(Balance):
    """Fails in the episode of seed 1."""

    def act(self, env, observation, info):
        if env.get_wrapper_attr("seed") == 1:
            raise KeyError("no plan")
        return super().act(env, observation, info)


class Flaky(gymnasium.Wrapper):
    """CartPole-v1 that fails in the episode of a seed."""

    def __init__(self, broken_seed: int | None = None, call: str = "step", render_mode: str | None = None) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        self.broken_seed, self.call = broken_seed, call

    def reset(self, *, seed=None, options=None):
        self.seed, self.steps = seed, 0
        if self.call == "reset" and seed == self.broken_seed:
            raise RuntimeError("no connection")
        return self.env.reset(seed=seed, options=options)

    def step(self, action):
        self.steps += 1
        if self.seed == self.broken_seed and self.steps > 4:
            if self.call == "die":
                os._exit(3)  # as a library that crashes the process
            raise ZeroDivisionError("bad physics")
        return self.env.step(action)


class NewSpaces(gymnasium.Wrapper):
    """CartPole-v1 that makes its spaces anew in every reset, as highway-env does."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))

    def reset(self, **kwargs):
        self.action_space = spaces.Discrete(2)
        return self.env.reset(**kwargs)


class OneBuffer(gymnasium.Wrapper):
    """CartPole-v1 that writes all observations into the same array."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(gymnasium.make("CartPole-v1"))
        self.buffer = np.zeros(4, np.float32)

    def reset(self, **kwargs):
        self.buffer[:], info = self.env.reset(**kwargs)
        return self.buffer, info

    def step(self, action):
        self.buffer[:], *rest = self.env.step(action)
        return self.buffer, *rest


for environment in (Flaky, NewSpaces, OneBuffer):
    gymnasium.register(f"TestCollection{environment.__name__}-v0", entry_point=environment, max_episode_steps=40)

POLE = replace(get_spec("CartPole-v1"), max_episode_steps=40)
LAKE = replace(get_spec("FrozenLake-v1"), episodes=40)


def own(environment: type, reference: type = Balance, **kwargs) -> EnvironmentSpec:
    return EnvironmentSpec(
        environment.__name__,
        f"{__name__}:TestCollection{environment.__name__}-v0",  # worker processes import this module first
        kwargs=kwargs,
        reference=f"{__name__}:{reference.__name__}",
    )


@pytest.fixture()
def plan(tmp_path) -> Plan:
    return Plan(str(tmp_path / "data"), str(tmp_path / "references"), steps=300)


def elsewhere(plan: Plan, tmp_path: Path, **changes) -> Plan:
    return replace(plan, folder=str(tmp_path / "elsewhere"), **changes)


def episodes(plan: Plan, spec: EnvironmentSpec) -> list[dict]:
    """The rows of all shards."""
    return [row for path in writer.shards(Path(plan.folder) / spec.name) for row in pq.read_table(path).to_pylist()]


# --- what is recorded ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("spec", [POLE, LAKE], ids=lambda spec: spec.name)
def test_labels_are_the_actions_of_the_reference_also_where_others_were_executed(spec, plan):
    collect_environment(spec, replace(plan, steps=900))
    reference, env = load_reference(spec, "nowhere"), make(spec)
    foreign = {share: [] for share in LADDER}
    for index, episode in enumerate(episodes(plan, spec)):
        labels = [reference.act(env, np.array(row, np.float32), {}) for row in episode["observation"]]
        assert episode["label"] == labels
        foreign[LADDER[index % 3]] += [a != b for a, b in zip(episode["action"], labels, strict=True)]
    assert not any(foreign[0.0])
    other = 1 - 1 / env.action_space.n  # a foreign action can be the label by chance
    for share in LADDER[1:]:
        assert 0.4 * share * other < np.mean(foreign[share]) < 1.6 * share * other


def test_the_rungs_of_the_ladder_come_in_turn(plan):
    collect_environment(POLE, plan)
    behaviours = [episode["behaviour"] for episode in episodes(plan, POLE)]
    assert len(behaviours) > 6
    expected = ["clean", "perturbed-0.1", "perturbed-0.3"]
    assert behaviours == [expected[index % 3] for index in range(len(behaviours))]


def test_behaviours_improve_again_and_again_while_labels_stay_the_references(plan):
    plan = replace(plan, steps=700, improving=4)
    collect_environment(LAKE, plan)
    rows, reference, env = episodes(plan, LAKE), load_reference(LAKE, "nowhere"), make(LAKE)
    expected = ["random", "perturbed-0.667", "perturbed-0.333", "clean"]
    assert [row["behaviour"] for row in rows] == [expected[index % 4] for index in range(len(rows))]
    agree = {name: [] for name in expected}
    for row in rows:
        labels = [reference.act(env, observation, {}) for observation in row["observation"]]
        assert row["label"] == labels
        agree[row["behaviour"]] += [a == b for a, b in zip(row["action"], labels, strict=True)]
    chance, *_, best = shares = [np.mean(agree[name]) for name in expected]
    assert shares == sorted(shares) and best == 1 and chance == pytest.approx(1 / env.action_space.n, abs=0.12)
    told = json.loads((Path(plan.folder) / LAKE.name / "environment.json").read_text())["collection"]
    assert told["foreign_actions"] == [1.0, 0.667, 0.333, 0.0]
    with pytest.raises(LDMError, match="improving is 1"):
        replace(plan, improving=1)


def test_executed_actions_and_rewards_are_those_of_the_environment(plan):
    collect_environment(POLE, plan)
    env = make(POLE)
    for episode in episodes(plan, POLE):
        observation, _ = env.reset(seed=episode["seed"])
        for step, action in enumerate(episode["action"]):
            assert episode["observation"][step] == observation.tolist()
            observation, *outcome, _ = env.step(action)
            assert outcome == [episode[key][step] for key in ("reward", "terminated", "truncated")]
        assert outcome[1] or outcome[2]  # whole episodes
    assert [episode["seed"] for episode in episodes(plan, POLE)] == list(range(len(episodes(plan, POLE))))


def test_continuous_actions_get_noise_and_stay_inside_their_bounds(plan):
    spec = replace(get_spec("Pendulum-v1"), max_episode_steps=60)
    env, reference = make(spec), load_reference(spec, "nowhere")
    distances = []
    for share in LADDER:
        episode = record_episode(env, reference, 1, share)
        for role in ("action", "label"):
            assert all(env.action_space.contains(row) for row in episode[role][""])
        distances.append(np.abs(episode["action"][""] - episode["label"][""]).mean())
    assert distances[0] == 0 < distances[1] < distances[2]


def test_the_reference_is_told_of_actions_that_it_did_not_choose():
    class Spy(Balance):
        told = []

        def executed(self, action):
            self.told.append(int(action))

    reference = Spy(None)
    clean = record_episode(make(POLE), reference, 0, 0.0)
    assert len(clean["reward"]) == 40 and reference.told == []
    episode = record_episode(make(POLE), reference, 0, 1.0)
    different = [int(a) for a, b in zip(episode["action"][""], episode["label"][""], strict=True) if a != b]
    assert different and len(reference.told) >= len(different)


def test_an_environment_may_reuse_its_observation_array():
    spec = own(OneBuffer)
    found = record_episode(make(spec), Balance(None), 3, 0.0)["observation"][""]
    expected = record_episode(make(POLE), Balance(None), 3, 0.0)["observation"][""]
    np.testing.assert_array_equal(found, expected)


# --- seeds, interruption, continuation -------------------------------------------------------------------------------


def test_data_follow_from_the_seed(plan, tmp_path):
    for current in (plan, elsewhere(plan, tmp_path)):
        collect_environment(POLE, current)
    assert episodes(plan, POLE) == episodes(elsewhere(plan, tmp_path), POLE)
    other = replace(plan, folder=str(tmp_path / "other"), seed=1000)
    collect_environment(POLE, other)
    assert episodes(other, POLE)[0]["seed"] == 1000
    assert episodes(other, POLE)[0]["observation"] != episodes(plan, POLE)[0]["observation"]


def test_data_follow_from_the_seed_where_a_reset_makes_new_spaces(plan, tmp_path):
    spec = own(NewSpaces)
    for current in (plan, elsewhere(plan, tmp_path)):
        collect_environment(spec, current)
    assert episodes(plan, spec) == episodes(elsewhere(plan, tmp_path), spec)


@pytest.mark.parametrize("call", ["step", "reset"])
def test_interrupted_and_continued_is_the_same_as_uninterrupted(plan, tmp_path, call):
    broken, whole = own(Flaky, broken_seed=4, call=call), own(Flaky)
    failure = collect([broken], plan, progress=False)["Flaky"]
    cause = "bad physics" if call == "step" else "no connection"
    assert isinstance(failure, EnvironmentFailure)
    for part in ("environment Flaky failed in", call, "seed 4", cause):
        assert part in str(failure)
    kept = episodes(plan, whole)
    assert [episode["seed"] for episode in kept] == [0, 1, 2, 3]
    assert "| Flaky |" in (Path(plan.folder) / "README.md").read_text()
    assert collect([whole], plan, progress=False) == {}
    collect_environment(whole, elsewhere(plan, tmp_path))
    assert len(writer.shards(Path(plan.folder) / "Flaky")) == 2
    assert episodes(plan, whole) == episodes(elsewhere(plan, tmp_path), whole)
    assert episodes(plan, whole)[:4] == kept


def test_progress_counts_every_step_once_also_when_continued(plan):
    told = []
    broken, whole = own(Flaky, broken_seed=4), own(Flaky)
    for spec in (broken, whole, whole):
        told.append([])
        list(run_tasks(collect_environment, {"Flaky": (spec, plan)}, on_progress=told[-1].append))
        told[-1] = [amount for amount in told[-1] if amount]  # zeros only say that something is going on
    assert 0 < sum(told[0]) < 300 and len(told[0]) == 4
    assert sum(told[1]) == 300 and told[1][0] == sum(told[0])
    assert told[2] == [300]


def test_a_finished_environment_is_not_even_made(plan, monkeypatch):
    info = collect_environment(POLE, plan)
    before = episodes(plan, POLE)

    def refuse(*args):
        raise AssertionError("made")

    monkeypatch.setattr(ldm_hf.collection.collecting, "make", refuse)
    assert collect_environment(POLE, plan) == info
    assert collect([POLE], plan, progress=False) == {}
    assert episodes(plan, POLE) == before
    with pytest.raises(AssertionError, match="made"):
        collect_environment(POLE, replace(plan, steps=10_000))


def test_slow_environments_get_fewer_steps(plan):
    slow = replace(POLE, max_steps=60)
    collect_environment(slow, plan)
    lengths = [len(episode["reward"]) for episode in episodes(plan, POLE)]
    assert sum(lengths) >= 60 > sum(lengths[:-1])


@pytest.mark.slow
def test_processes_collect_the_same(plan, tmp_path):
    other = elsewhere(plan, tmp_path)
    failing = own(Flaky, broken_seed=2)
    alone = collect([POLE, failing, LAKE], plan, jobs=1, progress=False)
    parallel = collect([POLE, failing, LAKE], other, jobs=2, progress=False)
    assert str(alone["Flaky"]) == str(parallel["Flaky"])
    assert list(alone) == list(parallel) == ["Flaky"]
    for spec in (POLE, LAKE, failing):
        assert episodes(plan, spec) == episodes(other, spec)
        infos = [(Path(p.folder) / spec.name / "environment.json").read_text() for p in (plan, other)]
        assert infos[0] == infos[1]


# --- what is told about the data -------------------------------------------------------------------------------------


def test_the_environment_is_described(plan):
    spec = replace(LAKE, kwargs={"map_name": "4x4"})
    info = collect_environment(spec, plan)
    told = json.loads((Path(plan.folder) / "FrozenLake-v1" / "environment.json").read_text())
    env = make(spec)
    expected = {
        "name": "FrozenLake-v1",
        "env_id": "FrozenLake-v1",
        "kwargs": {"map_name": "4x4"},
        "library": "gymnasium",
        "version": gymnasium.__version__,
        "licence": "MIT",
        "domain": "toy_text",
        "task": spec.task,
        "reference": "tabular",
        "observation_space": space_to_json(env.observation_space),
        "action_space": space_to_json(env.action_space),
    }
    assert expected.items() <= told.items()
    assert told["scores"] == info.scores
    assert told["versions"]["gymnasium"] == gymnasium.__version__ and "torch" in told["versions"]
    assert told["collection"] == {"seed": 0, "foreign_actions": list(LADDER), "mean_burst": 3}


def test_scores_are_measured_on_held_out_seeds(plan):
    scores = collect_environment(LAKE, plan, lambda: load_reference(LAKE, "nowhere")).scores
    policies = {"random": RandomPolicy(), "reference": ReferencePolicy(lambda: load_reference(LAKE, "nowhere"))}
    for label, policy in policies.items():
        expected = rollout(lambda: make(LAKE), policy, 40, HELD_OUT_SEED, num_envs=1)
        assert scores[label]["returns"] == expected.tolist()
        assert (scores[label]["episodes"], scores[label]["seed"]) == (40, HELD_OUT_SEED)
        assert scores[label]["mean"] == pytest.approx(expected.mean())
    assert max(episode["seed"] for episode in episodes(plan, LAKE)) < HELD_OUT_SEED


def test_scores_that_are_known_are_not_measured_again(plan, monkeypatch):
    told = reference_scores()["FrozenLake-v1"]
    scores = collect_environment(LAKE, plan).scores
    assert {label: scores[label]["mean"] for label in scores} == {
        label: told[label]["mean"] for label in ("random", "reference")
    }
    assert {(score["episodes"], score["seed"]) for score in scores.values()} == {(told["episodes"], HELD_OUT_SEED)}
    assert known_scores(replace(LAKE, kwargs={"is_slippery": False}), "nowhere") is None  # another environment
    assert known_scores(replace(LAKE, reference="constant"), "nowhere") is None  # another policy


def test_the_data_can_be_opened(plan):
    assert collect([POLE, LAKE], plan, progress=False) == {}
    streams = open_dataset(plan.folder)
    assert set(streams) == {"CartPole-v1", "FrozenLake-v1"}
    for spec in (POLE, LAKE):
        rows = episodes(plan, spec)
        assert streams[spec.name].num_episodes == len(rows)
        np.testing.assert_allclose(streams[spec.name].episode_returns(), [sum(row["reward"]) for row in rows])


# --- failures --------------------------------------------------------------------------------------------------------


def test_a_reference_that_is_not_better_than_random_is_an_error(plan):
    spec = own(Flaky, Fall)
    with pytest.raises(LDMError, match=r"environment Flaky: its reference policy .* is not better than random"):
        collect_environment(spec, plan)
    assert not (Path(plan.folder) / "Flaky").exists()  # no data with worthless labels


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        (own(Flaky, broken_seed=0, call="reset"), ("failed in reset", "RuntimeError: no connection")),
        (own(Flaky, broken_seed=0, call="step"), ("failed in step", "ZeroDivisionError: bad physics")),
        (own(Flaky, broken_seed=HELD_OUT_SEED + 1), ("failed in step", "bad physics")),
        (own(Flaky, Confused), ("failed in its reference policy", "KeyError: 'no plan'")),
        (own(Flaky, nonsense=1), ("failed in make", "nonsense")),
    ],
    ids=["reset", "step", "while it is scored", "reference", "make"],
)
def test_an_environment_that_fails_is_named_and_others_go_on(plan, spec, parts):
    failures = collect([spec, POLE], plan, progress=False)
    assert list(failures) == ["Flaky"]
    assert isinstance(failures["Flaky"], EnvironmentFailure) and failures["Flaky"].name == "Flaky"
    for part in ("environment Flaky", *parts):
        assert part in str(failures["Flaky"])
    assert sum(len(episode["reward"]) for episode in episodes(plan, POLE)) >= 300
    assert "CartPole-v1" in (Path(plan.folder) / "README.md").read_text()


def test_a_reference_that_was_not_trained_is_reported(plan):
    failures = collect([replace(POLE, name="Untrained", reference="rl"), POLE], plan, progress=False)
    assert isinstance(failures["Untrained"], CheckpointError)
    assert "ldm reference --ids Untrained" in str(failures["Untrained"])


def test_failures_are_returned_also_where_nothing_was_collected(plan):
    failures = collect([own(Flaky, nonsense=1)], plan, progress=False)
    assert list(failures) == ["Flaky"]


@pytest.mark.slow
def test_a_crash_of_the_process_is_a_failure_of_its_environment_alone(plan):
    others = [replace(POLE, name=f"Pole{index}") for index in range(4)]  # some run, some wait when it happens
    failures = collect([own(Flaky, broken_seed=0, call="die"), *others], plan, jobs=2, progress=False)
    assert list(failures) == ["Flaky"]
    assert isinstance(failures["Flaky"], EnvironmentFailure) and "its process" in str(failures["Flaky"])
    for spec in others:
        assert sum(len(episode["reward"]) for episode in episodes(plan, spec)) >= 300


def test_a_full_disk_keeps_earlier_shards_and_can_be_continued(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_STEPS", 100)
    real, calls = pq.write_table, []

    def fill(table, file, **kwargs):
        calls.append(table.num_rows)
        if len(calls) == 2:
            file.write(b"half a shard")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(table, file, **kwargs)

    monkeypatch.setattr(pq, "write_table", fill)
    with pytest.raises(DatasetError, match=r"CartPole-v1: .*No space left.*1 shard\(s\) written before are kept"):
        collect_environment(POLE, plan)
    assert len(calls) == 2  # nothing more was tried
    folder = Path(plan.folder) / "CartPole-v1"
    assert sorted(path.name for path in folder.iterdir()) == ["environment.json", "train-00000.parquet"]
    assert len(episodes(plan, POLE)) == calls[0] > 0
    collect_environment(POLE, plan)
    collect_environment(POLE, elsewhere(plan, tmp_path))
    assert episodes(plan, POLE) == episodes(elsewhere(plan, tmp_path), POLE)


def test_data_of_other_spaces_are_not_continued(plan):
    collect_environment(POLE, plan)
    other = replace(LAKE, name="CartPole-v1")
    with pytest.raises(DatasetError, match=r"another observation space .*Choose another folder"):
        collect_environment(other, replace(plan, steps=1000))
    assert len(episodes(plan, POLE)[0]["observation"][0]) == 4


def test_a_damaged_shard_is_named(plan):
    collect_environment(POLE, plan)
    path = writer.shards(Path(plan.folder) / "CartPole-v1")[0]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DatasetError, match=r"train-00000\.parquet is damaged"):
        collect_environment(POLE, plan)
