"""`ldm envs check`: a verdict for every environment, whatever the environment does."""

import json
import os
import re
import textwrap
import time

import numpy as np
import pytest
from gymnasium import spaces
from typer.testing import CliRunner

from ldm_hf.cli import app as cli
from ldm_hf.environments import EnvironmentSpec, get_spec
from ldm_hf.environments.checking import (
    DIES,
    IRREPRODUCIBLE,
    MISSING,
    OTHER,
    OUTSIDE,
    RAISES,
    UNSUPPORTED,
    WORKS,
    check,
    check_environment,
    in_short,
    markdown_report,
    summary_rows,
)
from ldm_hf.environments.library_folders import Library

TOYS = """
    import os, time
    import gymnasium
    import numpy as np
    from gymnasium import spaces

    class Toy(gymnasium.Env):
        observation_space = spaces.Box(0, 1, (2,))
        action_space = spaces.Discrete(3)

        def __init__(self, flaw="", render_mode=None):
            self.flaw = flaw
            if flaw == "make":
                raise RuntimeError("no such robot")
            if flaw == "sequence":
                self.observation_space = spaces.Sequence(spaces.Discrete(2))

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.steps = 0
            return self.observe(), {}

        def observe(self):
            if self.flaw == "outside" and self.steps == 3:
                return np.array([0, 7], np.float32)
            if self.flaw == "random":
                return np.random.random(2).astype(np.float32)
            return self.np_random.random(2).astype(np.float32)

        def step(self, action):
            self.steps += 1
            if self.flaw == "crash":
                os._exit(3)
            if self.flaw == "hang":
                time.sleep(1000)
            if self.flaw == "step":
                raise ZeroDivisionError("the wheel came off")
            reward = {"nan": float("nan"), "vector": np.ones(2)}.get(self.flaw, 1.0)
            print("noise")
            return self.observe(), reward, self.steps == 20, False, {}

    gymnasium.register("CheckedToy-v0", entry_point=Toy, max_episode_steps=30)
"""


@pytest.fixture(autouse=True)
def toys(tmp_path, monkeypatch):
    """A module of toys that processes started from here find, too."""
    (tmp_path / "checked_toys.py").write_text(textwrap.dedent(TOYS))
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))


def toy(flaw: str = "", **more) -> EnvironmentSpec:
    return EnvironmentSpec(flaw or "good", "checked_toys:CheckedToy-v0", library="toys", kwargs={"flaw": flaw}, **more)


def test_an_environment_that_works():
    found = check_environment(toy())
    assert found.pop("steps_per_second") > 10 and found.pop("seconds_to_make") >= 0
    assert found == {"verdict": WORKS, "observation": "Box(2)", "action": "Discrete(3)", "time_limit": 30}


@pytest.mark.parametrize(
    ("flaw", "verdict", "reason"),
    [
        ("make", RAISES, "no such robot"),
        ("step", RAISES, "ZeroDivisionError: the wheel came off"),
        ("outside", OUTSIDE, r"no member of Box\(0.0, 1.0, \(2,\).*7"),
        ("nan", OUTSIDE, "the reward is not a finite number: nan"),
        ("vector", OUTSIDE, "the reward is not a finite number: array"),
        ("random", IRREPRODUCIBLE, "differ at step 0"),
        ("sequence", UNSUPPORTED, "Sequence at leaf"),
    ],
)
def test_a_flaw_is_named(flaw, verdict, reason):
    found = check_environment(toy(flaw))
    assert found["verdict"] == verdict
    assert re.search(reason, found["reason"])


def test_other_spaces_than_expected(monkeypatch):
    monkeypatch.setattr(EnvironmentSpec, "expected_spaces", ("Box(3)", "Discrete(3)"))
    found = check_environment(toy())
    assert found["verdict"] == OTHER and "Box(3)" in found["reason"] and found["observation"] == "Box(2)"


def test_a_library_that_is_not_installed_is_no_flaw(monkeypatch):
    from ldm_hf.environments import making

    monkeypatch.setattr(making, "libraries", lambda: {"absent": Library("absent", "absent_library", "MIT")})
    making._register.cache_clear()
    assert check_environment(EnvironmentSpec("a", "Absent-v0", library="absent"))["verdict"] == MISSING
    making._register.cache_clear()


@pytest.mark.slow
def test_crashes_and_hangs_do_not_stop_the_run_and_what_works_is_not_done_again(tmp_path):
    output = tmp_path / "results" / "environments.json"
    specs = [toy("crash"), toy("hang"), toy(), toy("step")]
    started = time.monotonic()
    results = check(specs, output, jobs=1, limit=8, command="ldm envs check")
    assert time.monotonic() - started < 120
    assert results == json.loads(output.read_text())
    entries = results["environments"]
    assert {name: entry["verdict"] for name, entry in entries.items()} == {
        "crash": DIES,
        "good": WORKS,
        "hang": DIES,
        "step": RAISES,
    }
    assert (
        "no result after 8 s" in entries["hang"]["reason"] and "ended with exit code 3" in entries["crash"]["reason"]
    )

    entries["good"]["seconds_to_make"] = 123.0
    output.write_text(json.dumps(results))
    again = check([toy(), toy("step")], output)["environments"]
    assert set(again) == set(entries)  # what was not asked for stays
    assert again["good"]["seconds_to_make"] == 123.0
    changed = check([toy(max_episode_steps=25)], output)["environments"]
    assert changed["good"]["time_limit"] == 25  # another row of the same name


def test_the_report_counts_and_lists():
    origin = {"library": "toys", "domain": "control"}
    results = {
        "command": "ldm envs check --all",
        "versions": {"python": "3.11"},
        "environments": {
            "a": origin | {"verdict": WORKS, "steps_per_second": 1000.0},
            "b": origin | {"verdict": RAISES, "reason": "a | b\nc"},
            "c": origin | {"library": "more", "verdict": MISSING, "reason": "not installed"},
        },
    }
    assert summary_rows(results, "library")[1] == [
        ["more", "1", "0", "0", "1", "-", "-"],
        ["toys", "2", "1", "1", "0", "1,000", "1,000"],
        ["all", "3", "1", "1", "1", "1,000", "1,000"],
    ]
    text = markdown_report(results)
    assert "`ldm envs check --all`" in text and "| b | raises an error | a \\| b c |" in text
    assert "| c |" not in text


def test_spaces_in_short():
    space = spaces.Dict(
        {
            "image": spaces.Box(0, 255, (7, 7, 3), np.uint8),
            "rest": spaces.Tuple([spaces.Discrete(4), spaces.MultiDiscrete([3, 3]), spaces.MultiDiscrete([2, 5])]),
            "switches": spaces.MultiBinary(6),
            "says": spaces.Text(9),
        }
    )
    assert in_short(space) == (
        "Dict(image: Box(7x7x3 uint8), rest: Tuple(Discrete(4), MultiDiscrete(2 of 3), MultiDiscrete(2, 5)), "
        "says: Text(9), switches: MultiBinary(6))"
    )
    assert in_short(spaces.Sequence(spaces.Discrete(2))) == "Sequence"


def test_the_command(tmp_path):
    output = tmp_path / "environments.json"
    arguments = ["envs", "check", "--ids", "FrozenLake-v1", "--output", str(output), "--limit", "100"]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.output
    entry = json.loads(output.read_text())["environments"]["FrozenLake-v1"]
    assert (entry["verdict"], entry["licence"], entry["domain"]) == (WORKS, "MIT", "toy_text")
    assert (entry["observation"], entry["action"]) == get_spec("FrozenLake-v1").expected_spaces
    assert "| gymnasium | 1 | 1 |" in output.with_suffix(".md").read_text()


def test_nothing_chosen_is_an_error():
    result = CliRunner().invoke(cli.app, ["envs", "check"])
    assert result.exit_code == 1 and "--all" in str(result.exception)
