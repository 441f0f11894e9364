"""Sizes and magnitudes that environments really have: loss and roll-out stay defined, actions stay in their space.

What docs/spaces-and-numbers.md says stands here as tests, line by line.
"""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from ldm_hf import LDMAgent, LDMProcessor
from ldm_hf.errors import DatasetError, NonFiniteError
from ldm_hf.layout_ldm import EnvironmentLayout
from ldm_hf.observations_ldm import leaf_kind
from ldm_hf.spaces import flatten, space_to_json, stack, unflatten
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter

from ..conftest import encode_observations, random_steps
from ..toys import Fixed, Recorder, difference

UNBOUNDED = {"low": -np.inf, "high": np.inf}
POINT, CHOICE = spaces.Box(-1, 1, (2,)), spaces.Discrete(3)


def scaled(scale, dtype=np.float64):
    return lambda rng, count: (scale * rng.normal(size=(count, 2))).astype(dtype)


OBSERVATIONS = {
    "a million": (spaces.Box(**UNBOUNDED, shape=(2,), dtype=np.float64), scaled(1e6)),
    "a millionth": (spaces.Box(**UNBOUNDED, shape=(2,), dtype=np.float64), scaled(1e-6)),
    "far from zero": (
        spaces.Box(**UNBOUNDED, shape=(2,), dtype=np.float64),
        lambda rng, n: 1e9 + rng.normal(size=(n, 2)),
    ),
    "integers over 2^31": (spaces.Box(0, 2**40, (2,), np.int64), lambda rng, n: rng.integers(2**31, 2**40, (n, 2))),
    "constant": (spaces.Box(**UNBOUNDED, shape=(2,)), lambda rng, n: np.full((n, 2), 7.3, np.float32)),
    "one scalar": (spaces.Box(-1, 1, ()), None),
    "5,000 scalars": (spaces.Box(-1, 1, (5000,)), None),
    "nothing": (spaces.Dict({}), None),
    "no parts": (spaces.Tuple(()), None),
    "no entries": (spaces.Box(-1, 1, (0,)), None),
    "one choice": (spaces.Discrete(1), None),
    "10,000 choices": (spaces.Discrete(10_000), None),
    "200 small choices": (spaces.MultiDiscrete([3] * 200), None),
}
ACTIONS = {
    "one choice": spaces.Discrete(1),
    "10,000 choices": spaces.Discrete(10_000),
    "start at 1": spaces.Discrete(3, start=1),
    "200 entries": spaces.MultiDiscrete([2, 3, 4, 5] * 50),
    "matrix": spaces.Box(-1, 1, (2, 3)),
    "nothing": spaces.Dict({}),
    "point": spaces.Box(0.5, 0.5, (1,)),
}


def check(model, processor, observation_space, action_space, change=lambda steps: None):
    """Trains on and acts after steps of these spaces."""
    steps = random_steps(observation_space, action_space, 12)
    change(steps)
    layout = EnvironmentLayout(processor.sizes, observation_space, action_space)
    encoded = layout.encode_segment(steps, known_statistics=False)
    if encoded.observation.numeric.size:
        assert np.isfinite(encoded.observation.numeric).all()
        assert (
            np.abs(encoded.observation.numeric).max() <= 10 * 5000 / 16
        )  # ten deviations, times how many share a column
    output = model(**processor([encoded]))
    assert output.loss.isfinite() or not len(layout.actions.sizes)
    agent = LDMAgent(model, processor, (observation_space, action_space))
    feedback = (None, None, None)
    for step in range(6):
        parts = {path: values[step] for path, values in steps["observation"].items()}
        action = agent.act(unflatten(observation_space, parts), *feedback)
        assert action_space.contains(action)
        feedback = (steps["reward"][step], steps["terminated"][step], steps["truncated"][step])
    return encoded


@pytest.mark.parametrize("name", OBSERVATIONS)
def test_observations(model, processor, name):
    space, values = OBSERVATIONS[name]

    def change(steps):
        if values is not None:
            steps["observation"][""] = values(np.random.default_rng(0), 12)

    encoded = check(model, processor, space, CHOICE, change)
    if name in ("a million", "a millionth", "far from zero", "integers over 2^31"):
        assert encoded.observation.numeric[6:].std() > 0.3  # magnitudes do not hide what varies
    if name == "constant":
        assert not encoded.observation.numeric.any()


@pytest.mark.parametrize("name", ACTIONS)
def test_actions(model, processor, name):
    check(model, processor, spaces.Box(-1, 1, (2,)), ACTIONS[name])


@pytest.mark.parametrize("scale", [0.0, 1e-9, 1e9])
def test_rewards(model, processor, scale):
    def change(steps):
        steps["reward"] = scale * np.sign(steps["reward"]).astype(np.float64)

    feedback = check(model, processor, spaces.Box(-1, 1, (2,)), CHOICE, change).feedback
    assert np.isfinite(feedback).all() and np.abs(feedback).max() <= 3


def test_episodes_of_one_step(model, processor):
    def change(steps):
        steps["terminated"][:] = True

    check(model, processor, spaces.Box(-1, 1, (2,)), CHOICE, change)


@torch.no_grad()
def test_the_order_of_dict_keys_does_not_matter(model, processor):
    parts = {"b": spaces.Discrete(4), "a": spaces.Box(-1, 1, (2,))}
    steps = random_steps(spaces.Dict(parts), CHOICE, 9)
    logits = []
    for order in (["a", "b"], ["b", "a"]):
        space = spaces.Dict([(name, parts[name]) for name in order])
        assert set(flatten(space, space.sample())) == set(steps["observation"])
        encoded = EnvironmentLayout(processor.sizes, space, CHOICE).encode_segment(steps, known_statistics=False)
        logits.append(model(**processor([encoded])).logits)
    assert torch.equal(*logits)


# --- docs/spaces-and-numbers.md, line by line, with the default sizes (101 choices, 256 numeric columns, 8,192 ids) ---


@pytest.fixture(scope="module")
def layout():
    """The layout of an environment whose numbers have the mean and deviation given, in a processor of default sizes."""

    def make(observation_space=POINT, action_space=CHOICE, mean=None, std=None):
        statistics = {"observation": {"": {"mean": mean, "std": std}}, "reward": {"mean": 0.0, "std": 1.0}}
        return EnvironmentLayout(
            LDMProcessor().sizes, observation_space, action_space, statistics=statistics if std else None
        )

    return make


def encode(layout, observations=None, rewards=None, known=False):
    """Encodes a segment with these observations ``(T, *shape)`` or rewards ``(T,)``."""
    count = len(rewards if observations is None else observations)
    steps = random_steps(layout.observation_space, layout.action_space, count)
    if observations is not None:
        steps["observation"][""] = np.asarray(observations, layout.observation_space.dtype)
    if rewards is not None:
        steps["reward"] = np.asarray(rewards)
    return layout.encode_segment(steps, known_statistics=known)


@pytest.mark.parametrize(
    ("space", "kind"),
    [
        (spaces.Box(0, 63, (), np.int64), "categorical"),
        (spaces.Box(0, 63, (16,), np.int64), "categorical"),
        (spaces.Box(0, 64, (16,), np.int64), "numeric"),
        (spaces.Box(0, 15, (17,), np.int64), "grid"),
        (spaces.Box(0, 16, (17,), np.int64), "numeric"),
        (spaces.Box(0, 255, (5, 5), np.int64), "grid"),
        (spaces.Box(0, 256, (5, 5), np.int64), "numeric"),
        (spaces.Box(0, 8191, (5, 5, 2), np.int64), "grid"),
        (spaces.Box(0, 8192, (5, 5, 2), np.int64), "numeric"),
        (spaces.Box(0, 1, (4,), bool), "categorical"),
        (spaces.MultiDiscrete([3] * 16), "categorical"),
        (spaces.MultiDiscrete([3] * 17), "grid"),
        (spaces.MultiBinary(16), "categorical"),
        (spaces.MultiBinary(17), "grid"),
        (spaces.Box(0, 255, (16, 16), np.uint8), "pixels"),
        (spaces.Box(0, 255, (16, 15), np.uint8), "grid"),
        (spaces.Box(0, 254, (16, 16), np.uint8), "grid"),
        (spaces.Box(-1.0, 1.0, (3, 16, 16)), "pixels"),
        (spaces.Box(-2.0, 2.0, (3, 16, 16)), "numeric"),
        (spaces.Box(-1.0, 1.0, (0,)), "numeric"),
    ],
)
def test_the_limits_between_kinds(space, kind):
    assert leaf_kind(space) == kind


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_numbers_mean_the_same_at_any_scale(layout, scale, known):
    draws = np.random.default_rng(0).normal(size=(50, 2))
    space = spaces.Box(**UNBOUNDED, shape=(2,), dtype=np.float64)
    encoded = [
        encode(layout(space, mean=[3 * unit] * 2, std=[unit] * 2), unit * (draws + 3), known=known).observation.numeric
        for unit in (1.0, scale)
    ]
    np.testing.assert_allclose(*encoded, atol=1e-5)
    assert encoded[0].std() > 0.5


def test_the_first_observation_of_an_unknown_stream_is_zero(layout):
    numeric = encode(layout(), np.random.default_rng(0).normal(size=(9, 2))).observation.numeric
    assert not numeric[0].any() and numeric[1:].all()


@pytest.mark.parametrize(
    ("values", "expected"), [([0.5, -0.5], 0.4812), ([1e6, -1e6], 14.5087), ([2e38, -2e38], 88.8843)]
)
def test_raw_numbers_come_beside_standardised_ones(layout, values, expected):
    """As arcsinh, whatever is known of them."""
    space = spaces.Box(**UNBOUNDED, shape=(2,))
    raw = encode(layout(space), [values, values]).observation.raw_numeric
    np.testing.assert_allclose(raw, [[expected, -expected]] * 2, rtol=1e-4)


def test_ten_deviations_are_the_limit(layout):
    space = spaces.Box(**UNBOUNDED, shape=(2,))
    numeric = encode(
        layout(space, mean=[5.0] * 2, std=[2.0] * 2), [[5, 7], [1e9, -1e9]], known=True
    ).observation.numeric
    assert numeric.tolist() == [[0, 1], [10, -10]]


def test_a_constant_is_zero_until_it_changes(layout):
    space = spaces.Box(**UNBOUNDED, shape=(1,))
    numeric = encode(layout(space, mean=[7.3], std=[0.0]), [[7.3], [7.4], [7.2]], known=True).observation.numeric
    assert np.allclose(numeric[:, 0], [0, 10, -10], atol=0.2)


@pytest.mark.parametrize(("mean", "noise"), [(1e6, 0.0625), (0.0, 1e-10)])
def test_rounding_noise_is_not_blown_up(layout, mean, noise):
    values = (mean + noise * np.random.default_rng(0).choice([-1, 0, 1], (50, 2))).astype(np.float32)
    assert len(np.unique(values)) == 3
    space = spaces.Box(**UNBOUNDED, shape=(2,))
    assert np.abs(encode(layout(space), values).observation.numeric).max() < 0.2


@pytest.mark.parametrize(("top", "exact"), [(2**40, True), (2**53, True), (2**60, False)])
def test_integers_are_exact_up_to_2_to_the_53(layout, top, exact):
    space = spaces.Box(0, 2**62, (2,), np.int64)
    values = np.array([[top - 1, top], [top - 3, top - 2]])
    assert (len(np.unique(layout(space).observations.numbers({"": values}, 2))) == 4) == exact


def test_every_one_of_5000_scalars_is_seen(layout):
    encoder = layout(spaces.Box(-1, 1, (5000,))).observations
    values = np.vstack([np.zeros(5000), np.eye(5000)[::97]])
    folded = encode_observations(encoder, {"": values}).numeric
    assert folded.shape[1] == 256 and (np.abs(folded).sum(axis=1) == [0] + [1] * (len(values) - 1)).all()


@pytest.mark.parametrize(("space", "different"), [(spaces.Discrete(1), 1), (spaces.Discrete(3, start=1), 3)])
def test_choices_have_ids_of_their_own(layout, space, different):
    ids = encode_observations(
        layout(space).observations, {"": np.arange(space.start, space.start + space.n)}
    ).categorical
    assert len(np.unique(ids)) == different and ids.min() >= 1


def test_choices_beyond_the_table_share_ids(layout):
    ids = encode_observations(layout(spaces.Discrete(10_000)).observations, {"": np.arange(10_000)}).categorical[:, 0]
    assert len(np.unique(ids[:8191])) == 8191 and (ids[8191:] == ids[: 10_000 - 8191]).all()


def test_200_entries_are_symbols_in_two_tiles(layout):
    encoder = layout(spaces.MultiDiscrete([3] * 200)).observations
    changed = np.vstack([np.ones(200, int), 1 + np.eye(200, dtype=int)])
    grid = encode_observations(encoder, {"": changed}).grid
    assert grid.shape == (2, 201, 10, 10, 1)
    assert ((grid[:, 1:] != grid[:, :1]).sum(axis=(0, 2, 3, 4)) == 1).all()


def test_symbols_outside_their_bounds_are_the_nearest_ones(layout):
    encoder = layout(spaces.Box(2, 9, (5, 5), np.int64)).observations
    below, low, high, above = encode_observations(
        encoder, {"": np.full((4, 5, 5), 1) * [[[-4]], [[2]], [[9]], [[99]]]}
    ).grid[0]
    assert np.array_equal(below, low) and np.array_equal(above, high) and not np.array_equal(low, high)


def test_texts(layout):
    encoder = layout(spaces.Text(500)).observations
    words = " ".join(f"w{number}" for number in range(40))
    texts = ["", "go left", "GO LEFT", "left go", words, words.replace("w39", "x")]
    empty, plain, capital, turned, long, other = (
        set(row) - {0} for row in encode_observations(encoder, {"": texts}).categorical
    )
    assert len(empty) == 1 and len(plain) == 4  # the whole, two words, a pair
    assert len(plain & capital) == 3 and len(plain & turned) == 2
    assert len(long) == 32 and len(long & other) == 31  # only the whole tells what comes after 32 pieces


@pytest.mark.parametrize("scale", [1e9, 1e-9])
def test_rewards_mean_the_same_at_any_scale(layout, scale):
    rewards = np.random.default_rng(0).normal(size=30)
    plain, scaled = (encode(layout(), rewards=unit * rewards).feedback for unit in (1.0, scale))
    np.testing.assert_allclose(plain, scaled, atol=1e-5)
    assert (np.sign(plain[1:, 0]) == np.sign(rewards[:-1])).all()


def test_rewards_are_limited_to_ten_of_their_root_mean_square(layout):
    feedback = encode(layout(mean=[0.0] * 2, std=[1.0] * 2), rewards=[1e9, -1e9, 10.0, 0.0], known=True).feedback
    assert feedback[1].tolist() == (feedback[2] * [-1, -1, 1, 1, 1, 1]).tolist() == feedback[3].tolist()


def test_a_broken_reward_is_none_to_an_agent(tiny):
    env = Fixed()
    with Recorder(tiny[0]) as recorder:
        for broken in (np.nan, np.inf, 0.0):
            agent = LDMAgent(*tiny, env)
            agent.act(env.observation)
            agent.act(env.observation, broken, False, False)
    assert len({tuple(row[0].tolist()) for row in recorder.feedback[1::2]}) == 1


@pytest.mark.parametrize(
    ("space", "broken", "instead"),
    [(spaces.Box(**UNBOUNDED, shape=(2,)), np.nan, 0.0), (spaces.Box(-1, 1, (20, 20)), np.inf, -1.0)],
    ids=["a number of an unknown environment is 0", "a pixel is black"],
)
def test_broken_observations(tiny, space, broken, instead):
    env = Fixed(space)
    with Recorder(tiny[0]) as recorder:
        for value in (broken, instead):
            agent = LDMAgent(*tiny, env)
            agent.act(np.ones(space.shape, np.float32))
            agent.act(
                np.where(np.eye(*space.shape[-2:])[-1] > 0, value, env.observation).astype(np.float32), 1, False, False
            )
    assert difference(recorder.logits[1], recorder.logits[3]) == 0


def test_a_broken_action_is_named(layout):
    force = spaces.Box(-1, 1, (2,))
    steps = random_steps(POINT, force, 4)
    steps["label"] = {"": np.full((4, 2), np.nan, np.float32)}
    with pytest.raises(NonFiniteError, match="action at leaf"):
        layout(POINT, force).encode_segment(steps)


# --- actions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("space", "elements", "continuous"),
    [
        (spaces.Discrete(1), 1, False),
        (spaces.Discrete(3, start=1), 1, False),
        (spaces.Discrete(101), 1, False),
        (spaces.Discrete(102), 2, False),
        (spaces.Discrete(10_000), 2, False),
        (spaces.MultiDiscrete([2, 3, 4, 5] * 50), 200, False),
        (spaces.MultiBinary((2, 3)), 6, False),
        (spaces.Box(-1, 1, (2, 3)), 6, True),
        (spaces.Box(0, 100, (2,), np.int64), 2, False),
        (spaces.Box(0, 101, (2,), np.int64), 2, True),
        (spaces.Text(5), 5, False),
        (spaces.Dict({}), 0, False),
    ],
)
def test_elements_of_an_action(layout, space, elements, continuous):
    actions = layout(action_space=space).actions
    assert len(actions.sizes) == elements and actions.continuous.all() == (continuous or not elements)
    # every recorded action is met exactly
    samples = [space.sample() for _ in range(50)]
    decoded = actions.decode(actions.positions(stack(space, samples)))
    for row, sample in enumerate(samples):
        again = unflatten(space, {path: values[row] for path, values in decoded.items()})
        assert space.contains(again)
        if elements and not isinstance(space, spaces.Text):
            assert np.allclose(again, sample, atol=1e-5 if space.dtype.kind == "f" else 0.5 if continuous else 0)


def test_every_one_of_10000_choices_can_be_taken(layout):
    actions = layout(action_space=spaces.Discrete(10_000)).actions
    choices = np.arange(10_000)
    assert np.array_equal(actions.decode(actions.positions({"": choices}))[""], choices)
    even, unused = np.zeros((500, 2, 101)), np.zeros((500, 2))
    sampled = actions.decode(actions.choose(even, unused, unused, False, rng=np.random.default_rng(0)))[""]
    assert sampled.min() < 500 and sampled.max() > 9_500 and sampled.max() < 10_000


def test_a_continuous_action_is_the_mean_or_a_sample_around_it(layout):
    actions = layout(action_space=spaces.Box(-1, 1, (1,))).actions
    logits, means, errors = np.zeros((5000, 1, 101)), np.full((5000, 1), 0.2), np.full((5000, 1), 0.1)
    assert (actions.choose(logits, means, errors) == np.float32(0.2)).all()
    sampled = actions.choose(logits, means, errors, deterministic=False, rng=np.random.default_rng(0))
    assert sampled.mean() == pytest.approx(0.2, abs=0.01)
    assert np.abs(sampled - 0.2).mean() == pytest.approx(0.1, abs=0.01)
    cold = actions.choose(logits, means, errors, False, temperature=0.1, rng=np.random.default_rng(0))
    assert np.abs(cold - 0.2).mean() == pytest.approx(0.01, abs=0.001)
    assert (actions.choose(logits, 10 * means, errors) == 1).all()  # beyond the bound


@pytest.mark.parametrize(
    ("low", "high", "action", "decoded"),
    [
        (-np.inf, np.inf, 123.4, 123.4),
        (-np.inf, np.inf, 1e5, 1e4),
        (-np.inf, np.inf, -1e9, -1e4),
        (2, np.inf, 2.0, 2.0),
        (2, np.inf, 1e9, 2 + 1e4),
        (-np.inf, -3, -50.0, -50.0),
        (-1e6, 1e6, 5e5, 1e4),  # as good as unbounded
        (-9e5, 9e5, 5e5, 5e5),
        (0.5, 0.5, 0.5, 0.5),
    ],
)
def test_bounds_of_actions(layout, low, high, action, decoded):
    space = spaces.Box(low, high, (1,), np.float64)
    actions = layout(action_space=space).actions
    assert actions.decode(actions.positions({"": np.array([[action]])}))[""][0, 0] == pytest.approx(decoded, rel=1e-5)
    ends = actions.decode(np.array([[0.0], [100.0]]))[""]
    assert space.contains(ends[0]) and space.contains(ends[1])


def test_an_action_without_elements_teaches_nothing(model, processor):
    layout = EnvironmentLayout(processor.sizes, POINT, spaces.Dict({}))
    with_elements = EnvironmentLayout(processor.sizes, POINT, CHOICE)
    rows = [made.encode_segment(random_steps(POINT, made.action_space, 5)) for made in (layout, with_elements)]
    output = model(**processor(rows))
    assert output.row_losses[0].isnan() and output.loss == output.row_losses[1]


def test_an_episode_without_steps_cannot_be_written(tmp_path):
    info = EnvironmentInfo("Empty-v0", "Empty-v0", space_to_json(POINT), space_to_json(CHOICE))
    with (
        TrajectoryWriter(tmp_path, info) as writer,
        pytest.raises(DatasetError, match="Empty-v0: an episode without steps"),
    ):
        writer.write({name: values for name, values in random_steps(POINT, CHOICE, 0).items()})
