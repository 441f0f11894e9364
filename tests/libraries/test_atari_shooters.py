"""Rules for Atari games in which something is shot, and how a look ahead guards them."""

import numpy as np
import pytest

from ldm_hf.environments import get_spec, make
from ldm_hf.libraries.ale_py.policies_shooters import AtariGuardedRule, column
from ldm_hf.references.loading import policy_of

pytest.importorskip("ale_py")
SCORES = {
    "Assault": (300, 84),
    "Atlantis": (300, 3000),
    "DemonAttack": (400, 60),
    "Gopher": (500, 150),
    "NameThisGame": (400, 150),
    "Seaquest": (400, 100),
}
"""Steps, and what a rule scores in them at least."""


class AlwaysFire(AtariGuardedRule):
    def choose(self, memory, before):
        return "FIRE"


def begun(game, sticky=0.0):
    env = make(get_spec(f"ALE-{game}-v5").changed({"kwargs": {"repeat_action_probability": sticky}}))
    return env, *env.reset(seed=5)


def played(game, policy, steps, sticky=0.0):
    """The score after some steps, and the lives that were lost."""
    env, observation, info = begun(game, sticky)
    policy = policy(env)
    policy.reset(env)
    lives, score = env.unwrapped.ale.lives(), 0.0
    for _ in range(steps):
        action = policy.act(env, observation, info)
        assert env.action_space.contains(action)
        observation, reward, terminated, _, info = env.step(action)
        score += float(reward)
        if terminated:
            break
    lost = lives - env.unwrapped.ale.lives()
    env.close()
    return score, lost


@pytest.mark.parametrize("game", SCORES)
def test_rules_score_and_lose_no_life(game):
    row = f"ALE-{game}-v5"
    steps, score = SCORES[game]
    found, lost = played(game, policy_of(row, get_spec(row).reference), steps)
    assert found >= score and lost <= 0  # lives can be won


@pytest.mark.parametrize(
    "game", ["Atlantis", "Seaquest", "DemonAttack", "Gopher", "Solaris", "NameThisGame", "Assault"]
)
def test_rules_act_with_sticky_actions_too(game):
    row = f"ALE-{game}-v5"
    played(game, policy_of(row, get_spec(row).reference), 30, sticky=0.25)


def test_a_look_ahead_keeps_lives_that_the_rule_loses():
    def unguarded(env):
        return AlwaysFire(env, urgent=0)

    assert played("Assault", unguarded, 140)[1] > 0
    assert played("Assault", AlwaysFire, 140)[1] == 0


def test_a_plan_is_dropped_where_another_action_was_executed():
    env, observation, info = begun("DemonAttack")
    policy = AlwaysFire(env)
    policy.reset(env)
    assert policy.act(env, observation, info) == 1
    env.step(0)
    action = policy.act(env, observation, info)
    env.step(action)
    assert policy.now.state.equals(env.unwrapped.ale.cloneState(include_rng=True))


def test_a_byte_positions_an_object():
    assert [column(place) for place in (0x05, 0x15, 0x85)] == [87, 86, 95]
    assert np.diff([column(place) for place in (0x05, 0x06)]) == 15
