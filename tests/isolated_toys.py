"""A small library as a worker imports it: one environment whose spaces are chosen by name, others that misbehave."""

import copy
import os
import signal
import subprocess
import sys
import time

import gymnasium
import numpy as np
from gymnasium import spaces

SPACES = {
    "box": (spaces.Box(-np.inf, np.inf, (3,)), spaces.Box(-1, 1, (2,))),
    "discrete": (spaces.Discrete(9, start=-2), spaces.Discrete(5, start=1)),
    "multi_discrete": (spaces.MultiDiscrete([3, 4]), spaces.MultiDiscrete([[2, 3], [4, 5]])),
    "multi_binary": (spaces.MultiBinary(4), spaces.MultiBinary((2, 2))),
    "pixels": (spaces.Box(0, 255, (16, 12, 3), np.uint8), spaces.Discrete(3)),
    "text": (spaces.Text(20, min_length=0), spaces.Text(5)),
    "tuple": (
        spaces.Tuple((spaces.Discrete(3), spaces.Box(0, 1, (), np.float64))),
        spaces.Tuple((spaces.Discrete(2), spaces.Text(3, charset=frozenset("äß€")))),
    ),
    "dict": (
        spaces.Dict(
            {
                "z": spaces.Discrete(7),
                "a.b": spaces.Tuple((spaces.Text(9, charset="ab"), spaces.Box(-5, 5, (2, 2), np.int16))),
            }
        ),
        spaces.Dict({"push": spaces.Box(-1, 1, (1,)), "pick": spaces.Discrete(4)}),
    ),
}


class Sampler(gymnasium.Env):
    """Returns members of its space that follow from the seed and the actions so far."""

    metadata = {"render_modes": ["rgb_array", "ansi"], "render_fps": 7}

    def __init__(self, kind="box", render_mode=None, dies_at=(), diary=None, chance=False):
        self.dies_at, self.diary, self.chance = list(dies_at), diary, chance
        observation_space, action_space = SPACES[kind]
        # copies, since a space keeps the state of its generator
        self.observation_space, self.action_space = copy.deepcopy((observation_space, action_space))
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=None if self.chance else seed)
        self.steps = 0
        return self.observe("begin"), {"options": options or {}, "action_mask": np.ones(3, np.int8)}

    def observe(self, action):
        self.observation_space.seed(int(self.np_random.integers(2**31)) + sum(repr(action).encode()))
        return self.observation_space.sample()

    def step(self, action):
        assert self.action_space.contains(action), action
        self.steps += 1
        die(self)
        mask = self.np_random.integers(0, 2, 3).astype(np.int8)
        info = {"action_mask": mask, "steps": self.steps, "share": np.float32(0.1), "object": object()}
        ends = self.np_random.random() < 0.2
        return self.observe(action), self.np_random.normal(), bool(ends), self.steps >= 9, info

    def render(self):
        if self.render_mode == "ansi":
            return f"step {self.steps}"
        return np.full((4, 5, 3), self.steps, np.uint8)


class Faulty(gymnasium.Env):
    """Does the action that its name says, from the second step on."""

    observation_space = spaces.Dict({"x": spaces.Box(0, 1, (2,))})
    action_space = spaces.Discrete(2)

    def __init__(self, fault="", at="step", pid_file=None):
        self.fault, self.at, self.pid_file = fault, at, pid_file
        if at == "make":
            self.misbehave()

    def misbehave(self):
        if self.fault == "raises":
            raise ValueError("the plant is on fire")
        if self.fault == "exits":
            sys.exit("goodbye")
        if self.fault == "dies":
            print("half a li", end="", flush=True)
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.fault == "leaves":
            os._exit(7)
        if self.fault == "hangs":
            time.sleep(600)
        if self.fault == "starts a server":
            server = subprocess.Popen(["sleep", "600"])
            with open(self.pid_file, "w") as file:
                file.write(str(server.pid))
            time.sleep(600)
        if self.fault == "prints":
            for stream in (sys.stdout.buffer, sys.stderr.buffer):
                stream.write(b'\x00\xff{"infos": 1}\n' * 20_000)  # more than a pipe holds
                stream.flush()

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        if self.at == "reset":
            self.misbehave()
        return {"x": np.zeros(2, np.float32)}, {}

    def step(self, action):
        self.steps += 1
        observation = {"x": np.full(2, 0.5, np.float64)}  # double precision is no fault
        if self.steps > 1 and self.at == "step":
            self.misbehave()
            observation = {
                "outside": {"x": np.full(2, 1.5, np.float32)},
                "nan": {"x": np.full(2, np.nan, np.float32)},
                "shape": {"x": np.zeros(3, np.float32)},
                "missing": {"y": np.zeros(2, np.float32)},
                "type": {"x": "zwei"},
            }.get(self.fault, observation)
        return observation, 1.0, False, False, {"long": "x" * 100_000, "short": "x"}


class Walk(gymnasium.Env):
    """A random walk that can be pushed; only its inside tells which direction is paid."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,))
    action_space = spaces.Discrete(2)

    def __init__(self, dies_at=(), diary=None):
        self.dies_at, self.diary = list(dies_at), diary

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps, self.paid = 0.0, 0, int(self.np_random.integers(2))
        return np.array([self.place], np.float32), {}

    def step(self, action):
        self.steps += 1
        die(self)
        self.place += action - 0.5 + self.np_random.normal()
        return np.array([self.place], np.float32), float(action == self.paid), False, self.steps == 9, {}


class Lonely(Walk):
    """A walk of which a process may have one."""

    made = 0

    def __init__(self):
        super().__init__()
        Lonely.made += 1
        if Lonely.made > 1:
            raise RuntimeError("there is one already")


class Rewarded:
    """Knows which direction is paid."""

    method = "scripted"

    def __init__(self, env):
        pass

    def reset(self, env):
        pass

    def executed(self, action):
        pass

    def act(self, env, observation, info):
        return np.int64(env.unwrapped.paid)


def die(env):
    """As many processes as there are entries die, at these steps; others live."""
    if env.steps in env.dies_at:
        with open(env.diary, "a") as diary:
            diary.write("x")
        if os.path.getsize(env.diary) <= env.dies_at.count(env.steps):
            os._exit(7)


class Insider:
    """A reference that looks inside a Sampler: the number of its steps, and of foreign actions that it was told of."""

    method = "scripted"

    def __init__(self, env, factor=1):
        self.factor, self.heard = factor, 0
        env.reset(seed=99)  # must not disturb the episode
        self.episodes = 0

    def reset(self, env):
        self.episodes += 1

    def executed(self, action):
        self.heard += 1

    def act(self, env, observation, info):
        return np.array([self.factor * env.unwrapped.steps / 10, self.heard / 10], np.float32)


def register():
    gymnasium.register("Sampler-v0", entry_point=Sampler)
    gymnasium.register("Walk-v0", entry_point=Walk)
    gymnasium.register("Lonely-v0", entry_point=Lonely)
    gymnasium.register("Faulty-v0", entry_point=Faulty)
