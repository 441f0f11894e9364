"""Rules of Atari's ball games whose aims are tried in a second emulator."""

import numpy as np
import pytest

from ldm_hf.environments import get_spec, make
from ldm_hf.libraries.ale_py.policies_balls import (
    AtariBreakoutAims,
    AtariFishingDerby,
    AtariPongAims,
    AtariSurround,
    toward,
)
from ldm_hf.references.loading import policy_of

pytest.importorskip("ale_py")
DEPTH = 65  # address of the depth of the hook in Fishing Derby


def begun(game, policy, sticky=0.0, **settings):
    """An environment after its reset, and a policy that is ready for it."""
    env = make(get_spec(f"ALE-{game}-v5").changed({"kwargs": {"repeat_action_probability": sticky}}))
    env.reset(seed=5)
    policy = policy(env, **settings)
    policy.reset(env)
    return env, policy


@pytest.mark.parametrize(
    ("game", "steps", "score"),
    [("Pong", 200, 1), ("Breakout", 150, 3), ("Tennis", 120, 1), ("VideoPinball", 120, 300)],
)
def test_points_are_won_and_none_lost(game, steps, score):
    row = get_spec(f"ALE-{game}-v5")
    env, policy = begun(game, policy_of(row.name, row.reference), **row.reference_kwargs)
    lives = env.unwrapped.ale.lives()
    total = sum(env.step(policy.act(env, None, {}))[1] for _ in range(steps))
    assert total >= score and env.unwrapped.ale.lives() >= lives


def test_a_fish_is_caught_and_pulled_up():
    env, policy = begun("FishingDerby", AtariFishingDerby, trials=1, urgent=1)
    memories = []
    for _ in range(120):
        env.step(policy.act(env, None, {}))
        memories.append(env.unwrapped.ale.getRAM().astype(int))
    caught = [memory for memory in memories if memory[AtariFishingDerby.CAUGHT]]
    assert caught and min(memory[DEPTH] for memory in caught) < caught[0][DEPTH] - 5


@pytest.mark.parametrize("sticky", [0.0, 0.25])
def test_what_a_plan_foresees_happens(sticky):
    env, policy = begun("Breakout", AtariBreakoutAims, sticky, horizon=60)
    for _ in range(80):
        env.step(policy.act(env, None, {}))
        assert (env.unwrapped.ale.getRAM() == policy.expected).all()


def test_a_plan_is_made_anew_after_another_action(monkeypatch):
    env, policy = begun("Pong", AtariPongAims, horizon=20)
    made = []
    improve = policy._improve
    monkeypatch.setattr(policy, "_improve", lambda *given: (made.append(len(policy.plan)), improve(*given)))
    action = policy.act(env, None, {})
    env.step(env.unwrapped.get_action_meanings().index("RIGHT" if policy.meanings[action] != "RIGHT" else "LEFT"))
    policy.act(env, None, {})
    assert made == [0, 0]


def test_the_last_balls_are_given_away_when_all_bricks_are_gone():
    env, policy = begun("Breakout", AtariBreakoutAims)
    policy.ALL = [0, 0]  # the score at the beginning
    assert policy.meanings[policy.act(env, None, {})] == "FIRE"
    assert policy.plan == []


def test_surround_reads_the_field_as_it_is_drawn_and_survives():
    env, policy = begun("Surround", AtariSurround, horizon=60)
    rewards = [env.step(policy.act(env, None, {}))[1] for _ in range(60)]
    memory = env.unwrapped.ale.getRAM().astype(int)
    full = memory[policy.BYTES] >> policy.SHIFTS & 1
    picture = env.unwrapped.ale.getScreenRGB().astype(int)
    row, column = memory[policy.PLAYERS[:2]].tolist()
    drawn = np.array([[picture[24 + 9 * y + 4, 4 * x + 2, 0] > 120 for x in range(1, 39)] for y in range(1, 19)])
    drawn[row - 1, column - 1] = full[row, column]  # the head is blinking
    assert (drawn == full[1:19, 1:39]).mean() > 0.99
    assert min(rewards) >= 0


def test_surround_counts_the_cells_that_either_player_reaches_first():
    _, policy = begun("Surround", AtariSurround)
    row = sum(1 << column for column in range(1, 9))
    assert policy._reached(row, 1 << 1, 1 << 8) == (4, 4)
    assert policy._reached(row, 1 << 4, 1 << 8) == (5, 3)


def test_meanings_name_the_way():
    assert toward(5, 0) == "RIGHT" and toward(-5, 5) == "UPLEFT" and toward(0, -1) == "DOWN"
    assert toward(2, -2, nearly=2) == ""
