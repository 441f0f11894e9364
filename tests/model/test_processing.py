"""Observations in, actions out: any space, vectorised, and always a member of the space."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from ldm_hf import LDMProcessor
from ldm_hf.actions_ldm import ActionCodec
from ldm_hf.configuration_ldm import LDMConfig
from ldm_hf.errors import CheckpointError, NonFiniteError, SpaceMismatchError, UnknownEnvironmentError
from ldm_hf.layout_ldm import EnvironmentLayout
from ldm_hf.observations_ldm import leaf_kind
from ldm_hf.spaces import stack, unflatten
from ldm_hf.statistics_ldm import SINGLE, RunningStatistics, prefix_rms, prefix_standardise

from ..conftest import encode_observations, random_steps
from ..strategies import action_spaces, observation_spaces


@given(observation_spaces, action_spaces, st.integers(0, 50), st.booleans())
def test_encode_model_decode_is_always_in_the_space(tiny, observation_space, action_space, seed, deterministic):
    model, processor = tiny
    layout = EnvironmentLayout(processor.sizes, observation_space, action_space)
    encoded = layout.encode_segment(random_steps(observation_space, action_space, 3, seed), known_statistics=False)
    batch = processor([encoded, encoded])
    with torch.no_grad():
        output = model(**batch)
    assert torch.isfinite(output.loss)
    predicted = (
        values.view(2, len(layout.actions.sizes), *values.shape[1:])[:, :, -1].numpy()
        for values in (output.logits, output.means, output.deviations)
    )
    positions = layout.actions.choose(*predicted, deterministic, rng=np.random.default_rng(seed))
    parts = layout.actions.decode(positions)
    for row in range(2):
        action = unflatten(action_space, {path: values[row] for path, values in parts.items()})
        assert action_space.contains(action), action


@given(action_spaces, st.integers(0, 50))
def test_actions_survive_positions(space, seed):
    """Discrete choices and texts exactly, bounded reals to float precision."""
    space.seed(seed)
    parts = stack(space, [space.sample() for _ in range(4)])
    codec = ActionCodec(space, 21, 256, 64)
    positions = codec.positions(parts)
    low, high = (np.where(codec.continuous, *bounds) for bounds in ((-1, 0), (1, codec.sizes - 1)))
    assert (positions >= low).all() and (positions <= high).all()
    decoded = codec.decode(positions)
    for leaf in codec.leaves:
        if not leaf.continuous:
            assert np.array_equal(parts[leaf.path], decoded[leaf.path])
        elif np.issubdtype(leaf.space.dtype, np.floating) and leaf.linear.all():
            np.testing.assert_allclose(parts[leaf.path], decoded[leaf.path], atol=1e-5)


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        (spaces.Box(-1, 1, (17,)), "numeric"),
        (spaces.Box(0, 255, (128,), np.uint8), "numeric"),  # Atari's memory: bytes, not symbols
        (spaces.Discrete(500), "categorical"),
        (spaces.MultiBinary(4), "categorical"),
        (spaces.MultiBinary(40), "grid"),
        (spaces.Box(0, 255, (7, 7, 3), np.uint8), "grid"),  # MiniGrid's view
        (spaces.Box(0, 1, (10, 10, 4), bool), "grid"),  # MinAtar
        (spaces.Box(0, 255, (84, 84), np.uint8), "pixels"),
        (spaces.Box(0, 255, (4, 84, 84), np.uint8), "pixels"),
        (spaces.Box(0.0, 1.0, (64, 64, 3), np.float32), "pixels"),
        (spaces.Text(10), "text"),
    ],
)
def test_kinds_follow_shape_and_range(space, kind):
    assert leaf_kind(space) == kind


def test_encoding_many_steps_equals_encoding_each(processor):
    observation_space = spaces.Dict(
        {
            "grid": spaces.Box(0, 255, (7, 23, 3), np.uint8),  # wider than a tile
            "pixels": spaces.Box(0, 255, (5, 20, 20), np.uint8),  # more channels than one image
            "flags": spaces.MultiBinary(30),
            "text": spaces.Text(8),
            "x": spaces.Box(-1, 1, (40,)),  # more scalars than columns
        }
    )
    layout = EnvironmentLayout(processor.sizes, observation_space, spaces.Discrete(2))
    parts = random_steps(observation_space, spaces.Discrete(2), 6)["observation"]
    whole = encode_observations(layout.observations, parts)
    for step in range(6):
        one = {path: values[step : step + 1] for path, values in parts.items()}
        single = encode_observations(layout.observations, one)
        for name in ("numeric", "raw_numeric", "categorical"):
            assert np.array_equal(getattr(whole, name)[step], getattr(single, name)[0]), name
        assert np.array_equal(whole.grid[:, step], single.grid[:, 0]) and np.array_equal(
            whole.pixels[:, step], single.pixels[:, 0]
        )
    assert whole.grid.shape[:2] == (4, 6)  # three tiles of the view and one of the flags
    assert whole.pixels.shape[:2] == (2, 6)


def test_different_values_of_a_leaf_never_share_an_id(processor):
    layout = EnvironmentLayout(processor.sizes, spaces.Discrete(250), spaces.Discrete(2))
    ids = encode_observations(layout.observations, {"": np.arange(250)}).categorical
    assert len(np.unique(ids)) == 250 and ids.min() >= 1


def test_running_statistics_equal_prefix_statistics():
    rng = np.random.default_rng(0)
    x, reward = rng.normal(1e6, 3, (50, 4)), rng.normal(size=50)
    running = RunningStatistics(2, np.full(4, SINGLE))
    active = np.array([True, False])
    seen = [running.observe(np.stack([row, row]), active)[0] for row in x]
    np.testing.assert_allclose(seen, prefix_standardise(x), atol=1e-9)
    np.testing.assert_allclose(seen[20:], prefix_standardise(x, first=20), atol=1e-9)
    scales = [running.reward_scale(np.array([r, r]), active)[0] for r in reward]
    np.testing.assert_allclose(scales, prefix_rms(reward))
    assert running.count[1] == 0


@pytest.mark.parametrize("value", [1e6, 1e-6, 2**40, 0.0])
def test_standardised_numbers_are_finite_at_any_scale(processor, value):
    space = spaces.Box(-np.inf, np.inf, (2,), np.float64)
    layout = EnvironmentLayout(processor.sizes, space, spaces.Discrete(2))
    steps = random_steps(space, spaces.Discrete(2), 10)
    steps["observation"][""] = value * np.random.default_rng(0).normal(size=(10, 2))
    numeric = layout.encode_segment(steps, known_statistics=False).observation.numeric
    assert np.isfinite(numeric).all()
    if value:
        assert 0.1 < np.abs(numeric).max() <= 10


def test_rewards_of_any_size_stay_finite(processor):
    layout = EnvironmentLayout(processor.sizes, spaces.Discrete(2), spaces.Discrete(2))
    steps = random_steps(spaces.Discrete(2), spaces.Discrete(2), 10)
    steps["reward"] = np.array([1e9, -1e9] * 5)
    feedback = layout.encode_segment(steps).feedback
    assert np.isfinite(feedback).all() and np.abs(feedback).max() < 5


@pytest.mark.parametrize("space", [spaces.Discrete(2), spaces.Box(-1, 1, (3,)), spaces.Text(3, charset="ab")])
def test_the_first_token_of_a_stream_tells_of_no_step_before(processor, space):
    layout = EnvironmentLayout(processor.sizes, spaces.Discrete(2), space)
    steps = random_steps(spaces.Discrete(2), space, 3)
    steps["reward"], steps["terminated"] = np.ones(3), np.array([True, False, False])  # an episode of one step
    encoded = layout.encode_segment(steps)
    ids = encoded.categorical[:, encoded.observation.categorical.shape[1] :]
    assert not encoded.feedback[0].any() and not ids[0].any() and not encoded.action_numeric[0].any()
    assert encoded.feedback[1:, 5].all() and encoded.feedback[1, 3] == 1
    assert layout.actions.continuous.any() or ids[1:].any()


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_raw_numbers_are_as_exact_as_single_precision_and_never_overflow(processor, dtype):
    low, high = (-(2**62), 2**62) if dtype == np.int64 else (-np.finfo(dtype).max / 2, np.finfo(dtype).max / 2)
    layout = EnvironmentLayout(processor.sizes, spaces.Box(low, high, (2,), dtype), spaces.Discrete(2))
    values = np.array([[low, high], [3, 2**31]], dtype)
    numbers = layout.observations.numbers({"": values}, 2)
    raw = layout.observations.encode({"": values}, numbers, np.zeros_like(numbers)).raw_numeric
    np.testing.assert_allclose(raw, np.arcsinh(values.astype(np.longdouble)).astype(np.float64), rtol=1e-6)


def test_nan_in_data_names_environment_and_leaf(processor):
    space = spaces.Dict({"arm": spaces.Box(-1, 1, (2,)), "other": spaces.Box(-1, 1, (2,))})
    processor.add_environment("Robot-v1", space, spaces.Discrete(2))
    steps = random_steps(space, spaces.Discrete(2), 5)
    steps["observation"]["arm"][2, 1] = np.nan
    with pytest.raises(NonFiniteError, match=r"Robot-v1.*'arm'"):
        processor.layout("Robot-v1").encode_segment(steps)


def test_nan_in_real_pixels_is_named_too(processor):
    space = spaces.Dict({"camera": spaces.Box(0, 1, (20, 20, 3))})
    steps = random_steps(space, spaces.Discrete(2), 3)
    steps["observation"]["camera"][1, 0, 0, 0] = np.inf
    with pytest.raises(NonFiniteError, match="'camera'"):
        EnvironmentLayout(processor.sizes, space, spaces.Discrete(2)).encode_segment(steps)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("past", [1, 2, 7])
def test_a_segment_continues_its_stream(processor, past, known):
    """What leads up to a segment is history and statistics, and gets no token."""
    space = spaces.Dict({"x": spaces.Box(-1, 1, (2,)), "d": spaces.Discrete(4)})
    statistics = {"observation": {"x": {"mean": np.ones(2), "std": np.ones(2)}}, "reward": {"mean": 0.5, "std": 2.0}}
    layout = EnvironmentLayout(processor.sizes, space, spaces.Discrete(5), statistics=statistics)
    steps = random_steps(space, spaces.Discrete(5), 12)
    whole = layout.encode_segment(steps, known_statistics=known)
    later = layout.encode_segment(steps, past=past, known_statistics=known)
    assert later.length == 12 - past
    for name in ("categorical", "feedback", "action_numeric", "labels"):
        assert np.array_equal(getattr(whole, name)[past:], getattr(later, name)), name
    assert np.array_equal(whole.observation.numeric[past:], later.observation.numeric)
    assert not whole.feedback[0].any() and not whole.action_numeric[0].any()
    assert np.array_equal(whole.feedback[1:, 3], steps["terminated"][:-1])


def test_action_masks_forbid(processor):
    codec = ActionCodec(spaces.MultiDiscrete([3, 2]), 21, 256, 64)
    mask = np.array([[0, 0, 1, 1, 0], [0, 0, 0, 0, 1]])
    predicted = np.zeros((2, 2, 21)), np.zeros((2, 2)), np.zeros((2, 2))
    positions = codec.choose(*predicted, mask=mask)
    assert positions.tolist() == [[2, 0], [0, 1]]  # a mask that allows nothing says nothing
    with pytest.raises(SpaceMismatchError, match="action_mask has shape"):
        codec.choose(*predicted, mask=np.ones((2, 4)))


def test_the_processor_survives_saving(processor, tmp_path):
    space = spaces.Box(-1, 1, (2,))
    statistics = {"observation": {"": {"mean": np.ones(2), "std": np.ones(2)}}, "reward": {"mean": 0.5, "std": 2.0}}
    processor.add_environment("A-v0", space, spaces.Discrete(3), statistics, "go")
    processor.save_pretrained(tmp_path)
    loaded = LDMProcessor.from_pretrained(tmp_path)
    first, second = processor.layout("A-v0"), loaded.layout("A-v0")
    assert np.array_equal(first.mean, second.mean) and np.array_equal(first.task_ids, second.task_ids)
    assert second.reward_rms == pytest.approx(np.hypot(0.5, 2))
    with pytest.raises(UnknownEnvironmentError, match="Known: A-v0"):
        loaded.layout("B-v0")
    with pytest.raises(CheckpointError, match="num_choices: model 101, processor 21"):
        loaded.check_model(LDMConfig())
