"""Streams of many clients in one pass act as agents of their own."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm_hf import LDMAgent
from ldm_hf.errors import CheckpointError, LDMError, ServerError, SpaceMismatchError, UnsupportedSpaceError
from ldm_hf.interfaces_ldm import Interface
from ldm_hf.serving.engine import Engine
from ldm_hf.spaces import flatten

from ..toys import ACTION, OBSERVATION

PAIRS = {
    "toy": (OBSERVATION, ACTION),
    "numbers": (spaces.Box(-10, 10, (5,)), spaces.Box(-1, 1, (2,))),
    "grid": (spaces.Box(0, 9, (7, 7, 3), np.uint8), spaces.Discrete(6)),
    "pixels": (spaces.Box(0, 255, (32, 32, 1), np.uint8), spaces.MultiDiscrete([3, 30])),
    "nothing": (spaces.Dict({}), spaces.Discrete(2)),
    "text": (spaces.Tuple((spaces.Text(8), spaces.Discrete(3))), spaces.Text(3, charset="ab")),
}


@pytest.fixture(scope="module")
def knowing_engine(tiny):
    return Engine(*tiny, lanes=64)


def interface(pair, lanes=None, mode=AutoresetMode.SAME_STEP):
    return Interface(*pair, lanes=lanes, autoreset=mode)


def open_stream(engine, pair, lanes=None, mode=AutoresetMode.SAME_STEP, **kwargs):
    return engine.open(engine.layout_of(None, pair), interface(pair, lanes, mode), **kwargs)


def play(space, steps, seed, lanes=None):
    """What an environment might return: observation, and reward and flags from the second step on."""
    rng = np.random.default_rng(seed)
    space.seed(seed)
    for step in range(steps):
        observation = space.sample() if lanes is None else batch(space, [space.sample() for _ in range(lanes)])
        if step == 0 or rng.random() < 0.1:  # env.reset
            yield (observation,)
            continue
        flags = (rng.random((2, lanes or 1)) < 0.1) if lanes else rng.random(2) < 0.1
        reward = rng.normal(size=lanes) if lanes else float(rng.normal())
        yield observation, reward, flags[0], flags[1]


def batch(space, members):
    from gymnasium.vector.utils import concatenate, create_empty_array

    return concatenate(space, members, create_empty_array(space, len(members)))


def message(step, **more):
    return dict(zip(("observation", "reward", "terminated", "truncated"), step, strict=False)) | more


def assert_same(space, one, other):
    for path, value in flatten(space, one).items():
        found = flatten(space, other)[path]
        if isinstance(value, str):
            assert value == found
        else:
            assert np.asarray(value).dtype == np.asarray(found).dtype
            np.testing.assert_allclose(np.asarray(found, float), np.asarray(value, float), atol=1e-4)


def step_all(engine, streams, steps):
    asks = [stream.room.read(stream, message(step)) for stream, step in zip(streams, steps, strict=True)]
    return engine.step(asks)


@pytest.mark.parametrize("sampling", [False, True])
def test_streams_of_different_environments_act_as_agents_of_their_own(tiny, sampling):
    engine = Engine(*tiny, lanes=64)
    settings = {"deterministic": not sampling, "temperature": 0.7}
    streams, agents, plays = [], [], []
    for index, (name, pair) in enumerate([*PAIRS.items()] * 2):
        kwargs = settings | {"seed": index, "task": name if index % 2 else None}
        streams.append(open_stream(engine, pair, **kwargs))
        agents.append(LDMAgent(*tiny, pair, **kwargs))
        plays.append([*play(pair[0], 12, index)])
    rng = np.random.default_rng(0)
    places = [0] * len(streams)
    while any(place < 12 for place in places):  # each at its own pace
        chosen = [i for i in range(len(streams)) if places[i] < 12 and rng.random() < 0.6]
        if not chosen:
            continue
        found = step_all(engine, [streams[i] for i in chosen], [plays[i][places[i]] for i in chosen])
        for i, action in zip(chosen, found, strict=True):
            assert_same(agents[i].layout.action_space, agents[i].act(*plays[i][places[i]]), action)
            places[i] += 1


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_a_stream_with_lanes_acts_as_an_agent_in_a_vector(tiny, mode):
    engine, pair = Engine(*tiny, lanes=64), PAIRS["numbers"]
    other = open_stream(engine, pair)
    stream, agent = open_stream(engine, pair, 3, mode), LDMAgent(*tiny, pair, num_envs=3)
    agent.interface = interface(pair, 3, mode)
    for step, alone in zip(play(pair[0], 25, 1, 3), play(pair[0], 25, 2), strict=True):
        found, _ = step_all(engine, [stream, other], [step, alone])
        assert_same(pair[1], agent.act(*step), found)
        if mode is AutoresetMode.NEXT_STEP:
            np.testing.assert_array_equal(agent.state.idle, stream.room.state.idle[stream.seats])


@settings(max_examples=10)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["open", "step", "clear", "close"])), max_size=20))
def test_whoever_comes_and_goes_the_others_play_on(knowing_engine, tiny, happenings):
    pair, open_ones = PAIRS["numbers"], {}
    watched, agent = open_stream(knowing_engine, pair), LDMAgent(*tiny, pair)
    for (number, what), step in zip(happenings, play(pair[0], 30, 3), strict=False):
        if what == "open" and number not in open_ones:
            open_ones[number] = open_stream(knowing_engine, pair, number + 1)
        elif number in open_ones:
            stream = open_ones[number]
            if what == "close":
                knowing_engine.close(open_ones.pop(number))
            elif what == "clear":
                knowing_engine.clear(stream)
            else:
                step_all(knowing_engine, [stream], [(np.zeros((stream.lanes, 5)),)])
        (found,) = step_all(knowing_engine, [watched], [step])
        assert_same(pair[1], agent.act(*step), found)
    for stream in [watched, *open_ones.values()]:
        knowing_engine.close(stream)
    assert knowing_engine.lanes == knowing_engine.streams == 0


def test_a_saved_stream_goes_on_in_another_process_or_in_an_agent(tiny, tmp_path):
    pair, file = PAIRS["toy"], tmp_path / "state"
    one, other = Engine(*tiny, lanes=8), Engine(*tiny, lanes=8)
    stream = open_stream(one, pair, deterministic=False, seed=3)
    agent, steps = LDMAgent(*tiny, pair, deterministic=False, seed=3), [*play(pair[0], 30, 7)]
    for step in steps[:20]:
        step_all(one, [stream], [step])
        agent.act(*step)
    saved = one.save(stream)
    fresh = open_stream(other, pair, deterministic=False)
    other.restore(fresh, saved)
    file.write_bytes(saved)
    loaded = LDMAgent(*tiny, pair, deterministic=False)
    loaded.load_state(file)
    agent.save_state(file)
    from_agent = open_stream(other, pair, deterministic=False)
    other.restore(from_agent, file.read_bytes())
    for step in steps[20:]:
        expected = agent.act(*step)
        assert_same(pair[1], expected, loaded.act(*step))
        for found in step_all(other, [fresh, from_agent], [step, step]):
            assert_same(pair[1], expected, found)


def test_a_state_of_something_else_is_refused_and_nothing_changes(tiny):
    engine = Engine(*tiny, lanes=8)
    stream, other = open_stream(engine, PAIRS["numbers"]), open_stream(engine, PAIRS["grid"])
    steps = [*play(PAIRS["numbers"][0], 6, 0)]
    for step in steps[:5]:
        step_all(engine, [stream], [step])
    saved, alone = engine.save(stream), Engine(*tiny, lanes=8)
    with pytest.raises(CheckpointError, match="spaces"):
        engine.restore(other, saved)
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(saved)
        damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
        with pytest.raises(CheckpointError):
            engine.restore(stream, bytes(damaged[: rng.integers(1, len(damaged))]))
    twin = open_stream(alone, PAIRS["numbers"])
    alone.restore(twin, saved)
    assert_same(PAIRS["numbers"][1], *(step_all(e, [s], steps[5:])[0] for e, s in ((engine, stream), (alone, twin))))


def test_nothing_of_a_stream_is_left_for_the_next_in_its_slot(tiny):
    engine, pair = Engine(*tiny, lanes=1), PAIRS["numbers"]
    first = open_stream(engine, pair)
    for step in play(pair[0], 12, 0):
        step_all(engine, [first], [step])
    engine.close(first)
    open_stream(engine, pair)
    assert not any(buffer.any() for buffer in engine.cache._buffers().values())


def test_what_goes_wrong_with_one_stream_is_its_own(tiny, monkeypatch):
    engine, pair = Engine(*tiny, lanes=8), PAIRS["numbers"]
    streams, agents = [open_stream(engine, pair) for _ in range(3)], [LDMAgent(*tiny, pair) for _ in range(3)]
    steps = [*play(pair[0], 20, 0)]
    for index, step in enumerate(steps):
        asks = [stream.room.read(stream, message(step)) for stream in streams]
        if index == 10:
            asks[1].parts = {"": np.zeros((1, 4))}  # as a mistake of ours would
        found = engine.step(asks)
        for lane in (0, 2):
            assert_same(pair[1], agents[lane].act(*step), found[lane])
        assert isinstance(found[1], ServerError) == (index == 10)
    with torch.inference_mode():
        engine.cache._attending[0].keys[streams[1].slots] = float("nan")
    found = step_all(engine, streams, [step] * 3)
    assert isinstance(found[1], LDMError) and "NaN" in str(found[1])
    assert_same(pair[1], agents[0].act(*step), found[0])
    engine.clear(streams[1])
    assert not isinstance(step_all(engine, streams[1:2], [step])[0], LDMError)


def test_a_pass_that_fails_is_tried_stream_by_stream(tiny, monkeypatch):
    engine, pair = Engine(*tiny, lanes=8), PAIRS["numbers"]
    streams, agent = [open_stream(engine, pair) for _ in range(3)], LDMAgent(*tiny, pair)
    run = engine.model.forward

    def forward(**inputs):
        if len(inputs["feedback"]) > 1:
            raise MemoryError("no more")
        return run(**inputs)

    for step in play(pair[0], 5, 0):
        with monkeypatch.context() as patch:
            patch.setattr(engine.model, "forward", forward)
            found = step_all(engine, streams, [step] * 3)
        expected = agent.act(*step)
        for action in found:
            assert_same(pair[1], expected, action)


def test_a_stream_that_was_closed_acts_no_more(tiny):
    engine, pair = Engine(*tiny, lanes=2), PAIRS["numbers"]
    gone, stays = open_stream(engine, pair), open_stream(engine, pair)
    asks = [stream.room.read(stream, {"observation": np.zeros(5)}) for stream in (gone, stays)]
    engine.close(gone)
    taken = open_stream(engine, pair)
    before = taken.room.state.has_previous[taken.seats].any()
    found = engine.step(asks)
    assert isinstance(found[0], ServerError) and pair[1].contains(found[1])
    assert not before and not taken.room.state.has_previous[taken.seats].any()


def test_what_does_not_fit_is_said_before_a_pass(tiny):
    engine = Engine(*tiny, lanes=2, elements=4)
    stream = open_stream(engine, PAIRS["numbers"])
    for wrong in (np.zeros(4), "text", None, [1, 2, 3, 4, "x"], {"a": 1}):
        with pytest.raises(SpaceMismatchError):
            stream.room.read(stream, {"observation": wrong})
    with pytest.raises(ServerError, match=r"2 lane.* 1 of 2"):
        open_stream(engine, PAIRS["numbers"], 2)
    with pytest.raises(UnsupportedSpaceError, match="elements"):
        open_stream(engine, (OBSERVATION, spaces.MultiBinary(5)))
