"""Reference policies of Atari games: rules by the console's memory, and plans in a copy of the emulator."""

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from ldm_hf.environments import catalogue, get_spec, make
from ldm_hf.errors import LDMError
from ldm_hf.libraries.ale_py.policies import AtariLookAhead
from ldm_hf.libraries.ale_py.policies_emulator import second_emulator
from ldm_hf.libraries.ale_py.policies_rules import reflected
from ldm_hf.references import load_reference
from ldm_hf.references.loading import known_policies, policy_of
from ldm_hf.rollouts import ReferencePolicy, rollout

pytest.importorskip("ale_py")
ROOT = Path(__file__).parents[2]


def spec(game, sticky=0.0, steps=None):
    changes = {"kwargs": {"repeat_action_probability": sticky}} | ({"max_episode_steps": steps} if steps else {})
    return get_spec(f"ALE-{game}-v5").changed(changes)


def begun(game="MsPacman", sticky=0.0):
    env = make(spec(game, sticky))
    env.reset(seed=5)
    return env


def planning(env, **settings):
    policy = AtariLookAhead(env, **({"horizon": 10, "trials": 5} | settings))
    policy.reset(env)
    return policy


@pytest.mark.parametrize("sticky", [0.0, 0.25])
def test_planning_leaves_the_environment_as_it_is(sticky):
    actions = np.random.default_rng(0).integers(9, size=25)
    env = begun(sticky=sticky)
    alone = [env.step(action) for action in actions]
    env.reset(seed=5)
    policy = planning(env)
    for action, (observation, *others) in zip(actions, alone, strict=True):
        assert env.action_space.contains(policy.act(env, None, {}))
        again, *same = env.step(action)
        assert (again == observation).all() and same == others


@pytest.mark.parametrize("sticky", [0.0, 0.25])
def test_a_plan_that_is_followed_does_what_it_has_promised(sticky, monkeypatch):
    env = begun(sticky=sticky)
    policy = planning(env, horizon=20)
    action = policy.act(env, None, {})
    monkeypatch.setattr(policy.plan, "begin", lambda state: pytest.fail("a foreseen state was planned for anew"))
    for _ in range(15):
        env.step(action)
        foreseen = policy.plan.start
        assert foreseen.equals(env.unwrapped.ale.cloneState(include_rng=True))
        action = policy.act(env, None, {})


@pytest.mark.parametrize("game", ["Breakout", "DemonAttack"])
def test_an_emulator_that_is_told_the_last_action_goes_on_as_the_environment_does(game):
    env, rng = begun(game, sticky=0.25), np.random.default_rng(0)
    emulator, last = second_emulator(env), 0
    for _ in range(120):
        action, other = rng.integers(4, size=2)
        state = env.unwrapped.ale.cloneState(include_rng=True)
        emulator.steps(state, last, [other])  # which it would repeat
        (foreseen,) = emulator.steps(state, last, [action])
        env.step(action)
        assert foreseen.state.equals(env.unwrapped.ale.cloneState(include_rng=True))
        last = action


def test_a_plan_is_dropped_where_another_action_was_executed():
    env = begun("Boxing")
    up, down = (env.unwrapped.get_action_meanings().index(meaning) for meaning in ("UP", "DOWN"))
    policy, fresh = planning(env), planning(env)
    env.step(down if policy.act(env, None, {}) == up else up)
    assert not policy.plan.start.equals(env.unwrapped.ale.cloneState(include_rng=True))
    policy.plan.rng, policy.plan.left = np.random.default_rng(0), 0  # as those of the new policy
    assert policy.act(env, None, {}) == fresh.act(env, None, {})
    assert [step.action for step in policy.plan.steps] == [step.action for step in fresh.plan.steps]


def test_plans_score_more_than_random_actions():
    totals = []
    for planned in (False, True):
        env = begun("MsPacman")
        for _ in range(66):  # a tune is played first
            env.step(0)
        policy = planning(env, horizon=20, trials=5)
        env.action_space.seed(0)
        actions = (policy.act(env, None, {}) if planned else env.action_space.sample() for _ in range(50))
        totals.append(sum(env.step(action)[1] for action in actions))
    assert totals[1] > 1.5 * totals[0] > 0


PLANNERS = [
    name for name, policy in known_policies().items() if name.startswith("atari_") and policy.method == "planner"
]


@pytest.mark.parametrize("name", PLANNERS)
def test_without_an_emulator_there_is_one_clear_message(name):
    env = gymnasium.make("CartPole-v1")
    settings = {"places": [(0, 1)]} if name == "atari_search" else {}
    with pytest.raises(LDMError, match=r"CartPole-v1.*no `ale` to copy; use it for rows of ale-py"):
        known_policies()[name](env, **settings).reset(env)


def test_a_policy_of_one_game_is_not_tried_in_another():
    env = begun("Alien")
    fitting = {name for name, policy in known_policies().items() if policy.fits(env)}
    assert fitting == {"atari_look_ahead", "constant"}


@pytest.mark.parametrize(("place", "where"), [(50, 50), (46, 46), (40, 52), (210, 202), (46 + 320, 46), (-300, 72)])
def test_walls_reflect(place, where):
    assert reflected(place, 46, 206) == where


@pytest.mark.parametrize(
    ("game", "steps", "score"), [("Skiing", None, -5000), ("Bowling", None, 161), ("Breakout", 400, 1)]
)
def test_rules_by_memory_play_well(game, steps, score):
    row = spec(game, steps=steps)
    policy = ReferencePolicy(lambda: load_reference(row, "nowhere"))
    assert rollout(lambda: make(row), policy, 1, num_envs=1).mean() >= score


def test_named_references_are_better_than_random_where_the_suite_has_measured_them():
    recorded = json.loads((ROOT / "docs/results/suites/jat-references.json").read_text())["tasks"]
    named = [row.name for row in catalogue().values() if row.library == "ale-py" and row.reference]
    measured = [recorded[name] for name in named if name in recorded and recorded[name]["score"] is not None]
    assert len(measured) > 15
    assert all(task["score"] > task["random"] for task in measured)


def test_a_look_ahead_crosses_the_road_at_least_as_often_as_going_straight_on():
    totals = {}
    for name in ("atari_freeway", "atari_freeway_crossing"):
        env = make("ALE-Freeway-v5")
        policy = policy_of("ALE-Freeway-v5", name)(env)
        observation, info = env.reset(seed=5)
        policy.reset(env)
        totals[name] = 0.0
        for _ in range(160):
            observation, reward, *_, info = env.step(policy.act(env, observation, info))
            totals[name] += float(reward)
        env.close()
    assert totals["atari_freeway_crossing"] >= max(2, totals["atari_freeway"])
