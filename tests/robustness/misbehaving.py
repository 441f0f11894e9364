"""An environment that misbehaves in a way, an episode and a step that are chosen, and the policy that solves it."""

import os
import signal
import sys
import time
import warnings

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.environments import EnvironmentSpec
from ldm_hf.references import Reference

LENGTH = 9  # steps of an episode
HARMLESS = (
    "prints",
    "warns",
    "forks",
    "forks and exits",
    "chdir",
    "signals",
    "errstate",
    "streams",
    "close",
    "close exits",
)
RAISING = {  # way, and what its failure says
    "raises": r"failed in step \(episode of seed \d+\): ZeroDivisionError: bad physics",
    "exits": "SystemExit: 0",
    "exits with a word": "SystemExit: bye",
    "panics": "Panic: in another language",
    "four": "not enough values to unpack",
    "nan reward": "reward .* is nan",
    "infinite reward": "reward .* is -inf",
    "huge reward": r"reward .* is 1e\+300",
    "text reward": r"reward is '1.0' \(str\)",
    "no reward": r"reward is None \(NoneType\)",
    "text flag": r"terminated is 'False' \(str\)",
    "two flags": r"terminated is array\(\[False, False\]\)",
    "nan": r"leaf 'x' is array\(\[nan",
    "infinite": r"leaf 'x' is array\(\[inf",
    "outside": r"leaf 'x' is array\(\[700000\.",
    "beyond float32": r"leaf 'x' is array\(\[(inf|1.e\+300)",
    "shape": r"leaf 'x' is array.*shape \(2,\)",
    "type": "leaf 'x' is 'one'",
    "fraction": r"leaf 'n' is 1.5",
    "choice": r"leaf 'n' is (np.int64\()?99",
    "missing": "leaf 'n' is missing",
}
LOOKED_AT = ("nan", "infinite", "outside", "beyond float32", "shape", "type", "fraction", "choice")  # when compared
DYING = {
    "segfaults": "SIGSEGV",
    "is killed": "SIGKILL",
    "leaves": "exit code 0",
    "aborts": "SIGABRT",
    "forks and dies": "SIGSEGV",
    "hangs": "nothing done in",
}


class Panic(BaseException):
    """As PyO3 raises it when Rust panics."""


class Misbehaving(gymnasium.Env):
    """Pays for the action that its observation asks for; from a step of an episode on, it misbehaves.

    Args:
        how: way in which it misbehaves.
        seed: seed of the episode in which it does; None for every one.
        step: the step.
        after: steps of all episodes after which it does, in place of ``seed``.
    """

    observation_space = spaces.Dict({"x": spaces.Box(-1, 1, (1,)), "n": spaces.Discrete(4)})
    action_space = spaces.Discrete(2)
    metadata = {"render_modes": ["rgb_array"]}

    def __init__(self, how="", seed=None, step=3, after=None, render_mode=None):
        self.how, self.seed, self.step_number, self.after, self.render_mode = how, seed, step, after, render_mode
        self.total = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.steps, self.current = 0, seed
        return self.observe(), {}

    def observe(self):
        self.x = self.np_random.uniform(-1, 1, 1).astype(np.float32)
        return {"x": self.x, "n": self.steps % 4}

    def step(self, action):
        self.steps += 1
        self.total += 1
        reward = float((self.x[0] > 0) == action)
        answer = [self.observe(), reward, self.steps >= LENGTH, False, {}]
        due = self.total > self.after if self.after is not None else self.seed in (None, self.current)
        if due and (self.after is not None or self.steps >= self.step_number):
            answer = self.misbehave(answer)
        return tuple(answer)

    def render(self):
        return np.full((16, 16, 3), 20 * self.steps, np.uint8)

    def misbehave(self, answer):
        how, observation = self.how, answer[0]
        if how == "raises":
            raise ZeroDivisionError("bad physics")
        if how in ("exits", "exits with a word"):
            sys.exit(0 if how == "exits" else "bye")
        if how == "panics":
            raise Panic("in another language")
        if how == "prints":
            print("noise" * 10)
            os.write(2, b"\xff\x00\n")
        if how == "warns":
            warnings.simplefilter("always")
            warnings.warn("noise", stacklevel=1)
        if how in ("forks", "forks and exits") and os.fork() == 0 and how == "forks and exits":
            sys.exit(0)
        if how == "forks and dies":
            if os.fork() == 0:
                time.sleep(600)
            how = "segfaults"
        if how == "chdir":
            os.chdir("/")
        if how == "signals":
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
                signal.signal(number, signal.SIG_IGN)
        if how == "errstate":
            np.seterr(all="raise")
        if how == "streams":
            sys.stdout = sys.stderr = None
        if how == "hangs":
            time.sleep(600)
        for way, number in (("segfaults", signal.SIGSEGV), ("is killed", signal.SIGKILL), ("aborts", signal.SIGABRT)):
            if how == way:
                os.kill(os.getpid(), number)
        if how == "leaves":
            os._exit(0)
        rewards = {"nan reward": np.nan, "infinite reward": -np.inf, "huge reward": 1e300, "text reward": "1.0"}
        if how in rewards or how == "no reward":
            answer[1] = rewards.get(how)
        flags = {"text flag": "False", "two flags": np.zeros(2, bool)}
        answer[2] = flags.get(how, answer[2])
        wrong = {"nan": np.nan, "infinite": np.inf, "outside": 7e5, "beyond float32": 1e300}
        if how in wrong:
            observation["x"] = np.array([wrong[how]])
        observation["x"] = {"shape": np.zeros(2, np.float32), "type": "one"}.get(how, observation["x"])
        observation["n"] = {"fraction": 1.5, "choice": np.int64(99)}.get(how, observation["n"])
        if how == "missing":
            del observation["n"]
        return answer[:3] + answer[4:] if how == "four" else answer

    def close(self):
        if self.how == "close":
            raise RuntimeError("no way out")
        if self.how == "close exits":
            sys.exit(3)


class Rule(Reference):
    """Does what the observation asks for."""

    def __init__(self, env=None):
        pass

    def act(self, env, observation, info):
        return np.int64(observation["x"][0] > 0)


gymnasium.register("Misbehaving-v0", entry_point=Misbehaving)


def row(name, how="", **kwargs):
    return EnvironmentSpec(
        name,
        f"{__name__}:Misbehaving-v0",  # worker processes import this module first
        library="own",
        kwargs={"how": how, **kwargs},
        reference=f"{__name__}:Rule",
    )
