"""An agent whose model is on a server does what an agent with the model would."""

import logging
import subprocess
import sys
import time

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv

from ldm_hf import LDMAgent, RemoteAgent
from ldm_hf.errors import (
    ArgumentError,
    CheckpointError,
    ServerError,
    SpaceMismatchError,
    UnknownEnvironmentError,
)
from ldm_hf.serving.limits import Limits

from ..toys import ACTION, NEXT_STEP, OBSERVATION, SAME_STEP, Toy, episodes
from .live import serving
from .test_engine import assert_same, play


@pytest.fixture(scope="module")
def server(tiny):
    from ldm_hf import LDMProcessor

    from ..toys import STATISTICS

    processor = LDMProcessor.from_config(tiny[0].config)
    processor.add_environment("Toy-v0", OBSERVATION, ACTION, STATISTICS, "push it")
    with serving(tiny[0], processor) as live:
        live.parts = tiny[0], processor
        yield live


def pair(server, env, **kwargs):
    return RemoteAgent(server.url, env, **kwargs), LDMAgent(*server.parts, env, **kwargs)


@pytest.mark.parametrize(
    "kwargs", [{}, {"environment": "Toy-v0"}, {"task": "go"}, {"deterministic": False, "seed": 3, "temperature": 0.5}]
)
def test_it_acts_as_the_model_would_here(server, kwargs):
    env = Toy()
    remote, local = pair(server, env, **kwargs)
    observation, info = env.reset()
    action = remote.act(observation, info=info)
    assert_same(ACTION, local.act(observation, info=info), action)
    for _ in range(30):
        observation, reward, terminated, truncated, info = env.step(action)
        if terminated or truncated:
            observation, info = env.reset()
        action = remote.act(observation, reward, terminated, truncated, info)
        assert env.action_space.contains(action)
        assert_same(ACTION, local.act(observation, reward, terminated, truncated, info), action)
    remote.close()


@pytest.mark.parametrize("mode", [NEXT_STEP, SAME_STEP])
def test_it_acts_in_vectors(server, mode):
    envs = SyncVectorEnv([lambda number=number: Toy(number) for number in range(3)], autoreset_mode=mode)
    remote, local = pair(server, envs)
    observations, infos = envs.reset()
    step = (observations, None, None, None, infos)
    for _ in range(20):
        actions = remote.act(*step)
        assert_same(ACTION, local.act(*step), actions)
        step = envs.step(actions)
    remote.clear([0, 2])
    local.clear([0, 2])
    assert_same(ACTION, local.act(*step), remote.act(*step))
    with pytest.raises(ArgumentError, match="3 lanes"):
        remote.clear([7])
    remote.close()


class Herd:
    """Two agents, of which one leaves."""

    possible_agents = ["cow", "calf"]

    def observation_space(self, agent):
        return spaces.Box(-1, 1, (2,))

    def action_space(self, agent):
        return spaces.Discrete(5)


def test_it_acts_for_several_agents(server):
    remote, local = pair(server, Herd())
    both = {"cow": np.ones(2, np.float32), "calf": np.zeros(2, np.float32)}
    no = dict.fromkeys(both, False)
    masks = {name: {"action_mask": np.array([1, 1, 0, 0, 0], np.int8)} for name in both}
    for step in (
        (both,),
        (both, dict.fromkeys(both, 1.0), no, no, masks),
        (both, dict.fromkeys(both, 1.0), {"cow": False, "calf": True}, no),
        ({"cow": both["cow"]}, {"cow": 0.5}, {"cow": False}, {"cow": False}),
    ):
        found = remote.act(*step)
        assert found == local.act(*step)
    assert list(found) == ["cow"]
    assert remote.act({}, {}, {}, {}) == {}
    remote.close()


def test_legal_actions_of_any_form(server):
    space = spaces.Tuple((spaces.Discrete(4), spaces.Discrete(3)))
    remote, local = pair(server, (spaces.Discrete(2), space))
    for mask in ((np.array([0, 0, 1, 0]), None), (None, np.array([0, 1, 0])), np.array([1, 0, 0, 0, 0, 0, 1])):
        action = remote.act(1, info={"action_mask": mask})
        assert isinstance(action, tuple) and action == local.act(1, info={"action_mask": mask})
    assert action == (0, 2)
    remote.close()


def test_what_was_done_instead_and_what_was_watched(server):
    remote, local = pair(server, (OBSERVATION, ACTION))
    done = {"choice": 3, "force": np.array([0.5, -0.5], np.float32)}
    with pytest.raises(ArgumentError, match="act"):
        remote.executed(done)
    for number, step in enumerate(play(OBSERVATION, 12, 4)):
        if number % 3 == 2:
            proposed = remote.watch(step[0], done, *step[1:])
            assert_same(ACTION, local.act(*step), proposed)
            local.executed(done)
            continue
        assert_same(ACTION, local.act(*step), remote.act(*step))
        if number % 3 == 1:
            remote.executed(done)
            local.executed(done)
    for wrong in ({"choice": 9, "force": done["force"]}, 3, {"choice": 1}):
        with pytest.raises(SpaceMismatchError):
            remote.executed(wrong)
    remote.reset()
    local.reset()
    assert_same(ACTION, local.act(*step[:1]), remote.act(*step[:1]))
    remote.close()


@pytest.mark.parametrize("lanes", [None, 2])
def test_episodes_are_shown(server, lanes):
    remote, local = pair(server, (OBSERVATION, ACTION), num_envs=lanes)
    for agent in (remote, local):
        agent.show(episodes(8), None if lanes is None else [1])
    (observation,) = next(play(OBSERVATION, 1, 4, lanes))
    assert_same(ACTION, local.act(observation), remote.act(observation))
    with pytest.raises(ArgumentError, match="no observation"):
        remote.show({"reward": [1.0]})
    with pytest.raises(ArgumentError, match="lane"):
        remote.show(episodes(1), [7])
    remote.close()


def test_it_predicts_as_stable_baselines_asks(server):
    remote, local = pair(server, (OBSERVATION, ACTION))
    theirs = ours = None
    for number, (observation, *_) in enumerate(play(OBSERVATION, 10, 4, 3)):
        starts = np.array([number % 4 == lane for lane in range(3)])
        expected, ours = local.predict(observation, ours, starts, deterministic=True)
        found, theirs = remote.predict(observation, theirs, starts, deterministic=True)
        assert_same(ACTION, expected, found)
    single, _ = remote.predict({"x": np.zeros(3, np.float32), "level": 1, "says": "a"})
    assert ACTION.contains(single)
    theirs.close()
    remote.close()


def test_its_file_and_that_of_an_agent_are_the_same(server, tmp_path):
    remote, local = pair(server, (OBSERVATION, ACTION), deterministic=False, seed=1)
    steps = [*play(OBSERVATION, 20, 4)]
    for step in steps[:10]:
        remote.act(*step), local.act(*step)
    remote.save_state(tmp_path / "remote")
    local.load_state(tmp_path / "remote")
    local.save_state(tmp_path / "local")
    remote.load_state(tmp_path / "local")
    for step in steps[10:]:
        assert_same(ACTION, local.act(*step), remote.act(*step))
    (tmp_path / "remote").write_bytes(b"no state")
    with pytest.raises(CheckpointError, match="no state"):
        remote.load_state(tmp_path / "remote")
    remote.close()


def test_it_says_what_is_wrong(server, tiny):
    with pytest.raises(SpaceMismatchError, match="Dict expected, Box found"):
        RemoteAgent(server.url, (spaces.Box(-1, 1, (2,)), ACTION), environment="Toy-v0")
    with pytest.raises(UnknownEnvironmentError, match="Toy-v0"):
        RemoteAgent(server.url, Toy(), environment="Toy-v9")
    with pytest.raises(ArgumentError, match="temperature"):
        RemoteAgent(server.url, Toy(), temperature=0)
    with pytest.raises(ArgumentError, match="seed"):
        RemoteAgent(server.url, Toy(), seed=-1)
    for address in ("ftp://host", "", "ws://", 8000):
        with pytest.raises(ArgumentError, match="address"):
            RemoteAgent(address, Toy())
    with pytest.raises(ServerError, match="ldm serve"):
        RemoteAgent("127.0.0.1:1", Toy())
    with pytest.raises(ServerError, match="Not Found"):
        RemoteAgent(server.url + "/nothing", Toy())
    remote = RemoteAgent(server.url, Toy())
    with pytest.raises(SpaceMismatchError, match="leaf 'x'"):
        remote.act({"x": np.zeros(2, np.float32), "level": 0, "says": "a"})
    with pytest.raises(ArgumentError, match="missing"):
        remote.act({"x": np.zeros(3, np.float32), "level": 0, "says": "a"}, 1.0)
    remote.close()
    with pytest.raises(ServerError, match="reset"):
        remote.act(Toy().reset()[0])
    remote.reset()
    remote.close()
    with serving(*tiny, token="secret") as guarded:
        with pytest.raises(ServerError, match="token"):
            RemoteAgent(guarded.url, Toy())
        RemoteAgent(guarded.url, Toy(), token="secret").close()


def test_nan_is_told_once_and_the_stream_goes_on(server, caplog):
    remote, local = pair(server, (OBSERVATION, ACTION))
    broken = {"x": np.array([np.nan, 1, np.inf], np.float32), "level": 0, "says": "a"}
    with caplog.at_level(logging.WARNING, logger="ldm_hf.serving.connection"):
        for _ in range(2):
            assert_same(ACTION, local.act(broken), remote.act(broken))
    assert [record.name for record in caplog.records].count("ldm_hf.serving.connection") == 1
    remote.close()


def test_a_server_that_stops_says_so_and_another_goes_on(tiny, tmp_path):
    steps, file = [*play(OBSERVATION, 20, 4)], tmp_path / "state"
    with serving(*tiny) as live:
        remote, local = RemoteAgent(live.url, (OBSERVATION, ACTION)), LDMAgent(*tiny, (OBSERVATION, ACTION))
        for step in steps[:10]:
            remote.act(*step), local.act(*step)
        remote.save_state(file)
    with pytest.raises(ServerError, match=r"the server stops.*load_state"):
        remote.act(*steps[10])
    with serving(*tiny) as live:
        remote.url = live.url
        remote.load_state(file)
        for step in steps[10:]:
            assert_same(ACTION, local.act(*step), remote.act(*step))
        remote.close()


def test_idle_and_stalled_clients_are_dismissed(tiny):
    with serving(*tiny, Limits(idle=0.3, clients=2)) as live:
        remote = RemoteAgent(live.url, Toy())
        playing = RemoteAgent(live.url, (spaces.Discrete(2), spaces.Discrete(2)))
        with pytest.raises(ServerError, match=r"2 clients .*--max-clients"):
            RemoteAgent(live.url, Toy())
        until = time.monotonic() + 0.8
        while time.monotonic() < until:
            playing.act(1)
        with pytest.raises(ServerError, match=r"not used for 0.3 seconds"):
            remote.act(Toy().reset()[0])
        playing.close()


def test_it_needs_neither_torch_nor_transformers(server):
    code = f"""
import sys
import numpy as np
from gymnasium import spaces
from ldm_hf import RemoteAgent
agent = RemoteAgent({server.url!r}, (spaces.Box(-1, 1, (3,)), spaces.Discrete(2)))
assert agent.act(np.zeros(3, np.float32)) in (0, 1)
assert not {{"torch", "transformers", "aiohttp"}} & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_gymnasium_is_enough(server):
    env = gymnasium.make("CartPole-v1")
    with RemoteAgent(server.url, env) as agent:
        assert agent.about["environment"] == "the environment" and agent.about["model"] == "tiny"
        observation, info = env.reset(seed=0)
        assert agent.act(observation, info=info) in (0, 1)
