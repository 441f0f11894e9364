"""The agent: the same function as in training, in single and vector environments, alone or with others on one model."""

from concurrent.futures import ThreadPoolExecutor

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import SyncVectorEnv
from gymnasium.vector.utils import iterate
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm_hf import LDMAgent
from ldm_hf.errors import ArgumentError, SpaceMismatchError

from ..strategies import action_spaces, observation_spaces
from ..toys import (
    ACTION,
    CHOICE,
    NEXT_STEP,
    OBSERVATION,
    POINT,
    SAME_STEP,
    Fixed,
    Recorder,
    Toy,
    assert_same_actions,
    difference,
    moves,
    play,
    toys,
)

# --- acting ----------------------------------------------------------------------------------------------------------


@settings(max_examples=15)
@given(observation_spaces, action_spaces, st.booleans())
def test_actions_are_members_of_any_space(tiny, observation_space, action_space, deterministic):
    env = Fixed(observation_space, action_space)
    agent = LDMAgent(*tiny, env, deterministic=deterministic, seed=0)
    observation, info = env.reset()
    feedback = (None, None, None)
    for _ in range(2):
        action = agent.act(observation, *feedback, info)
        assert action_space.contains(action), action
        observation, *feedback, info = env.step(action)


@settings(max_examples=15)
@given(observation_spaces, action_spaces, st.sampled_from([SAME_STEP, NEXT_STEP]))
def test_batched_actions_are_members_of_any_space(tiny, observation_space, action_space, mode):
    env = SyncVectorEnv([lambda: Fixed(observation_space, action_space)] * 2, autoreset_mode=mode)
    agent = LDMAgent(*tiny, env)
    observation, info = env.reset()
    feedback = (None, None, None)
    for _ in range(2):
        actions = agent.act(observation, *feedback, info)
        for action in iterate(env.action_space, actions):  # how the vector environment hands them out
            assert action_space.contains(action), action
        observation, *feedback, info = env.step(actions)


def test_single_environments_and_both_autoreset_modes_see_the_same_episodes(tiny):
    """NEXT_STEP shows the last observation of an episode and spends a step on the reset: neither enters the history."""
    same, later = toys(SAME_STEP), toys(NEXT_STEP)
    play(LDMAgent(*tiny, same), same, 40)
    play(LDMAgent(*tiny, later), later, 55)
    for number in range(3):
        alone = Toy(number)
        play(LDMAgent(*tiny, alone), alone, 40)
        assert alone.episode > 5 and len({str(action) for action in alone.actions}) > 10
        assert 35 < len(later.envs[number].actions) < 55 == len(same.envs[number].actions) + 15
        assert_same_actions(alone.actions, same.envs[number].actions)
        assert_same_actions(alone.actions, later.envs[number].actions)


@pytest.mark.parametrize("known", [True, False], ids=["known statistics", "running statistics"])
@pytest.mark.parametrize("mode", [None, SAME_STEP, NEXT_STEP])
def test_roll_out_and_training_are_the_same_function(knowing, known, mode):
    model, processor = knowing
    env = Toy() if mode is None else toys(mode)
    agent = LDMAgent(model, processor, env, "Toy-v0" if known else None, task="push it")
    with Recorder(model, agent.num_envs) as recorder:
        ended = play(agent, env, 45)
    acted = torch.stack(recorder.logits, dim=2)
    for lane, toy in enumerate([env] if mode is None else env.envs):
        steps = toy.stream()
        encoded = processor.layout("Toy-v0").encode_segment(steps, known_statistics=known)
        with torch.no_grad():
            full = model(**processor([encoded])).logits
        in_stream = torch.from_numpy(~ended[:, lane] | (mode != NEXT_STEP))
        assert full.shape[1] == len(steps["reward"]) == in_stream.sum() > 3 * model.config.window
        assert difference(acted[lane][:, in_stream], full) < 1e-4


def test_predict_and_training_without_rewards_are_the_same_function(knowing):
    model, processor = knowing
    env = Toy(1)
    agent = LDMAgent(model, processor, env, "Toy-v0")
    observation, state, start = env.reset()[0], None, np.ones(1, bool)
    with Recorder(model) as recorder:
        for _ in range(30):
            action, state = agent.predict(observation, state, start, deterministic=True)
            observation, _, terminated, truncated, _ = env.step(action)
            start = np.array([terminated or truncated])
            if start[0]:
                observation, _ = env.reset()
    encoded = processor.layout("Toy-v0").encode_segment(env.stream(), with_reward=False)
    with torch.no_grad():
        full = model(**processor([encoded])).logits
    assert difference(torch.stack(recorder.logits, dim=2)[0], full) < 1e-4


def test_the_context_goes_across_episodes(tiny):
    env = Toy()
    agent = LDMAgent(*tiny, env)
    play(agent, env, 7)
    assert env.episode > 2 and agent.state.cache.lengths.tolist() == [7]
    with Recorder(tiny[0]) as recorder:
        observation, _ = Toy().reset()
        agent.act(observation)
        LDMAgent(*tiny, env).act(observation)
        agent.reset()
        agent.act(observation)
    continued, fresh, after_reset = recorder.logits
    assert difference(continued, fresh) > 0.1
    assert difference(after_reset, fresh) == 0


def test_actions_of_others_are_in_the_history(tiny):
    """An agent that is told of another's actions thinks what that one thinks."""
    acting, told = (LDMAgent(*tiny, (OBSERVATION, ACTION), deterministic=False, seed=seed) for seed in (0, 1))
    OBSERVATION.seed(0)
    proposals = []
    with Recorder(tiny[0]) as recorder:
        for step in range(6):
            observation = OBSERVATION.sample()
            done, own = (agent.act(observation, step, False, False) for agent in (acting, told))
            told.executed(done)
            proposals.append((done["choice"], own["choice"]))
    thoughts = zip(recorder.logits[::2], recorder.logits[1::2], strict=True)
    assert max(difference(*pair) for pair in thoughts) == 0
    assert any(done != own for done, own in proposals)


def test_actions_of_others_in_some_lanes(tiny):
    agent = LDMAgent(*tiny, (POINT, CHOICE), num_envs=3)
    with pytest.raises(ArgumentError, match="replaces what act"):
        agent.executed(np.zeros(3, int))
    chosen = agent.act(np.zeros((3, 2), np.float32))
    others = (chosen + 1) % 5
    agent.executed(others, [1])
    assert agent.state.positions[:, 0].tolist() == [chosen[0], others[1], chosen[2]]
    with pytest.raises(SpaceMismatchError, match=r"7\) is no action of Discrete"):
        agent.executed(np.full(3, 7))


def test_an_episode_that_its_user_breaks_off_is_seen_as_truncated(tiny):
    env = Fixed()
    agent = LDMAgent(*tiny, env)
    with Recorder(tiny[0]) as recorder:
        for feedback in [(), (1.0, False, False), (), (1.0, False, False), (1.0, True, False), ()]:
            agent.act(env.observation, *feedback)
    ends = [feedback[0, 3:5].tolist() for feedback in recorder.feedback]
    assert ends == [[0, 0], [0, 0], [0, 1], [0, 0], [1, 0], [1, 0]]


def test_a_broken_off_episode_has_no_known_last_reward(tiny):
    env = Fixed()
    agent = LDMAgent(*tiny, env)
    with Recorder(tiny[0]) as recorder:
        for feedback in [(), (1.0, False, False), ()]:
            agent.act(env.observation, *feedback)
    assert recorder.feedback[1][0, 2] == 1
    assert recorder.feedback[2][0, :3].tolist() == [0, 0, 0]


def test_agents_that_share_a_model_act_as_if_alone(tiny):
    alone, together = ([Toy(0), Toy(2)] for _ in range(2))
    for env in alone:
        play(LDMAgent(*tiny, env), env, 20)
    games = [moves(LDMAgent(*tiny, env), env) for env in together]
    for _ in range(20):
        for game in games:
            next(game)
    assert str(alone[0].actions) == str(together[0].actions) != str(together[1].actions) == str(alone[1].actions)


def compare_compiled(parts, steps):
    """A compiled agent and a plain one in the same environment, cleared once, its positions re-based several times."""
    compiled, plain = Toy(), Toy()
    agents = LDMAgent(*parts, compiled, compile=True), LDMAgent(*parts, plain)
    for _ in range(2):
        for agent, env in zip(agents, (compiled, plain), strict=True):
            play(agent, env, steps)
            agent.reset()
    assert_same_actions(compiled.actions, plain.actions)


def test_a_compiled_agent_acts_as_a_plain_one_and_is_compiled_once(tiny, monkeypatch):
    graphs, compile = [], torch.compile

    def count(graph, _):
        graphs.append(graph)
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setattr("ldm_hf.compiled.compiling.can_export", lambda model: False)
    monkeypatch.setattr("ldm_hf.cache_ldm.REBASE_INTERVAL", 20)
    monkeypatch.setattr(
        torch, "compile", lambda model, dynamic, options: compile(model, dynamic=dynamic, backend=count)
    )
    compare_compiled(tiny, 70)
    assert len(graphs) == 1


@pytest.mark.slow
def test_what_the_compiler_makes_acts_as_the_plain_model(tiny, monkeypatch):
    torch.compiler.reset()
    monkeypatch.setattr("ldm_hf.compiled.compiling.can_export", lambda model: False)
    monkeypatch.setattr("ldm_hf.cache_ldm.REBASE_INTERVAL", 20)
    compare_compiled(tiny, 70)


def test_threads_with_an_agent_each_share_a_model(tiny):
    def game(number):
        env = Toy(number)
        play(LDMAgent(*tiny, env), env, 30)
        return str(env.actions)

    alone = [game(number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(game, range(4))) == alone
    assert len(set(alone)) > 1


# --- sampling --------------------------------------------------------------------------------------------------------


def actions_of(agent, env, steps=30):
    env = Toy() if env is None else env
    play(agent, env, steps)
    return str(env.actions)


def test_sampling_follows_its_seed(tiny):
    first, again, other = (
        actions_of(LDMAgent(*tiny, Toy(), deterministic=False, seed=seed), None) for seed in (1, 1, 2)
    )
    assert first == again != other
    greedy = [actions_of(LDMAgent(*tiny, Toy(), seed=seed), None) for seed in (1, 2)]
    assert greedy[0] == greedy[1] != first


@pytest.mark.parametrize(("temperature", "distinct"), [(1e-6, 1), (1e6, 5)])
def test_temperature_widens_the_choice(tiny, temperature, distinct):
    env = Fixed()
    agents = [LDMAgent(*tiny, env, deterministic=False, temperature=temperature, seed=seed) for seed in range(60)]
    chosen = {int(agent.act(env.observation)) for agent in agents}
    assert len(chosen) == distinct and int(LDMAgent(*tiny, env).act(env.observation)) in chosen


# --- lanes -----------------------------------------------------------------------------------------------------------


def feed(agent, count, start=0, lanes=slice(None), clear=None, first=()):
    """Acts on a random stream of three lanes; returns logits ``(steps, lanes, elements, choices)``.

    Args:
        start: the stream's first step, about which nothing is told.
        clear: (step, lanes) to clear before that step.
    """
    rng = np.random.default_rng(0)
    observation, reward = rng.uniform(-1, 1, (count, 3, 2)), rng.normal(size=(count, 3))
    terminated = np.zeros((count, 3), bool)
    terminated[[3, 9]] = True
    with Recorder(agent.model, agent.num_envs) as recorder:
        for step in range(start, count):
            if clear is not None and step == clear[0]:
                agent.clear(clear[1])
            told = (
                () if step == start else (reward[step, lanes], terminated[step, lanes], np.zeros(agent.num_envs, bool))
            )
            agent.act(observation[step, lanes], *told)
    return torch.stack(recorder.logits)


@pytest.mark.parametrize("step", [6, 9], ids=["within an episode", "after an end"])
@pytest.mark.parametrize("lanes", [1, [1], np.array([False, True, False])], ids=["index", "list", "mask"])
def test_a_cleared_lane_acts_like_a_fresh_agent(tiny, step, lanes):
    def agent(count):
        return LDMAgent(*tiny, (POINT, CHOICE), num_envs=count)

    cleared = feed(agent(3), 14, clear=(step, lanes))
    untouched, fresh = feed(agent(3), 14), feed(agent(1), 14, start=step, lanes=slice(1, 2))
    assert difference(cleared[:, [0, 2]], untouched[:, [0, 2]]) < 1e-5
    assert difference(cleared[:step, 1], untouched[:step, 1]) < 1e-5
    assert difference(cleared[step:, 1:2], fresh) < 1e-4
    assert difference(cleared[step:, 1], untouched[step:, 1]) > 0.1


def test_clearing_all_lanes_is_a_reset(tiny):
    agent = LDMAgent(*tiny, (POINT, CHOICE), num_envs=3)
    first = feed(agent, 12)
    agent.clear()
    assert difference(feed(agent, 12), first) < 1e-5


# --- Stable-Baselines3 -----------------------------------------------------------------------------------------------


@pytest.fixture()
def evaluation():
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common import evaluation, monitor, vec_env

    def make(count):
        envs = vec_env.DummyVecEnv([lambda: monitor.Monitor(gymnasium.make("CartPole-v1"))] * count)
        envs.seed(3)
        return envs

    return evaluation.evaluate_policy, make


def test_evaluate_policy_plays_the_agents_episodes(tiny, evaluation):
    evaluate_policy, make = evaluation
    env = gymnasium.make("CartPole-v1")
    returns, _ = evaluate_policy(LDMAgent(*tiny, env), make(1), n_eval_episodes=4, return_episode_rewards=True)
    agent, state, expected = LDMAgent(*tiny, env), None, []
    for episode in range(4):
        observation, _ = env.reset(seed=None if episode else 3)
        start, ended, expected = np.ones(1, bool), False, [*expected, 0.0]
        while not ended:
            action, state = agent.predict(observation, state, start, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(action)
            start, ended = np.zeros(1, bool), terminated or truncated
            expected[-1] += reward
    assert returns == expected and len(set(returns)) > 1


def test_evaluate_policy_in_several_environments(tiny, evaluation):
    evaluate_policy, make = evaluation
    agent = LDMAgent(*tiny, gymnasium.make("CartPole-v1"))
    returns, lengths = evaluate_policy(agent, make(3), n_eval_episodes=6, return_episode_rewards=True)
    assert len(returns) == 6 and returns == lengths  # CartPole pays 1 a step


def test_predict_leaves_the_agent_as_it_was(tiny):
    env = Fixed()
    agent = LDMAgent(*tiny, env)
    agent.act(env.observation)
    actions, _ = agent.predict(np.stack([env.observation] * 4), deterministic=True)
    action, _ = agent.predict(env.observation, deterministic=True)
    assert actions.tolist() == [action] * 4
    agent.act(env.observation, 1.0, False, False)


# --- saving ---


def test_a_saved_agent_acts_like_the_one_in_memory(knowing, tmp_path):
    for part in knowing:
        part.save_pretrained(tmp_path)
    loaded, direct = Toy(), Toy()
    play(LDMAgent.from_pretrained(tmp_path, loaded, environment="Toy-v0", device="cpu"), loaded, 20)
    play(LDMAgent(*knowing, direct, "Toy-v0"), direct, 20)
    assert_same_actions(loaded.actions, direct.actions)
