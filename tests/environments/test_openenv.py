"""OpenEnv servers as environments: spaces from their schemas, and a real server where openenv-core is installed."""

import json
import socket
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from gymnasium import spaces

from ldm_hf import LDMAgent
from ldm_hf.environments import EnvironmentSpec, catalogue, get_spec, make
from ldm_hf.environments.isolation import installed_version, python_of
from ldm_hf.errors import EnvironmentFailure, UnsupportedSpaceError
from ldm_hf.evaluation.playing import play
from ldm_hf.libraries.openenv_core.adapter import _Fields
from ldm_hf.spaces import describe_difference, space_to_json

LIBRARY = "openenv-core"
SERVER = Path(__file__).parents[1].joinpath("openenv_server.py")
SCHEMA = {
    "$defs": {"Arm": {"type": "object", "properties": {"angle": {"type": "number", "minimum": -1, "maximum": 1}}}},
    "properties": {
        "done": {"type": "boolean"},
        "lamp": {"type": "boolean"},
        "dice": {"type": "integer", "minimum": 1, "exclusiveMaximum": 7},
        "speed": {"anyOf": [{"type": "number"}, {"type": "null"}]},
        "colour": {"enum": ["red", "green"], "type": "string"},
        "name": {"type": "string", "maxLength": 3},
        "arm": {"$ref": "#/$defs/Arm"},
        "grid": {"type": "array", "items": {"type": "array", "items": {"type": "integer", "minimum": 0}}},
        "pair": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
        "anything": {"type": "object", "additionalProperties": True},
    },
}
VALUES = {
    "lamp": True,
    "dice": 3,
    "speed": 2.5,
    "colour": "green",
    "name": "anna\t\u00e9",
    "arm": {"angle": 0.5},
    "grid": [[1, 2], [3, 4], [5, 6]],
    "pair": [1.0, 2.0],
    "anything": {"x": 1},
}


# --- spaces of schemas -----------------------------------------------------------------------------------------------


def test_an_observation_gets_the_spaces_that_its_schema_bounds():
    fields = _Fields("observation", SCHEMA, None, VALUES)
    expected = {
        "lamp": spaces.Discrete(2),
        "dice": spaces.Discrete(6, start=1),
        "speed": spaces.Box(-np.inf, np.inf, (), np.float64),
        "colour": spaces.Discrete(2),
        "arm": spaces.Dict({"angle": spaces.Box(-1, 1, (), np.float64)}),
        "grid": spaces.Box(0, np.inf, (3, 2), np.float64),
        "pair": spaces.Box(-np.inf, np.inf, (2,), np.float64),
        "name": fields.space["name"],
    }
    assert describe_difference(spaces.Dict(expected), fields.space) == []
    member = fields.read(VALUES)
    assert fields.space.contains(member)
    assert member["colour"] == 1 and member["dice"] == 3 and member["name"] == "ann"
    assert member["grid"].tolist() == VALUES["grid"]
    assert fields.space.contains(fields.read(VALUES | {"speed": None}))


def test_an_action_is_written_as_the_schema_says():
    schema = {"properties": {name: SCHEMA["properties"][name] for name in ("lamp", "dice", "colour", "pair")}}
    fields = _Fields("action", schema, None)
    member = {"lamp": np.int64(1), "dice": np.int64(6), "colour": np.int64(0), "pair": np.array([0.5, -2.0])}
    assert fields.write(member) == {"lamp": 1, "dice": 6, "colour": "red", "pair": [0.5, -2.0]}


def test_an_action_of_one_field_is_that_field():
    fields = _Fields("action", {"properties": {"dice": SCHEMA["properties"]["dice"]}}, None)
    assert fields.space == spaces.Discrete(6, start=1)
    assert fields.write(np.int64(2)) == {"dice": 2}


def test_a_field_that_an_action_needs_and_nothing_bounds_is_named():
    schema = {"properties": {"move": {"type": "integer"}, "game": {"type": "object"}}, "required": ["move"]}
    with pytest.raises(UnsupportedSpaceError, match=r"field\(s\) move of its action.*action_space"):
        _Fields("action", schema, None)
    told = space_to_json(spaces.Dict({"move": spaces.Discrete(4)}))
    assert _Fields("action", schema, told).write(np.int64(3)) == {"move": 3}


# --- a server --------------------------------------------------------------------------------------------------------


def test_an_address_is_an_environment():
    spec = get_spec("openenv:http://localhost:8000")
    assert (spec.name, spec.library, spec.licence) == ("openenv-localhost-8000", LIBRARY, "BSD-3-Clause")
    assert spec.kwargs == {"url": "http://localhost:8000"} and spec.version


@pytest.fixture(scope="module")
def start():
    """Starts a server; returns its address and its process."""
    if not installed_version(LIBRARY):
        pytest.skip(f"needs: ldm envs install {LIBRARY}")
    started = []

    def start():
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        started.append(subprocess.Popen([str(python_of(LIBRARY)), str(SERVER), str(port)]))
        limit = time.monotonic() + 200  # its web pages are imported, too
        while time.monotonic() < limit:
            assert started[-1].poll() is None
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=1).close()
                return f"http://127.0.0.1:{port}", started[-1]
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the server does not answer")

    yield start
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def url(start):
    return start()[0]


@pytest.fixture()
def env(url):
    made = make(f"openenv:{url}")
    yield made
    made.close()


@pytest.mark.slow
def test_a_server_is_played(env):
    assert env.action_space["direction"] == spaces.Discrete(3)
    assert env.observation_space["place"] == spaces.Discrete(11, start=-5)
    assert env.observation_space["distances"].shape == (2,)
    assert set(env.action_space.spaces) == {"direction", "force", "note"}  # others keep the server's default
    goals = [int(env.reset(seed=seed)[0]["goal"]) for seed in range(6)]
    assert goals == [int(env.reset(seed=seed)[0]["goal"]) for seed in range(6)] and len(set(goals)) == 2
    observation, _ = env.reset(seed=goals.index(1))  # to the east
    assert observation["says"] == "hello" and observation["distances"].tolist() == [5, 5]
    for step in range(5):
        action = {"direction": np.int64(2), "force": np.array(0.75), "note": ""}
        observation, reward, terminated, truncated, _ = env.step(action)
        assert observation["says"] == "right 0.75" and observation["place"] == step + 1
    assert (reward, terminated, truncated) == (1.0, True, False)


@pytest.mark.slow
def test_options_of_a_reset_reach_the_server(env):
    assert env.reset(seed=0, options={"place": 3})[0]["place"] == 3


@pytest.mark.slow
def test_an_agent_acts_on_a_server(env, tiny):
    agent = LDMAgent(*tiny, env)
    observation, info = env.reset(seed=0)
    action = agent.act(observation)
    for _ in range(30):
        observation, reward, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            observation, info = env.reset()
        action = agent.act(observation, reward, terminated, truncated, info)
        assert env.action_space.contains(action)


@pytest.mark.slow
def test_what_goes_wrong_on_the_server_is_the_failure_of_this_environment(env):
    env.reset(seed=0)
    with pytest.raises(EnvironmentFailure, match="the ceiling comes down"):
        env.step({"direction": np.int64(1), "force": np.array(0.5), "note": "crash"})


@pytest.mark.slow
def test_a_model_plays_and_what_the_server_says_is_shown(url, tiny, tmp_path, monkeypatch):
    for part in tiny:
        part.save_pretrained(tmp_path)
    row = {"name": "Corridor", "env_id": "ldm_hf/OpenEnv-v0", "library": LIBRARY, "kwargs": {"url": url}}
    (tmp_path / "own.yaml").write_text(json.dumps([row | {"max_episode_steps": 7}]))
    monkeypatch.setenv("LDM_HF_CATALOGUE", str(tmp_path / "own.yaml"))
    catalogue.cache_clear()
    shown = []
    try:
        assert len(play(str(tmp_path), "Corridor", show=shown.append)) == 1
    finally:
        catalogue.cache_clear()
    assert len(shown) >= 5 and '"place": 0' in shown[0] and shown[0].endswith("None")


@pytest.mark.slow
def test_a_server_that_is_gone_is_named(start):
    url, process = start()
    env = make(f"openenv:{url}")
    env.reset(seed=0)
    process.kill()
    process.wait()
    with pytest.raises(EnvironmentFailure, match=r"openenv-127-0-0-1-\d+ failed in"):
        env.step({"direction": np.int64(1), "force": np.array(0.5), "note": ""})
    with pytest.raises(EnvironmentFailure, match=r"failed in make.*refused"):
        make(f"openenv:{url}")


@pytest.mark.slow
def test_a_row_says_what_the_schema_does_not(url):
    told = space_to_json(spaces.Dict({"direction": spaces.Discrete(3), "force": spaces.Box(0.5, 1, (), np.float64)}))
    env = make(EnvironmentSpec("Corridor", "ldm_hf/OpenEnv-v0", LIBRARY, kwargs={"url": url, "action_space": told}))
    assert list(env.action_space.spaces) == ["direction", "force"]
    env.reset(seed=0)
    assert env.step({"direction": np.int64(0), "force": np.array(0.5)})[0]["place"] == -1
    env.close()
