"""Small environments and observers for tests of the agent."""

import re

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from ldm_hf.spaces import stack

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


def episodes(count, seed=0):
    """Episodes of random actions in the toy environment, as the trajectory writer takes them."""
    env, found = Toy(), []
    ACTION.seed(seed)
    for _ in range(count):
        env.reset()
        start, over = len(env.actions), False
        while not over:
            over = any(env.step(ACTION.sample())[2:4])
        found.append(
            {"observation": stack(OBSERVATION, env.observations[start:]), "action": stack(ACTION, env.actions[start:])}
        )
        columns = (np.array(column) for column in zip(*env.feedback[start:], strict=True))
        found[-1] |= dict(zip(("reward", "terminated", "truncated"), columns, strict=True)) | {
            "label": found[-1]["action"]
        }
    return found


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


def short(value: object) -> str:
    """The name of a test for a value, the same in every process."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(value))[:60]
