"""Reference policies of Atari games that follow a rule and foresee its mishaps in a copy of the emulator."""

import numpy as np
import pytest

from ldm_hf.environments import get_spec, make
from ldm_hf.references import load_reference
from ldm_hf.rollouts import ReferencePolicy, rollout

pytest.importorskip("ale_py")


def spec(game, sticky=0.0, frames=None):
    changes = {"kwargs": {"repeat_action_probability": sticky}} | ({"max_episode_steps": frames} if frames else {})
    return get_spec(f"ALE-{game}-v5").changed(changes)


@pytest.mark.parametrize(("game", "frames", "score"), [("Enduro", 1000, 10), ("CrazyClimber", 1000, 1500)])
def test_a_rule_with_foresight_gets_far_at_once(game, frames, score):
    row = spec(game, frames=frames)
    policy = ReferencePolicy(lambda: load_reference(row, "nowhere"))
    assert rollout(lambda: make(row), policy, 1, num_envs=1).mean() >= score


@pytest.mark.parametrize("sticky", [0.0, 0.25])
@pytest.mark.parametrize("game", ["Enduro", "CrazyClimber"])
def test_what_is_foreseen_happens_and_leaves_the_environment_as_it_is(game, sticky):
    env, alone = make(spec(game, sticky)), make(spec(game, sticky))
    observation, info = env.reset(seed=5)
    alone.reset(seed=5)
    policy = load_reference(spec(game), "nowhere")
    policy.reset(env)
    for _ in range(100):
        action = policy.act(env, observation, info)
        observation, reward, *_, info = env.step(action)
        again, rewarded, *_ = alone.step(action)
        assert (observation == again).all() and reward == rewarded
        assert policy.now.state.equals(env.unwrapped.ale.cloneState(include_rng=True))


def test_after_another_action_than_the_rules_it_looks_anew():
    env = make(spec("Enduro"))
    observation, info = env.reset(seed=5)
    policy = load_reference(spec("Enduro"), "nowhere")
    policy.reset(env)
    policy.act(env, observation, info)
    env.step(np.int64(4))
    policy.act(env, observation, info)
    memory = env.unwrapped.ale.getRAM().astype(int)
    assert (policy.now.before == memory).all()
