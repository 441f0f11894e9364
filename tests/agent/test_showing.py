"""Episodes of somebody else are as good as those that the agent has played itself."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from ldm_hf import LDMAgent, LDMForActionPrediction, LDMProcessor
from ldm_hf.errors import ArgumentError, NonFiniteError, SpaceMismatchError
from ldm_hf.spaces import space_to_json, stack, unflatten
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter, open_dataset

from ..model.test_backbones import config_of
from ..toys import ACTION, OBSERVATION, Recorder, difference, episodes

FLAGS = ("terminated", "truncated")
JUNK = (123.0, False, True)  # of a step that the agent has not taken


def live(agent, shown, lanes=1):
    """The agent observes these steps and is told that it has chosen these actions."""
    feedback = ()
    for episode in shown:
        for step in range(len(episode["reward"])):
            observation, action = (
                unflatten(space, {path: values[step] for path, values in episode[role].items()})
                for space, role in ((OBSERVATION, "observation"), (ACTION, "action"))
            )
            agent.act(observation, *feedback)
            agent.executed(action)
            feedback = tuple(episode[name][step].item() for name in ("reward", *FLAGS))
    return feedback


def check_equal(make_agent, shown, more=6):
    """An agent that was shown episodes goes on as one that has lived them; logits agree to 1e-4."""
    lived, told = make_agent(), make_agent()
    last = live(lived, shown)
    told.show(shown)
    OBSERVATION.seed(5)
    logits = []
    for step in range(more):
        observation = OBSERVATION.sample()
        for agent, feedback in ((lived, last), (told, JUNK if step == 0 else last)):
            with Recorder(agent.model) as recorder:
                agent.act(observation, *feedback)
            logits.append(recorder.logits[0])
        last = (float(step), False, step == 3)
    assert max(difference(*pair) for pair in zip(logits[::2], logits[1::2], strict=True)) < 1e-4
    assert torch.stack(logits).std() > 0
    for name, array in lived.state.arrays().items():
        if name.partition(".")[0] != "cache":
            np.testing.assert_allclose(array, told.state.arrays()[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("environment", ["Toy-v0", None], ids=["known", "unknown"])
@pytest.mark.parametrize("count", [1, 30])
def test_shown_is_lived(knowing, monkeypatch, environment, count):
    """Also beyond the window, chunks and the place where positions are re-based."""
    monkeypatch.setattr("ldm_hf.cache_ldm.REBASE_INTERVAL", 20)
    monkeypatch.setattr("ldm_hf.demonstrations_ldm.CHUNK", 13)
    check_equal(lambda: LDMAgent(*knowing, (OBSERVATION, ACTION), environment=environment), episodes(count))


@pytest.mark.parametrize("kind", ["llama", "mistral", "lfm2", "mamba2"])
def test_shown_is_lived_with_other_backbones(kind):
    model = LDMForActionPrediction(config_of(kind)).eval()
    processor = LDMProcessor.from_config(model.config)
    check_equal(lambda: LDMAgent(model, processor, (OBSERVATION, ACTION)), episodes(8))


def test_shown_is_lived_with_a_window_for_each_layer(knowing):
    config = type(knowing[0].config).from_dict(knowing[0].config.to_dict() | {"layer_windows": [3, 8]})
    model = LDMForActionPrediction(config).eval()
    check_equal(lambda: LDMAgent(model, knowing[1], (OBSERVATION, ACTION)), episodes(8))


def test_the_model_is_called_once_a_chunk(knowing, monkeypatch):
    monkeypatch.setattr("ldm_hf.demonstrations_ldm.CHUNK", 16)
    calls = []
    knowing[0].model.backbone.register_forward_hook(lambda *_: calls.append(1))
    shown = episodes(20)
    LDMAgent(*knowing, (OBSERVATION, ACTION)).show(shown)
    assert len(calls) == -(-sum(len(episode["reward"]) for episode in shown) // 16) < len(shown)


def test_lanes_are_shown_their_own(knowing):
    pair, shown, more = (OBSERVATION, ACTION), episodes(6), episodes(3, seed=1)
    agent, alone = LDMAgent(*knowing, pair, num_envs=3), [LDMAgent(*knowing, pair, num_envs=1) for _ in range(3)]
    agent.show(shown, [0, 2])
    agent.show(more, np.array([False, False, True]))
    alone[0].show(shown)
    alone[2].show([*shown, *more])
    observations = stack(OBSERVATION, [OBSERVATION.sample()] * 3)
    batch = unflatten(OBSERVATION, observations)
    with Recorder(knowing[0], 3) as recorder:
        agent.act(batch)
    for lane, single in enumerate(alone):
        with Recorder(knowing[0]) as one:
            single.act(unflatten(OBSERVATION, {path: values[:1] for path, values in observations.items()}))
        assert difference(recorder.logits[0][lane], one.logits[0][0]) < 1e-4
    with pytest.raises(ArgumentError, match="3 lanes"):
        agent.show(shown, [3])


def test_every_form_of_an_episode_is_the_same(knowing, tmp_path):
    datasets = pytest.importorskip("datasets")
    shown = episodes(3)
    whole = {"name": "Toy-v0", "env_id": "Toy-v0"}
    info = EnvironmentInfo(**whole, observation_space=space_to_json(OBSERVATION), action_space=space_to_json(ACTION))
    with TrajectoryWriter(tmp_path, info) as writer:
        for number, episode in enumerate(shown):
            writer.write(episode | {"behaviour": "clean", "seed": number})
    stream = open_dataset(tmp_path)["Toy-v0"]
    rows = datasets.Dataset.from_parquet(
        str(next(tmp_path.glob("Toy-v0/*.parquet"))), cache_dir=str(tmp_path / "cache")
    )
    batched = [
        episode
        | {role: unflatten(space, episode[role]) for role, space in (("observation", OBSERVATION), ("action", ACTION))}
        for episode in shown
    ]
    agents = []
    for form in (shown, batched, stream, list(rows), [stream.part(0, 1), stream.part(1, 3)]):
        agents.append(LDMAgent(*knowing, (OBSERVATION, ACTION)))
        agents[-1].show(form)
    first = agents[0].state.arrays()
    for agent in agents[1:]:
        for name, array in agent.state.arrays().items():
            np.testing.assert_allclose(array, first[name], atol=1e-4, err_msg=name)


def test_what_cannot_be_shown_is_refused_and_nothing_forgotten(knowing):
    agent, (good,) = LDMAgent(*knowing, (OBSERVATION, ACTION)), episodes(1)
    agent.act(OBSERVATION.sample())
    before = agent.state.arrays()
    wrong = [
        ([], ArgumentError, "no episode"),
        (3, ArgumentError, "pass a stream"),
        ([good, 7], ArgumentError, "shown episode 1 is a int"),
        ({"reward": [1.0]}, ArgumentError, "no observation"),
        (good | {"reward": good["reward"][:-1]}, SpaceMismatchError, "shown episode 0: the observation at leaf"),
        (good | {"terminated": [False]}, ArgumentError, "terminated"),
        (good | {"reward": good["reward"] + np.nan}, NonFiniteError, "a reward is NaN"),
        (
            good | {"action": {**good["action"], "choice": good["action"]["choice"] + 9}},
            SpaceMismatchError,
            "is no action",
        ),
        (good | {"observation": np.zeros((len(good["reward"]), 4))}, SpaceMismatchError, "observation: leaf"),
        (good | {"action": {"choice": good["action"]["choice"]}}, SpaceMismatchError, "leaf 'force' is missing"),
    ]
    for episode, error, text in wrong:
        with pytest.raises(error, match=text):
            agent.show(episode)
    for name, array in agent.state.arrays().items():
        assert np.array_equal(array, before[name]), name


def test_a_dataset_of_another_environment_is_refused(knowing, tmp_path):
    other = spaces.Box(-1, 1, (2,))
    info = EnvironmentInfo("Other-v0", "Other-v0", space_to_json(other), space_to_json(spaces.Discrete(2)))
    with TrajectoryWriter(tmp_path, info) as writer:
        ends = np.array([False, True])
        choices = {"": np.zeros(2, np.int64)}
        writer.write(
            {
                "observation": {"": np.zeros((2, 2), np.float32)},
                "action": choices,
                "label": choices,
                "reward": np.ones(2, np.float32),
            }
            | {"terminated": ends, "truncated": ~ends & ends, "behaviour": "clean", "seed": 0}
        )
    with pytest.raises(SpaceMismatchError, match="observation space of shown episode 0"):
        LDMAgent(*knowing, (OBSERVATION, ACTION)).show(open_dataset(tmp_path)["Other-v0"])
