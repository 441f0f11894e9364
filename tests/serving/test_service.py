"""Whatever a client asks for is answered, or an error of this package; never a mistake of ours."""

import asyncio
import logging

import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm_hf.errors import ArgumentError, LDMError
from ldm_hf.serving.engine import Engine
from ldm_hf.serving.limits import Limits
from ldm_hf.serving.service import Service, Session
from ldm_hf.spaces import space_to_json, stack

from ..toys import ACTION, OBSERVATION
from .test_protocol import VALUES

PAIRS = (
    (OBSERVATION, ACTION),
    (spaces.Box(-1, 1, (2,)), spaces.Discrete(3)),
    (spaces.Tuple((spaces.Discrete(2), spaces.Text(3))), spaces.Tuple((spaces.MultiBinary(2), spaces.Text(2)))),
)
FIELDS = (
    *("observation", "reward", "terminated", "truncated", "info", "present", "episode_start", "action", "lanes"),
    *(
        "deterministic",
        "temperature",
        "state",
        "prompt",
        "episodes",
        "environment",
        "observation_space",
        "task",
        "seed",
    ),
    "autoreset",
)


def opening(pair):
    return {"observation_space": space_to_json(pair[0]), "action_space": space_to_json(pair[1])}


def good(pair):
    """What a client of good will sends."""
    observation, action = ({"observation": pair[0].sample()}, {"action": pair[1].sample()})
    feedback = {"reward": 1.0, "terminated": False, "truncated": False}
    needed = {"open": opening(pair), "act": observation | feedback, "infer": observation, "executed": action}
    parts = {
        role: stack(space, [step[role]])
        for space, step in zip(pair, (observation, action), strict=True)
        for role in step
    }
    episode = parts | {"reward": [1.0]}
    needed |= {"watch": observation | action, "show": {"episodes": [episode]}}
    return needed | {"clear": {}, "reset": {}, "save": {}, "restore": {"state": b"x"}}


@pytest.fixture(scope="module")
def loop():
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def service(tiny, loop):
    async def make():
        return Service(Engine(*tiny, lanes=8), Limits(lanes=8), "tiny")

    made = loop.run_until_complete(make())
    yield made
    loop.run_until_complete(made.stop())


@settings(max_examples=150)
@given(st.data())
def test_any_field_of_any_method_may_be_anything(service, loop, data):
    pair, lanes = data.draw(st.sampled_from(PAIRS)), data.draw(st.sampled_from([None, 2]))
    messages = good(pair)
    method = data.draw(st.sampled_from(sorted(messages)))
    wrong = data.draw(st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=1, max_size=2))
    if method == "show":
        messages[method]["episodes"][0] |= wrong
        wrong = data.draw(st.sampled_from([wrong, {}]))

    async def ask():
        session = Session("a client")
        service.sessions.add(session)
        try:
            if method != "open":
                await service.ask(session, "open", opening(pair) | {"lanes": lanes})
            await service.ask(session, method, messages[method] | wrong)
        except LDMError as error:
            assert "its log says more" not in str(error), wrong
        finally:
            await service.leave(session)

    loop.run_until_complete(ask())
    assert service.engine.streams == service.engine.lanes == 0


def test_a_mistake_of_ours_is_the_matter_of_one_client(service, loop, monkeypatch, caplog):
    async def ask():
        session = Session("a client")
        await service.ask(session, "open", opening(PAIRS[1]))
        with monkeypatch.context() as patch:
            patch.setattr(session.stream.room, "read", lambda *_: 1 / 0)
            with pytest.raises(LDMError, match="ZeroDivisionError"):
                await service.ask(session, "act", {})
        found = await service.ask(session, "act", {"observation": PAIRS[1][0].sample()})
        await service.batcher.call(service.engine.close, session.stream)
        return found

    with caplog.at_level(logging.ERROR, logger="ldm_hf.serving"):
        assert PAIRS[1][1].contains(loop.run_until_complete(ask())["action"])
    assert caplog.records[0].exc_info  # the log has the place


def test_methods_are_told(service, loop):
    for method, told in (("fly", "there are open, act, watch, show"), ("act", "call open")):
        with pytest.raises(ArgumentError, match=told):
            loop.run_until_complete(service.ask(Session("a client"), method, {}))
