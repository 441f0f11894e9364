"""The agent where something does not fit: masks, broken numbers, other spaces, damaged checkpoints."""

import json
import logging

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import SyncVectorEnv
from safetensors.torch import save_file

from ldm_hf import LDMAgent, LDMProcessor
from ldm_hf.errors import CheckpointError, SpaceMismatchError, UnknownEnvironmentError

from ..conftest import TINY
from ..toys import ACTION, CHOICE, OBSERVATION, STATISTICS, Fixed, Recorder, Toy, difference


@pytest.fixture()
def saved(tiny, tmp_path):
    for part in tiny:
        part.save_pretrained(tmp_path / "model")
    return tmp_path / "model"


# --- masks and NaN ---------------------------------------------------------------------------------------------------


def best_legal(logits, legal):
    return int(np.where(legal, logits[: len(legal)], -np.inf).argmax())


@pytest.mark.parametrize("legal", [[0, 0, 0, 1, 0], [1, 1, 0, 0, 0], [0, 1, 1, 1, 1], [0, 0, 0, 0, 0]])
@pytest.mark.parametrize(
    "kind", [list, tuple, lambda mask: np.array(mask, np.int8), lambda mask: np.array(mask, bool)]
)
def test_illegal_choices_are_never_taken(tiny, legal, kind):
    env = Fixed(info={"action_mask": kind(legal)})
    with Recorder(tiny[0]) as recorder:
        action = LDMAgent(*tiny, env).act(*env.reset()[:1], info=env.info)
    # a mask that allows nothing says nothing
    assert action == best_legal(recorder.logits[0][0, 0].numpy(), legal if any(legal) else [1] * 5)
    samples = {
        int(LDMAgent(*tiny, env, deterministic=False, seed=s).act(env.observation, info=env.info)) for s in range(9)
    }
    assert not any(legal) or all(legal[sample] for sample in samples)


def test_every_lane_has_its_own_mask(tiny):
    masks = [np.eye(5, dtype=np.int8)[index] for index in (4, 0, 2)]
    env = SyncVectorEnv([lambda mask=mask: Fixed(info={"action_mask": mask}) for mask in masks])
    observation, info = env.reset()
    assert LDMAgent(*tiny, env).act(observation, info=info).tolist() == [4, 0, 2]


def test_lanes_without_a_mask_choose_freely(tiny):
    free = int(LDMAgent(*tiny, Fixed()).act(Fixed().observation))
    only = (free + 1) % 5
    env = SyncVectorEnv([lambda: Fixed(info={"action_mask": np.eye(5, dtype=np.int8)[only]}), Fixed])
    observation, info = env.reset()
    assert LDMAgent(*tiny, env).act(observation, info=info).tolist() == [only, free]


PARTS = (np.array([0, 0, 1], np.int8), np.array([0, 1], np.int8))


def test_masks_of_several_choices(tiny):
    env = Fixed(action_space=spaces.MultiDiscrete([3, 2]), info={"action_mask": PARTS})  # as Gymnasium samples
    assert LDMAgent(*tiny, env).act(env.observation, info=env.info).tolist() == [2, 1]
    env.info["action_mask"] = np.concatenate(PARTS)  # as sb3-contrib has it
    assert LDMAgent(*tiny, env).act(env.observation, info=env.info).tolist() == [2, 1]


@pytest.mark.parametrize("others", [{"action_mask": PARTS}, {}], ids=["all lanes", "one lane"])
def test_masks_of_several_choices_in_a_vector(tiny, others):
    space = spaces.MultiDiscrete([3, 2])
    infos = ({"action_mask": PARTS}, others)
    env = SyncVectorEnv([lambda info=info: Fixed(action_space=space, info=info) for info in infos])
    observation, info = env.reset()
    assert LDMAgent(*tiny, env).act(observation, info=info)[0].tolist() == [2, 1]


def test_masks_of_more_choices_than_logits(tiny):
    legal = np.arange(30) % 7 == 4
    env = Fixed(action_space=spaces.Discrete(30), info={"action_mask": legal})
    assert legal[LDMAgent(*tiny, env).act(env.observation, info=env.info)]


def test_a_mask_of_wrong_length_is_an_error(tiny):
    env = Fixed(info={"action_mask": np.ones(4)})
    with pytest.raises(SpaceMismatchError, match="action_mask has shape"):
        LDMAgent(*tiny, env).act(env.observation, info=env.info)


@pytest.mark.parametrize("name", ["Toy-v0", None], ids=["known", "unknown"])
def test_nan_warns_once_and_acts_on(knowing, caplog, name):
    env = Toy()
    agent = LDMAgent(*knowing, env, name)
    observation, _ = env.reset()
    told = ()
    with caplog.at_level(logging.WARNING, "ldm_hf.agent"), Recorder(knowing[0]) as recorder:
        for value, reward in [(np.nan, np.nan), (50, 1), (np.inf, np.inf), (-np.inf, 1), (np.nan, 1), (50, 1)]:
            broken = observation | {"x": np.array([value, 50, 51], np.float32)}
            assert ACTION.contains(agent.act(broken, *told))
            told = (reward, False, False)
    assert all(torch.isfinite(logits).all() for logits in recorder.logits)
    assert [record.name for record in caplog.records] == ["ldm_hf.agent"]
    assert (name or "the environment") in caplog.text and "NaN" in caplog.text


def test_an_infinite_reward_does_not_hide_later_ones(tiny):
    env = Fixed()
    agent = LDMAgent(*tiny, env)
    with Recorder(tiny[0]) as recorder:
        for feedback in [(), (np.inf, False, False), (1.0, False, False)]:
            agent.act(env.observation, *feedback)
    assert recorder.feedback[2][0, 0] > 0.1


def test_nan_in_pixels_warns_too(tiny, caplog):
    env = Fixed(spaces.Box(0, 1, (20, 20, 3)))
    with caplog.at_level(logging.WARNING, "ldm_hf.agent"):
        LDMAgent(*tiny, env).act(np.full((20, 20, 3), np.nan, np.float32))
    assert "NaN" in caplog.text


def test_nan_is_the_mean_of_the_data(knowing):
    env = Toy()
    observation, _ = env.reset()
    with Recorder(knowing[0]) as recorder:
        for value in (np.nan, STATISTICS["observation"]["x"]["mean"][0]):
            agent = LDMAgent(*knowing, env, "Toy-v0")
            agent.act(observation | {"x": np.array([value, 50, 51], np.float32)})
    assert difference(*recorder.logits) == 0


# --- what does not fit -----------------------------------------------------------------------------------------------


def test_an_environment_is_known_by_its_own_id(tiny):
    env = gymnasium.make("CartPole-v1")
    processor = LDMProcessor.from_config(tiny[0].config)
    one = {"mean": np.zeros(4), "std": np.ones(4)}
    statistics = {"observation": {"": one}, "reward": {"mean": 1.0, "std": 0.0}}
    processor.add_environment("CartPole-v1", env.observation_space, env.action_space, statistics, "balance")
    for known in (env, gymnasium.make_vec("CartPole-v1", 2, vectorization_mode="sync")):
        agent = LDMAgent(tiny[0], processor, known)
        assert agent.layout.name == "CartPole-v1" and agent.known_statistics and agent.task_ids.any()
    changed = gymnasium.wrappers.FrameStackObservation(env, 2)  # same id, other observations
    agent = LDMAgent(tiny[0], processor, changed)
    assert agent.layout.observation_space == changed.observation_space and not agent.known_statistics
    with pytest.raises(SpaceMismatchError, match="observation space of CartPole-v1"):
        LDMAgent(tiny[0], processor, changed, "CartPole-v1")


def test_a_vector_is_known_by_the_id_of_its_environments(tiny):
    processor = LDMProcessor.from_config(tiny[0].config)
    env = SyncVectorEnv([lambda: gymnasium.make("CartPole-v1")] * 2)
    processor.add_environment("CartPole-v1", env.single_observation_space, env.single_action_space, task="balance")
    assert LDMAgent(tiny[0], processor, env).layout.name == "CartPole-v1"


def test_other_spaces_than_the_known_ones_are_told_leaf_by_leaf(knowing):
    wide = spaces.Dict({**OBSERVATION.spaces, "x": spaces.Box(-np.inf, np.inf, (4,)), "y": CHOICE})
    with pytest.raises(
        SpaceMismatchError, match=r"observation space of Toy-v0.*y: found.*x: shape \[3\] expected, \[4\]"
    ):
        LDMAgent(*knowing, (wide, ACTION), "Toy-v0")
    with pytest.raises(SpaceMismatchError, match=r"action space of Toy-v0.*Dict expected, Discrete found"):
        LDMAgent(*knowing, (OBSERVATION, CHOICE), "Toy-v0")


def test_an_unknown_name_tells_the_known_ones(knowing):
    with pytest.raises(UnknownEnvironmentError, match=r"'Nothing-v0'. Known: Toy-v0"):
        LDMAgent(*knowing, Toy(), "Nothing-v0")


@pytest.mark.parametrize(
    ("observation", "message"),
    [
        (
            {"x": np.zeros((2, 4)), "level": np.zeros(2), "says": ("a", "b")},
            r"leaf 'x' has shape \(2, 4\), expected \(2, 3\)",
        ),
        (
            {"x": np.zeros((3, 3)), "level": np.zeros(3), "says": ("a", "b", "a")},
            r"leaf 'level' has shape \(3,\), expected \(2,\)",
        ),
        ({"x": np.zeros((2, 3)), "level": np.zeros(2)}, "leaf 'says' is missing"),
        (np.zeros((2, 3)), "is missing: expected a member of Dict"),
    ],
)
def test_an_observation_that_does_not_fit_names_its_leaf(tiny, observation, message):
    agent = LDMAgent(*tiny, (OBSERVATION, ACTION), num_envs=2)
    with pytest.raises(SpaceMismatchError, match=message):
        agent.act(observation)


def test_model_and_processor_must_belong_together(tiny):
    with pytest.raises(CheckpointError, match="num_choices: model 21, processor 101"):
        LDMAgent(tiny[0], LDMProcessor(), Fixed())


# --- loading ---------------------------------------------------------------------------------------------------------


def test_a_missing_or_empty_folder_is_named(tmp_path):
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(CheckpointError, match=f"no usable LDM at {folder}"):
            LDMAgent.from_pretrained(folder, Fixed())


def change_config(folder, **values):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | values
    path.write_text(json.dumps({name: value for name, value in config.items() if value is not None}))


def truncate(path):
    path.write_bytes(path.read_bytes()[:-1000])


FULL_ATTENTION = TINY["backbone_config"] | {"use_sliding_window": False, "sliding_window": None}


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "model.safetensors").unlink(),
        lambda folder: (folder / "config.json").write_text("{"),
        lambda folder: (folder / "processor_config.json").write_text("{"),
        lambda folder: (folder / "processor_config.json").unlink(),
        lambda folder: (folder / "config.json").write_text("{}"),
        lambda folder: change_config(folder, backbone_config=None),
        lambda folder: change_config(folder, backbone_config=FULL_ATTENTION, window=0),
        lambda folder: change_config(folder, num_choices="many"),
        lambda folder: change_config(folder, num_choices=33),
        lambda folder: truncate(folder / "model.safetensors"),
        lambda folder: save_file({"x": torch.zeros(1)}, folder / "model.safetensors"),
    ],
    ids=[
        *("no weights", "broken config", "broken processor", "no processor"),
        *(
            "empty config",
            "no backbone",
            "no window",
            "wrong type",
            "other sizes",
            "truncated weights",
            "other weights",
        ),
    ],
)
def test_a_damaged_checkpoint_is_an_error_of_ours(saved, damage):
    damage(saved)
    with pytest.raises(CheckpointError):
        LDMAgent.from_pretrained(saved, Fixed())
