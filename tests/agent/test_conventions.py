"""What beginners and other libraries hand to an agent: it works, or one sentence says what to pass instead."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv

from ldm_hf import LDMAgent
from ldm_hf.errors import ArgumentError, SpaceMismatchError, UnsupportedSpaceError

from ..toys import CHOICE, NEXT_STEP, POINT, SAME_STEP, Fixed, Recorder, Toy, assert_same_actions, play, short, toys

HERE = np.zeros(2, np.float32)


def lanes(tiny, count=3, action_space=CHOICE):
    agent = LDMAgent(*tiny, (POINT, action_space), num_envs=count)
    agent.act(np.zeros((count, 2), np.float32))
    return agent


# --- steps -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((HERE, {}),), r"all that env.reset\(\) returned.*observation, info = env.reset\(\)"),
        (((HERE, 1.0, False, False, {}),), r"all that env.step\(\) returned.*agent.act\(observation, reward"),
        (((HERE, 1.0, False, {}),), "of the old gym"),
        ((HERE, {}), r"place of the reward.*agent.act\(observation, info=info\)"),
        ((HERE, 1.0, False, {"lives": 3}), "place of truncated.*TimeLimit.truncated"),
        ((HERE, 1.0, False, [{}]), "place of truncated"),
        ((HERE, 1.0, False), "truncated is missing"),
        ((HERE, 1.0), "terminated and truncated is missing"),
        ((HERE, None, True, False), "reward is missing"),
        ((HERE, "1.0", False, False), "reward is '1.0'; expected a number"),
        ((HERE, [1.0, None], False, False), "reward is"),
        ((HERE, {"a": 1.0}, False, False), "reward is"),
        ((HERE, [1.0, 2.0], False, False), r"reward has shape \(2,\), expected \(1,\)"),
        ((HERE, 1.0, "False", False), "terminated is 'False'"),
        ((HERE, 1.0, False, np.nan), "truncated is nan; expected True or False"),
        ((HERE, 1.0, 2, False), "terminated is 2"),
        ((HERE, 1.0, False, False, 7), "info is 7; expected a dict"),
        ((HERE, 1.0, False, False, [{}, {}]), "info is .*for each of 1 lane"),
        ((HERE, 1.0, False, False, [7]), "the info of lane 0 is 7"),
    ],
    ids=short,
)
def test_one_sentence_names_the_cure(tiny, arguments, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        LDMAgent(*tiny, Fixed()).act(*arguments)
    assert len(str(caught.value)) < 400 and "\n" not in str(caught.value)


@pytest.mark.parametrize("last", [spaces.Dict({"x": POINT}), spaces.Tuple((spaces.Dict({"x": POINT}),))])
def test_an_observation_that_is_a_tuple_with_a_dict_is_one(tiny, last):
    space = spaces.Tuple((POINT, last))
    agent = LDMAgent(*tiny, Fixed(space))
    assert CHOICE.contains(agent.act(agent.layout.observation_space.sample()))


@pytest.mark.parametrize(
    "shape",
    [
        lambda values: values[:, None],
        list,
        torch.from_numpy,
        lambda values: values.astype(float),
        lambda values: values.astype(object),
    ],
)
def test_rewards_and_flags_come_in_many_shapes(tiny, shape):
    reward, ended = np.array([1.0, -2.0, 3.0]), np.array([True, False, False])
    with Recorder(tiny[0], 3) as recorder:
        lanes(tiny).act(np.zeros((3, 2), np.float32), reward, ended, ~ended)
        lanes(tiny).act(np.zeros((3, 2), np.float32), shape(reward), shape(ended), shape(~ended))
    assert torch.equal(recorder.feedback[1], recorder.feedback[3]) and recorder.feedback[1].any()


def test_observations_may_be_tensors(tiny):
    agent, other = LDMAgent(*tiny, (POINT, POINT)), LDMAgent(*tiny, (POINT, POINT))
    np.testing.assert_array_equal(agent.act(torch.full((2,), 0.5)), other.act(np.full(2, 0.5, np.float32)))


def test_infos_may_be_a_list(tiny):
    infos = [{"action_mask": np.eye(5, dtype=np.int8)[2]}, {}, None]
    free = lanes(tiny).act(np.zeros((3, 2), np.float32), np.zeros(3), np.zeros(3, bool), np.zeros(3, bool))
    only = (free + 1) % 5
    infos[0]["action_mask"] = np.eye(5, dtype=np.int8)[only[0]]
    acted = lanes(tiny).act(np.zeros((3, 2), np.float32), np.zeros(3), np.zeros(3, bool), np.zeros(3, bool), infos)
    assert acted.tolist() == [only[0], free[1], free[2]]


# --- masks -----------------------------------------------------------------------------------------------------------

PARTS = spaces.Dict(
    {
        "a": spaces.Discrete(3),
        "b": spaces.Tuple((spaces.MultiDiscrete([2, 3]), spaces.Box(-1, 1, (2,)))),
        "c": spaces.MultiBinary(3),
    }
)
ONE = {
    "a": np.array([0, 0, 1], np.int8),
    "b": ((np.array([1, 0], np.int8), np.array([0, 1, 0], np.int8)), None),
    "c": np.array([1, 0, 2], np.int8),
}
OTHER = {
    "a": np.array([0, 1, 0], np.int8),
    "b": ((np.array([0, 1], np.int8), np.array([1, 0, 0], np.int8)), None),
    "c": np.array([0, 2, 1], np.int8),
}


def check_one(action):
    assert action["a"] == 2 and action["b"][0].tolist() == [0, 1] and action["c"][:2].tolist() == [1, 0]


def check_other(action):
    assert action["a"] == 1 and action["b"][0].tolist() == [1, 0] and action["c"][[0, 2]].tolist() == [0, 1]


@pytest.mark.parametrize("deterministic", [True, False])
def test_masks_are_what_sample_takes(tiny, deterministic):
    env = Fixed(action_space=PARTS, info={"action_mask": ONE})
    PARTS.sample(mask=ONE)  # Gymnasium agrees
    for seed in range(5):
        agent = LDMAgent(*tiny, env, deterministic=deterministic, seed=seed)
        check_one(agent.act(env.observation, info=env.info))


@pytest.mark.parametrize("kind", ["vector", "list"])
def test_masks_of_parts_in_lanes(tiny, kind):
    infos = [{"action_mask": ONE}, {"action_mask": OTHER}, {}]
    env = SyncVectorEnv([lambda info=info: Fixed(action_space=PARTS, info=info) for info in infos])
    observation, info = env.reset()
    actions = LDMAgent(*tiny, env).act(observation, info=info if kind == "vector" else infos)
    first, second, _ = gymnasium.vector.utils.iterate(env.action_space, actions)
    check_one(first)
    check_other(second)


@pytest.mark.parametrize(
    "mask",
    [{"a": [1, 1, 1]}, {**ONE, "a": [1, 1]}, {**ONE, "b": (None, [1, 1])}, np.ones(4), "all", 3, [[1, 2], 3], (1, 2)],
    ids=short,
)
def test_a_mask_of_another_space_is_an_error(tiny, mask):
    with pytest.raises(SpaceMismatchError, match="action_mask"):
        LDMAgent(*tiny, Fixed(action_space=PARTS)).act(HERE, info={"action_mask": mask})


# --- environments ----------------------------------------------------------------------------------------------------


class OldBox:
    """What the Box of the old gym package is to a walk through spaces."""


OldBox.__module__ = "gym.spaces.box"


class Zoo:
    """What a parallel environment of PettingZoo is."""

    possible_agents = ("a", "b")

    def observation_space(self, agent):
        return POINT

    def action_space(self, agent):
        return CHOICE


class Turns(Zoo):
    """What a PettingZoo environment is in which agents act in turn."""

    agent_selection = "a"


class Unequal(Zoo):
    def action_space(self, agent):
        return {"a": CHOICE, "b": POINT}[agent]


class Nobody(Zoo):
    possible_agents = ()


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("CartPole-v1", r"'CartPole-v1' is an id.*gymnasium.make\('CartPole-v1'\)"),
        ([Fixed(), Fixed()], "list of 2 environments.*SyncVectorEnv"),
        ((Fixed(), Fixed()), "tuple of 2 environments"),
        ([], "pair"),
        ((POINT, CHOICE, CHOICE), r"pair \(observation_space, action_space\), got a tuple of 3"),
        (Fixed, "makes environments"),
        (lambda: Fixed(), "makes environments"),
        (None, "NoneType has no observation_space"),
        (gymnasium.spec("CartPole-v1"), "EnvSpec has no observation_space"),
        ({"env": 1}, "dict has no observation_space"),
        (gymnasium.Env(), "has no observation_space"),
        (Turns(), "aec_to_parallel"),
        (Unequal(), "agents 'a' and 'b' of .*Unequal have different spaces.*an LDMAgent for each kind"),
        (Nobody(), "possible_agents"),
    ],
    ids=short,
)
def test_what_is_no_environment_is_told(tiny, env, message):
    with pytest.raises(ArgumentError, match=message):
        LDMAgent(*tiny, env)


@pytest.mark.parametrize("pair", [(OldBox(), CHOICE), (POINT, OldBox())])
def test_spaces_of_the_old_gym_are_named(tiny, pair):
    with pytest.raises(UnsupportedSpaceError, match=r"gym.OldBox at leaf '\(root\)'.*old gym package.*shimmy"):
        LDMAgent(*tiny, pair)


def test_what_is_no_space_is_named(tiny):
    with pytest.raises(UnsupportedSpaceError, match=r"int at leaf '\(root\)'"):
        LDMAgent(*tiny, (4, CHOICE))


@pytest.mark.parametrize("count", [0, -1, 2.5, "3"])
def test_the_number_of_lanes_is_checked(tiny, count):
    with pytest.raises(ArgumentError, match="num_envs"):
        LDMAgent(*tiny, (POINT, CHOICE), num_envs=count)


def test_a_vector_knows_its_number_of_lanes(tiny):
    assert LDMAgent(*tiny, toys(SAME_STEP), num_envs=3).num_envs == 3
    with pytest.raises(ArgumentError, match=r"num_envs is 2, but .*SyncVectorEnv has 3 lanes"):
        LDMAgent(*tiny, toys(SAME_STEP), num_envs=2)


@pytest.mark.parametrize("temperature", [-1.0, 0, np.nan, np.inf, "hot", None])
def test_a_temperature_is_above_0(tiny, temperature):
    with pytest.raises(ArgumentError, match="temperature"):
        LDMAgent(*tiny, Fixed(), temperature=temperature)


@pytest.mark.parametrize("temperature", [1e-300, 1e300])
def test_any_temperature_above_0_samples_members(tiny, temperature):
    space = spaces.Dict({"choice": CHOICE, "force": spaces.Box(-1, 1, (2,))})
    agent = LDMAgent(*tiny, Fixed(action_space=space), deterministic=False, temperature=temperature, seed=0)
    assert space.contains(agent.act(HERE))


def test_a_seed_and_lanes_are_checked(tiny):
    with pytest.raises(ArgumentError, match="seed is -1"):
        LDMAgent(*tiny, Fixed(), seed=-1)
    with pytest.raises(ArgumentError, match="there are 3 lanes, counted from 0, so none at 3"):
        lanes(tiny).clear(3)


@pytest.mark.parametrize("text", ["NextStep", "NEXT_STEP", "next_step", "AutoresetMode.NEXT_STEP"])
def test_the_autoreset_mode_may_be_text(tiny, text):
    ended = []
    for mode in (NEXT_STEP, text):
        env = toys(NEXT_STEP)
        env.metadata = env.metadata | {"autoreset_mode": mode}
        ended.append([str(toy.actions) for toy in env.envs if play(LDMAgent(*tiny, env), env, 30) is not None])
    assert ended[0] == ended[1]


def test_an_unknown_autoreset_mode_is_an_error(tiny):
    env = toys(NEXT_STEP)
    env.metadata = env.metadata | {"autoreset_mode": "sometimes"}
    with pytest.raises(ArgumentError, match=r"autoreset_mode'\] is 'sometimes'; expected.*NEXT_STEP"):
        LDMAgent(*tiny, env)


class Batched(gymnasium.Env):
    """A vector that is no VectorEnv, as Isaac Lab has it: tensors, and rewards with an axis of their own."""

    single_observation_space, single_action_space, num_envs = POINT, CHOICE, 4
    observation_space, action_space = spaces.Box(-1, 1, (4, 2)), spaces.MultiDiscrete([5] * 4)


def test_a_vector_of_tensors_works(tiny):
    agent = LDMAgent(*tiny, Batched())
    actions = agent.act(torch.zeros(4, 2))
    again = agent.act(torch.zeros(4, 2), torch.ones(4, 1), torch.zeros(4, 1), torch.zeros(4, 1, dtype=torch.bool), {})
    assert actions.shape == again.shape == (4,)


def test_a_vecenv_of_stable_baselines3_works(tiny):
    vec_env = pytest.importorskip("stable_baselines3.common.vec_env")
    env = vec_env.DummyVecEnv([lambda: gymnasium.make("CartPole-v1")] * 3)
    agent = LDMAgent(*tiny, env)
    assert agent.num_envs == 3 and agent.layout.observation_space == env.observation_space
    env.seed(0)
    action = agent.act(env.reset())
    for _ in range(60):
        observation, reward, done, infos = env.step(action)
        truncated = np.array([info.get("TimeLimit.truncated", False) for info in infos])
        action = agent.act(observation, reward, done & ~truncated, truncated, infos)
    with pytest.raises(ArgumentError, match="VecEnv"):
        agent.act(observation, reward, done, infos)


# --- PettingZoo ------------------------------------------------------------------------------------------------------


class Herd:
    """A parallel environment as PettingZoo has it: each agent is a `Toy` and leaves when its episode ends."""

    def __init__(self, count=3):
        self.possible_agents = [f"cow_{number}" for number in range(count)]
        self.toys = {name: Toy(number) for number, name in enumerate(self.possible_agents)}

    def observation_space(self, agent):
        return Toy.observation_space

    def action_space(self, agent):
        return Toy.action_space

    def reset(self, seed=None, options=None):
        self.agents = list(self.possible_agents)
        returned = {name: self.toys[name].reset() for name in self.agents}
        return {name: pair[0] for name, pair in returned.items()}, {name: pair[1] for name, pair in returned.items()}

    def step(self, actions):
        assert list(actions) == self.agents
        returned = [{name: None for name in self.agents} for _ in range(5)]
        for name in self.agents:
            for values, value in zip(returned, self.toys[name].step(actions[name]), strict=True):
                values[name] = value
        self.agents = [name for name in self.agents if not returned[2][name] and not returned[3][name]]
        return tuple(returned)


def test_agents_of_pettingzoo_are_lanes_that_come_and_go(tiny):
    """Each acts as it would alone; what it sees last and what others see while it is gone do not enter its history."""
    herd = Herd()
    agent = LDMAgent(*tiny, herd)
    for _ in range(12):
        observation, info = herd.reset()
        actions = agent.act(observation, info=info)
        while herd.agents:
            observation, *feedback, info = herd.step(actions)
            actions = agent.act(observation, *feedback, info)
    for number, toy in enumerate(herd.toys.values()):
        alone = Toy(number)
        single = LDMAgent(*tiny, alone)
        told = (None, None, None)
        for _ in range(12):
            observation, info = alone.reset()
            ended = False
            while not ended:
                observation, *told, info = alone.step(single.act(observation, *told, info))
                ended = told[1] or told[2]
        assert len(toy.actions) == len(alone.actions) > 20
        assert_same_actions(toy.actions, alone.actions)
    assert agent.act({}, {}, {}, {}, {}) == {}


def test_agents_of_pettingzoo_are_named_in_errors(tiny):
    agent = LDMAgent(*tiny, Herd())
    with pytest.raises(ArgumentError, match=r"observation is .*by the names of agents.*cow_0, cow_1"):
        agent.act(HERE)
    with pytest.raises(ArgumentError, match="names of agents"):
        agent.act({"horse": HERE})
    with pytest.raises(SpaceMismatchError, match="is missing"):
        agent.act({"cow_0": HERE})


def test_environments_of_pettingzoo_work(tiny):
    pursuit = pytest.importorskip("pettingzoo.sisl.pursuit_v5")
    herd = pursuit.parallel_env(max_cycles=6)
    agent = LDMAgent(*tiny, herd)
    observation, info = herd.reset(seed=0)
    actions, steps = agent.act(observation, info=info), 0
    while herd.agents:
        assert list(actions) == herd.agents
        observation, *feedback, info = herd.step(actions)
        actions, steps = agent.act(observation, *feedback, info), steps + 1
    assert steps == 6 and actions == {}
    with pytest.raises(ArgumentError, match=r"act in turn \(AEC\).*aec_to_parallel"):
        LDMAgent(*tiny, pursuit.env())
