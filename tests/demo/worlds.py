"""Environments that draw themselves, and one of which crashes, for tests of the demonstration."""

import os

import gymnasium
import numpy as np
from gymnasium import spaces


class Walk(gymnasium.Env):
    """A walk on a line: every step to the right pays; it ends after a few steps."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}
    observation_space, action_space = spaces.Box(-100, 100, (2,)), spaces.Discrete(3)

    def __init__(self, render_mode=None, length=10, dies_at=0, fails_at=0):
        self.render_mode, self.length, self.dies_at, self.fails_at = render_mode, length, dies_at, fails_at

    def get_action_meanings(self):
        return ["LEFT", "STAY", "RIGHT"]

    def observe(self):
        return np.array([self.place, self.steps], np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place, self.steps = 0, 0
        return self.observe(), {}

    def step(self, action):
        self.steps += 1
        self.place += int(action) - 1
        if self.dies_at and self.steps == self.dies_at:
            os._exit(3)
        if self.fails_at and self.steps == self.fails_at:
            raise RuntimeError("the floor is gone")
        return self.observe(), float(action) - 1, False, self.steps >= self.length, {}

    def render(self):
        picture = np.full((30, 40, 3), 255, np.uint8)
        picture[:, int(np.clip(20 + self.place, 0, 39))] = 0
        return picture


class Blind(Walk):
    """The same without a picture."""

    metadata = {"render_modes": []}

    def render(self):
        return None


gymnasium.register("demo/Walk-v0", "tests.demo.worlds:Walk")
gymnasium.register("demo/Blind-v0", "tests.demo.worlds:Blind")
