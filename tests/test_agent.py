"""The agent: the same function as in training, in single and vector environments, alone or with others on one model."""

import json
import logging
from concurrent.futures import ThreadPoolExecutor

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import iterate
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from ldm_hf import LDMAgent, LDMForActionPrediction, LDMProcessor
from ldm_hf.configuration_ldm import LDMConfig
from ldm_hf.errors import CheckpointError, SpaceMismatchError, UnknownEnvironmentError
from ldm_hf.spaces import stack

from .conftest import TINY
from .strategies import action_spaces, observation_spaces

OBSERVATION = spaces.Dict(
    {"x": spaces.Box(-np.inf, np.inf, (3,)), "level": spaces.Discrete(9), "says": spaces.Text(4, charset="ab")}
)
ACTION = spaces.Dict({"choice": spaces.Discrete(5), "force": spaces.Box(-1, 1, (2,))})
STATISTICS = {
    "observation": {"x": {"mean": [52.0, 55.0, 49.0], "std": [5.0, 3.0, 9.0]}},
    "reward": {"mean": 1.0, "std": 2.0},
}
POINT, CHOICE = spaces.Box(-1, 1, (2,)), spaces.Discrete(5)
NEXT_STEP, SAME_STEP = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP


class Toy(gymnasium.Env):
    """What it returns follows from its number and the actions so far. Records every transition."""

    observation_space, action_space = OBSERVATION, ACTION

    def __init__(self, number=0):
        self.number, self.episode, self.x = number, 0, np.zeros(3)
        self.observations, self.actions, self.feedback = [], [], []

    def observe(self):
        self.last = {
            "x": (50 + 10 * self.x).astype(np.float32),
            "level": (self.steps + self.episode) % 9,
            "says": "ab"[self.steps % 2] * (1 + self.number),
        }
        return self.last

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        self.episode += 1
        return self.observe(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.observations.append(self.last)
        self.actions.append(action)
        self.steps += 1
        push = np.array([action["choice"] / 5, *action["force"]])
        self.x = 0.7 * self.x + push + 0.3 * np.sin(self.steps + np.arange(3) + self.number)
        ends = self.steps >= 2 + (2 * self.number + self.episode) % 5
        terminated = ends and self.episode % 2 == 1
        self.feedback.append((np.float32(3 * self.x.sum()), terminated, ends and not terminated))
        return self.observe(), *self.feedback[-1], {}

    def stream(self):
        """The transitions so far, as the trajectory reader gives them."""
        actions = stack(ACTION, self.actions)
        columns = (np.array(column) for column in zip(*self.feedback, strict=True))
        steps = dict(zip(("reward", "terminated", "truncated"), columns, strict=True))
        return steps | {"observation": stack(OBSERVATION, self.observations), "action": actions, "label": actions}


class Fixed(gymnasium.Env):
    """Returns the same observation and info for ever."""

    def __init__(self, observation_space=POINT, action_space=CHOICE, info=None):
        self.observation_space, self.action_space, self.info = observation_space, action_space, info or {}
        observation_space.seed(0)
        self.observation = observation_space.sample()

    def reset(self, *, seed=None, options=None):
        return self.observation, self.info

    def step(self, action):
        return self.observation, 1.0, False, False, self.info


class Recorder:
    """Keeps the feedback ``(lanes, 6)`` and the logits ``(lanes, elements, choices)`` of every call of a model."""

    def __init__(self, model, lanes=1):
        self.lanes, self.feedback, self.logits = lanes, [], []
        self.handle = model.register_forward_hook(self.record, with_kwargs=True)

    def record(self, model, arguments, inputs, output):
        self.feedback.append(inputs["feedback"][:, -1].clone())
        self.logits.append(output.logits[:, -1].reshape(self.lanes, -1, output.logits.shape[-1]).clone())

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.handle.remove()


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    config = LDMConfig(**TINY)
    return LDMForActionPrediction(config).eval(), LDMProcessor.from_config(config)


@pytest.fixture()
def knowing(tiny):
    """Model and a processor that knows the toy."""
    processor = LDMProcessor.from_config(tiny[0].config)
    processor.add_environment("Toy-v0", OBSERVATION, ACTION, STATISTICS, "push it")
    return tiny[0], processor


@pytest.fixture()
def saved(tiny, tmp_path):
    for part in tiny:
        part.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def toys(mode, lanes=3):
    return SyncVectorEnv([lambda number=number: Toy(number) for number in range(lanes)], autoreset_mode=mode)


def moves(agent, env):
    """Acts for ever. The first observation of an episode comes together with the end of the one before."""
    observation, info = env.reset()
    feedback = (None, None, None)
    while True:
        observation, *feedback, info = env.step(agent.act(observation, *feedback, info))
        if not isinstance(env, SyncVectorEnv) and (feedback[1] or feedback[2]):
            observation, info = env.reset()
        yield feedback


def play(agent, env, steps):
    """Returns ``(steps, lanes)``: was the observation that the agent acted on the last one of an episode?"""
    game = moves(agent, env)
    ends = [next(game)[1:] for _ in range(steps)]
    return np.array(
        [[False] * agent.num_envs, *(np.logical_or(*end) & np.ones(agent.num_envs, bool) for end in ends[:-1])]
    )


def difference(first, second):
    """Over the places that are choices (the others hold the dtype's minimum)."""
    return (first.clamp(min=-1e4) - second.clamp(min=-1e4)).abs().max().item()


def assert_same_actions(first, second):
    count = min(len(first), len(second))
    first, second = stack(ACTION, first[:count]), stack(ACTION, second[:count])
    assert np.array_equal(first["choice"], second["choice"])
    np.testing.assert_allclose(first["force"], second["force"], atol=1e-4)


# --- acting ----------------------------------------------------------------------------------------------------------------------


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
    """NEXT_STEP shows the last observation of an episode and spends a step on the reset: neither may enter the history."""
    same, later = toys(SAME_STEP), toys(NEXT_STEP)
    play(LDMAgent(*tiny, same), same, 40)
    play(LDMAgent(*tiny, later), later, 55)
    for number in range(3):
        alone = Toy(number)
        play(LDMAgent(*tiny, alone), alone, 40)
        assert alone.episode > 5 and len({str(action) for action in alone.actions}) > 20
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


def test_threads_with_an_agent_each_share_a_model(tiny):
    def game(number):
        env = Toy(number)
        play(LDMAgent(*tiny, env), env, 30)
        return str(env.actions)

    alone = [game(number) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(game, range(4))) == alone
    assert len(set(alone)) > 1


# --- sampling --------------------------------------------------------------------------------------------------------------------


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


# --- lanes -----------------------------------------------------------------------------------------------------------------------


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


# --- Stable-Baselines3 -----------------------------------------------------------------------------------------------------------


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


# --- masks and NaN ---------------------------------------------------------------------------------------------------------------


def best_legal(logits, legal):
    return int(np.where(legal, logits[: len(legal)], -np.inf).argmax())


@pytest.mark.parametrize("legal", [[0, 0, 0, 1, 0], [1, 1, 0, 0, 0], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
@pytest.mark.parametrize(
    "kind", [list, tuple, lambda mask: np.array(mask, np.int8), lambda mask: np.array(mask, bool)]
)
def test_illegal_choices_are_never_taken(tiny, legal, kind):
    env = Fixed(info={"action_mask": kind(legal)})
    with Recorder(tiny[0]) as recorder:
        action = LDMAgent(*tiny, env).act(*env.reset()[:1], info=env.info)
    # a mask that allows nothing says nothing
    assert action == best_legal(recorder.logits[0][0, 0].numpy(), legal if any(legal) else [1] * 5)
    samples = {
        int(LDMAgent(*tiny, env, deterministic=False, seed=s).act(env.observation, info=env.info)) for s in range(9)
    }
    assert not any(legal) or all(legal[sample] for sample in samples)


def test_every_lane_has_its_own_mask(tiny):
    masks = [np.eye(5, dtype=np.int8)[index] for index in (4, 0, 2)]
    env = SyncVectorEnv([lambda mask=mask: Fixed(info={"action_mask": mask}) for mask in masks])
    observation, info = env.reset()
    assert LDMAgent(*tiny, env).act(observation, info=info).tolist() == [4, 0, 2]


def test_lanes_without_a_mask_choose_freely(tiny):
    free = int(LDMAgent(*tiny, Fixed()).act(Fixed().observation))
    only = (free + 1) % 5
    env = SyncVectorEnv([lambda: Fixed(info={"action_mask": np.eye(5, dtype=np.int8)[only]}), Fixed])
    observation, info = env.reset()
    assert LDMAgent(*tiny, env).act(observation, info=info).tolist() == [only, free]


PARTS = (np.array([0, 0, 1], np.int8), np.array([0, 1], np.int8))


def test_masks_of_several_choices(tiny):
    env = Fixed(action_space=spaces.MultiDiscrete([3, 2]), info={"action_mask": PARTS})  # as Gymnasium samples
    assert LDMAgent(*tiny, env).act(env.observation, info=env.info).tolist() == [2, 1]
    env.info["action_mask"] = np.concatenate(PARTS)  # as sb3-contrib has it
    assert LDMAgent(*tiny, env).act(env.observation, info=env.info).tolist() == [2, 1]


@pytest.mark.parametrize("others", [{"action_mask": PARTS}, {}], ids=["all lanes", "one lane"])
def test_masks_of_several_choices_in_a_vector(tiny, others):
    space = spaces.MultiDiscrete([3, 2])
    infos = ({"action_mask": PARTS}, others)
    env = SyncVectorEnv([lambda info=info: Fixed(action_space=space, info=info) for info in infos])
    observation, info = env.reset()
    assert LDMAgent(*tiny, env).act(observation, info=info)[0].tolist() == [2, 1]


def test_masks_of_more_choices_than_logits(tiny):
    legal = np.arange(30) % 7 == 4
    env = Fixed(action_space=spaces.Discrete(30), info={"action_mask": legal})
    assert legal[LDMAgent(*tiny, env).act(env.observation, info=env.info)]


def test_a_mask_of_wrong_length_is_an_error(tiny):
    env = Fixed(info={"action_mask": np.ones(4)})
    with pytest.raises(SpaceMismatchError, match="action_mask has shape"):
        LDMAgent(*tiny, env).act(env.observation, info=env.info)


@pytest.mark.parametrize("name", ["Toy-v0", None], ids=["known", "unknown"])
def test_nan_warns_once_and_acts_on(knowing, caplog, name):
    env = Toy()
    agent = LDMAgent(*knowing, env, name)
    observation, _ = env.reset()
    told = ()
    with caplog.at_level(logging.WARNING, "ldm_hf.agent"), Recorder(knowing[0]) as recorder:
        for value, reward in [(np.nan, np.nan), (50, 1), (np.inf, np.inf), (-np.inf, 1), (np.nan, 1), (50, 1)]:
            broken = observation | {"x": np.array([value, 50, 51], np.float32)}
            assert ACTION.contains(agent.act(broken, *told))
            told = (reward, False, False)
    assert all(torch.isfinite(logits).all() for logits in recorder.logits)
    assert [record.name for record in caplog.records] == ["ldm_hf.agent"]
    assert (name or "the environment") in caplog.text and "NaN" in caplog.text


def test_an_infinite_reward_does_not_hide_later_ones(tiny):
    env = Fixed()
    agent = LDMAgent(*tiny, env)
    with Recorder(tiny[0]) as recorder:
        for feedback in [(), (np.inf, False, False), (1.0, False, False)]:
            agent.act(env.observation, *feedback)
    assert recorder.feedback[2][0, 0] > 0.1


def test_nan_in_pixels_warns_too(tiny, caplog):
    env = Fixed(spaces.Box(0, 1, (20, 20, 3)))
    with caplog.at_level(logging.WARNING, "ldm_hf.agent"):
        LDMAgent(*tiny, env).act(np.full((20, 20, 3), np.nan, np.float32))
    assert "NaN" in caplog.text


def test_nan_is_the_mean_of_the_data(knowing):
    env = Toy()
    observation, _ = env.reset()
    with Recorder(knowing[0]) as recorder:
        for value in (np.nan, STATISTICS["observation"]["x"]["mean"][0]):
            agent = LDMAgent(*knowing, env, "Toy-v0")
            agent.act(observation | {"x": np.array([value, 50, 51], np.float32)})
    assert difference(*recorder.logits) == 0


# --- what does not fit -----------------------------------------------------------------------------------------------------------


def test_an_environment_is_known_by_its_own_id(tiny):
    env = gymnasium.make("CartPole-v1")
    processor = LDMProcessor.from_config(tiny[0].config)
    one = {"mean": np.zeros(4), "std": np.ones(4)}
    statistics = {"observation": {"": one}, "reward": {"mean": 1.0, "std": 0.0}}
    processor.add_environment("CartPole-v1", env.observation_space, env.action_space, statistics, "balance")
    for known in (env, gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")):
        agent = LDMAgent(tiny[0], processor, known)
        assert agent.layout.name == "CartPole-v1" and agent.known_statistics and agent.task_ids.any()
    changed = gymnasium.wrappers.FrameStackObservation(env, 2)  # same id, other observations
    agent = LDMAgent(tiny[0], processor, changed)
    assert agent.layout.observation_space == changed.observation_space and not agent.known_statistics
    with pytest.raises(SpaceMismatchError, match="observation space of CartPole-v1"):
        LDMAgent(tiny[0], processor, changed, "CartPole-v1")


def test_a_vector_is_known_by_the_id_of_its_environments(tiny):
    processor = LDMProcessor.from_config(tiny[0].config)
    env = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2)
    processor.add_environment("CartPole-v1", env.single_observation_space, env.single_action_space, task="balance")
    assert LDMAgent(tiny[0], processor, env).layout.name == "CartPole-v1"


def test_other_spaces_than_the_known_ones_are_told_leaf_by_leaf(knowing):
    wide = spaces.Dict({**OBSERVATION.spaces, "x": spaces.Box(-np.inf, np.inf, (4,)), "y": CHOICE})
    with pytest.raises(
        SpaceMismatchError, match=r"observation space of Toy-v0.*y: found.*x: shape \[3\] expected, \[4\]"
    ):
        LDMAgent(*knowing, (wide, ACTION), "Toy-v0")
    with pytest.raises(SpaceMismatchError, match=r"action space of Toy-v0.*Dict expected, Discrete found"):
        LDMAgent(*knowing, (OBSERVATION, CHOICE), "Toy-v0")


def test_an_unknown_name_tells_the_known_ones(knowing):
    with pytest.raises(UnknownEnvironmentError, match=r"'Nothing-v0'. Known: Toy-v0"):
        LDMAgent(*knowing, Toy(), "Nothing-v0")


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (
            {"x": np.zeros((2, 4)), "level": np.zeros(2), "says": ("a", "b")},
            r"leaf 'x' has shape \(2, 4\), expected \(2, 3\)",
        ),
        (
            {"x": np.zeros((3, 3)), "level": np.zeros(3), "says": ("a", "b", "a")},
            r"leaf 'level' has shape \(3,\), expected \(2,\)",
        ),
        ({"x": np.zeros((2, 3)), "level": np.zeros(2)}, "leaf 'says' is missing"),
        (np.zeros((2, 3)), "is missing: expected a member of Dict"),
    ],
)
def test_an_observation_that_does_not_fit_names_its_leaf(tiny, observation, message):
    agent = LDMAgent(*tiny, (OBSERVATION, ACTION), num_envs=2)
    with pytest.raises(SpaceMismatchError, match=message):
        agent.act(observation)


def test_model_and_processor_must_belong_together(tiny):
    with pytest.raises(CheckpointError, match="num_choices: model 21, processor 101"):
        LDMAgent(tiny[0], LDMProcessor(), Fixed())


# --- loading ---------------------------------------------------------------------------------------------------------------------


def test_a_saved_agent_acts_like_the_one_in_memory(knowing, tmp_path):
    for part in knowing:
        part.save_pretrained(tmp_path)
    loaded, direct = Toy(), Toy()
    play(LDMAgent.from_pretrained(tmp_path, loaded, environment="Toy-v0", device="cpu"), loaded, 20)
    play(LDMAgent(*knowing, direct, "Toy-v0"), direct, 20)
    assert_same_actions(loaded.actions, direct.actions)


def test_a_missing_or_empty_folder_is_named(tmp_path):
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(CheckpointError, match=f"no usable LDM at {folder}"):
            LDMAgent.from_pretrained(folder, Fixed())


def change_config(folder, **values):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


FULL_ATTENTION = TINY["backbone_config"] | {"use_sliding_window": False, "sliding_window": None}


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "processor_config.json").write_text("{"),
        lambda folder: (folder / "processor_config.json").unlink(),
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: change_config(folder, backbone_config=None),
        lambda folder: change_config(folder, backbone_config=FULL_ATTENTION),
        lambda folder: change_config(folder, num_choices="many"),
        lambda folder: change_config(folder, num_choices=33),
        lambda folder: truncate(folder / "model.safetensors"),
        lambda folder: save_file({"x": torch.zeros(1)}, folder / "model.safetensors"),
    ],
    ids=[
        *("no weights", "broken config", "broken processor", "no processor"),
        *(
            "empty config",
            "no backbone",
            "no window",
            "wrong type",
            "other sizes",
            "truncated weights",
            "other weights",
        ),
    ],
)
def test_a_damaged_checkpoint_is_an_error_of_ours(saved, damage):
    damage(saved)
    with pytest.raises(CheckpointError):
        LDMAgent.from_pretrained(saved, Fixed())
