"""Spaces and numbers at the edge: the action is finite, in the space and cheap, or an error of ours names the leaf."""

import resource
import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm_hf import LDMAgent, LDMProcessor
from ldm_hf.actions_ldm import ActionCodec
from ldm_hf.errors import CheckpointError, NonFiniteError, SpaceMismatchError, UnsupportedSpaceError
from ldm_hf.layout_ldm import EnvironmentLayout
from ldm_hf.spaces import flatten, leaves, space_to_json, stack, unflatten
from ldm_hf.statistics_ldm import RunningStatistics, prefix_rms, prefix_standardise
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter, open_dataset

from ..conftest import random_steps
from ..strategies import edge_spaces
from ..toys import CHOICE, POINT, Fixed, short

LARGEST = np.finfo(np.float64).max
REALS = spaces.Box(-np.inf, np.inf, (2,), np.float64)


def member(space, rng, broken):
    """A member of a leaf at the edges of its range; with ``broken``, floats may be NaN or infinite."""
    if isinstance(space, spaces.Text):
        letters = sorted(space.character_set) or [""]
        return "".join(rng.choice(letters, size=min(space.max_length, int(rng.choice([0, 1, 50])))))
    shape = space.shape or ()
    if isinstance(space, spaces.Box):
        ends = [space.low, space.high]
        if space.dtype.kind == "f":
            limits = np.finfo(space.dtype)
            ends += [np.full(shape, number, space.dtype) for number in (limits.min, limits.max, 0, limits.tiny, 1)]
            ends += [np.full(shape, number, space.dtype) for number in (np.nan, np.inf)] if broken else []
            ends = [end if broken else np.nan_to_num(end) for end in ends]
        return np.choose(rng.integers(len(ends), size=shape), ends).astype(space.dtype)
    start = np.asarray(getattr(space, "start", 0), space.dtype)
    n = np.asarray(getattr(space, "nvec", getattr(space, "n", 2)) if hasattr(space, "start") else 2).astype(np.uint64)
    last = start + (n - np.uint64(1)).astype(space.dtype)
    return np.broadcast_to(np.where(rng.random(shape) < 0.5, start, last), shape).astype(space.dtype)


def batch(space, rng, lanes, broken):
    rows = [
        unflatten(space, {leaf.path: member(leaf.space, rng, broken) for leaf in leaves(space)})
        for _ in range(lanes or 1)
    ]
    return rows[0] if lanes is None else unflatten(space, stack(space, rows))


def check_action(space, action):
    assert space.contains(action), (space, action)
    for leaf, value in zip(leaves(space), flatten(space, action).values(), strict=True):
        assert isinstance(leaf.space, spaces.Text) or np.isfinite(np.asarray(value, np.float64)).all(), (space, action)


def check_pair(tiny, observation_space, action_space, seed, lanes):
    """Acts four times, then trains on the same numbers without those that are NaN or infinite."""
    model, processor = tiny
    rng = np.random.default_rng(seed)
    try:
        agent = LDMAgent(
            model, processor, (observation_space, action_space), num_envs=lanes, deterministic=seed % 2 == 0
        )
    except UnsupportedSpaceError as error:
        assert "leaf" in str(error) or "leaves" in str(error) or "elements" in str(error)
        return False
    feedback = ()
    for _ in range(4):
        actions = agent.act(batch(observation_space, rng, lanes, True), *feedback)
        rows = {path: [value] if lanes is None else value for path, value in flatten(action_space, actions).items()}
        for lane in range(lanes or 1):
            check_action(action_space, unflatten(action_space, {path: part[lane] for path, part in rows.items()}))
        reward = rng.choice([0.0, 1.0, np.nan, np.inf, LARGEST, -LARGEST, 5e-324], size=lanes)
        feedback = (reward, rng.random(lanes) < 0.3, rng.random(lanes) < 0.3)
    chosen = {path: np.concatenate([part] * 6)[:6] for path, part in rows.items()}
    steps = {
        "observation": stack(observation_space, [batch(observation_space, rng, None, False) for _ in range(6)]),
        "action": chosen,
        "label": chosen,
        "reward": rng.choice([0.0, 1.0, LARGEST, -LARGEST], size=6),
        "terminated": np.zeros(6, bool),
        "truncated": np.zeros(6, bool),
    }
    encoded = EnvironmentLayout(processor.sizes, observation_space, action_space).encode_segment(
        steps, known_statistics=False
    )
    with torch.no_grad():
        loss = model(**processor([encoded])).loss
    assert loss.isfinite() or not len(agent.layout.actions.sizes)
    return True


pairs = given(edge_spaces(), edge_spaces(), st.integers(0, 2**31), st.sampled_from([None, 1, 3]))


@settings(max_examples=30)
@pairs
def test_any_pair_of_spaces_acts_or_names_the_leaf(tiny, observation_space, action_space, seed, lanes):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # of NumPy, about overflows
        check_pair(tiny, observation_space, action_space, seed, lanes)


@pytest.mark.soak
def test_thousands_of_pairs_act_or_name_the_leaf_in_bounded_memory(tiny):
    outcomes = {True: 0, False: 0}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(max_examples=10_000)
    @pairs
    def act(observation_space, action_space, seed, lanes):
        outcomes[check_pair(tiny, observation_space, action_space, seed, lanes)] += 1

    act()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{outcomes[True]:,} pairs acted, {outcomes[False]:,} were refused; memory grew by {grown / 1024:.0f} MiB")
    assert outcomes[True] > 7_000 and grown < 2**20


# --- numbers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [LARGEST, -LARGEST, 1e154, 1e160, 3.4e38])
def test_one_huge_observation_does_not_spoil_the_actions_after_it(tiny, value):
    agent = LDMAgent(*tiny, (REALS, POINT))
    agent.act(np.array([0.1, 0.2]))
    for number in range(20):
        action = agent.act(np.array([value if number == 0 else 0.1 * number, 0.2]), 0.0, False, False)
        check_action(POINT, action)


def test_one_huge_reward_does_not_spoil_those_after_it(tiny):
    agent = LDMAgent(*tiny, (POINT, POINT))
    for reward in (None, 1.0, LARGEST, 1.0):
        flags = (None, None) if reward is None else (False, False)
        check_action(POINT, agent.act(np.zeros(2, np.float32), reward, *flags))
    assert np.isfinite(agent.state.statistics.reward_squares).all()


def test_running_and_prefix_statistics_of_huge_numbers_are_the_same():
    x = np.array([[0.1], [LARGEST], [-LARGEST], [1e160], [0.3], [0.1]])
    running = RunningStatistics(1, np.full(1, 1e-15))
    seen = np.array([running.observe(row[None], np.ones(1, bool))[0] for row in x])
    assert np.isfinite(seen).all() and seen[1] > 0 > seen[2]
    np.testing.assert_allclose(seen, prefix_standardise(x, 1e-15))
    assert np.isfinite(prefix_rms(x[:, 0])).all()


@pytest.mark.parametrize("known", [True, False])
def test_huge_numbers_give_a_finite_loss(model, processor, known):
    statistics = {"observation": {"": {"mean": [0.1, 0.2], "std": [1e-9, 1.0]}}, "reward": {"mean": 0.0, "std": 1e-9}}
    layout = EnvironmentLayout(processor.sizes, REALS, POINT, statistics=statistics)
    steps = random_steps(REALS, POINT, 20)
    steps["observation"][""][[3, 7]], steps["reward"] = [LARGEST, -LARGEST], steps["reward"].astype(np.float64)
    steps["reward"][4] = LARGEST
    encoded = layout.encode_segment(steps, known_statistics=known)
    assert np.abs(encoded.observation.numeric).max() <= 10 and np.isfinite(encoded.feedback).all()
    loss = model(**processor([encoded])).loss
    loss.backward()
    assert loss.isfinite() and all(
        weight.grad is None or weight.grad.isfinite().all() for weight in model.parameters()
    )


def test_statistics_of_data_with_huge_numbers_are_finite(tmp_path):
    info = EnvironmentInfo("Huge-v0", "Huge-v0", space_to_json(REALS), space_to_json(POINT))
    steps = random_steps(REALS, POINT, 20)
    steps["observation"][""][3] = [LARGEST, -1e155]
    with TrajectoryWriter(tmp_path, info) as writer:
        writer.write(steps | {"behaviour": "clean", "seed": 0})
    moments = open_dataset(tmp_path)["Huge-v0"].statistics()["observation"][""]
    assert np.isfinite(moments["mean"]).all() and np.isfinite(moments["std"]).all()


@pytest.mark.parametrize(
    ("mean", "std", "reward", "error"),
    [
        ([np.nan, 0], [1, 1], 0.0, NonFiniteError),
        ([0, 0], [1, np.inf], 0.0, NonFiniteError),
        ([0, 0], [1, 1], np.nan, NonFiniteError),
        ([0], [1], 0.0, CheckpointError),
    ],
)
def test_broken_stored_statistics_are_named(tiny, mean, std, reward, error):
    processor = LDMProcessor.from_config(tiny[0].config)
    statistics = {"observation": {"": {"mean": mean, "std": std}}, "reward": {"mean": reward, "std": 1.0}}
    processor.add_environment("Broken-v0", REALS, POINT, statistics)
    with pytest.raises(
        error, match=r"Broken-v0: the stored statistics of the (reward|observation at leaf '\(root\)')"
    ):
        LDMAgent(tiny[0], processor, (REALS, POINT), environment="Broken-v0")


def test_weights_that_are_nan_are_told(model, processor):
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="weights are damaged"):
        LDMAgent(model, processor, (POINT, POINT)).act(np.zeros(2, np.float32))


@pytest.mark.parametrize(
    ("space", "observation"),
    [
        (spaces.Discrete(3), np.nan),
        (spaces.Discrete(3), np.array(np.inf)),
        (spaces.Box(0, 9, (2,), np.int64), np.array([np.nan, 1.0])),
        (POINT, None),
        (POINT, "left"),
        (POINT, [[1.0, 2.0], [3.0]]),
        (POINT, {"x": 1.0}),
        (spaces.Discrete(3), 10**400),
    ],
)
def test_an_observation_that_is_no_member_names_its_leaf(tiny, space, observation):
    with pytest.raises(SpaceMismatchError, match="leaf 'sensor'"):
        LDMAgent(*tiny, (spaces.Dict({"sensor": space}), CHOICE)).act({"sensor": observation})


# --- spaces ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("low", "high"), [(62000, np.inf), (-np.inf, -62000), (-np.inf, np.inf), (65504, 65504), (-65504, 65504)]
)
def test_half_open_boxes_of_half_precision_give_finite_actions(low, high):
    space = spaces.Box(low, high, (1,), np.float16)
    for position in (-1, 0, 1):
        check_action(space, ActionCodec(space, 101, 4096, 512).decode(np.full((1, 1), position, np.float32))[""][0])


@pytest.mark.parametrize("base", [21, 101])
@pytest.mark.parametrize("power", [1, 2, 5, 6, 9])
@pytest.mark.parametrize("more", [-1, 0, 1, 2, 50])
def test_every_choice_about_a_power_of_the_digits_can_be_taken(base, power, more):
    n = base**power + more
    codec = ActionCodec(spaces.Discrete(n, start=-3), base, 4096, 512)
    choices = np.unique([*range(3), n // 2, *range(n - 3, n)]).astype(np.int64) - 3
    assert np.array_equal(codec.decode(codec.positions({"": choices}))[""], choices)
    even, unused = np.zeros((200, len(codec.sizes), base)), np.zeros((200, len(codec.sizes)))
    positions = codec.choose(even, unused, unused, deterministic=False, rng=np.random.default_rng(0))
    taken = codec.decode(positions)[""]
    assert (taken >= -3).all() and (taken < n - 3).all() and len(np.unique(taken)) > min(n, 200) / 4


@pytest.mark.parametrize(
    ("observation_space", "action_space"),
    [
        (spaces.MultiDiscrete([10**9] * 17), CHOICE),
        (spaces.MultiDiscrete([2**62] * 20), CHOICE),
        (POINT, spaces.MultiDiscrete([10**9] * 17)),
        (spaces.MultiBinary(10**10), CHOICE),
        (POINT, spaces.MultiBinary(10**10)),
        (POINT, spaces.Text(10**9)),
        (spaces.Text(10**9), CHOICE),
        (POINT, spaces.Discrete(2**63 - 1)),
    ],
    ids=short,
)
def test_memory_does_not_grow_with_the_numbers_in_a_space(tiny, observation_space, action_space):
    rng = np.random.default_rng(0)
    tracemalloc.start()
    try:
        agent = LDMAgent(*tiny, (observation_space, action_space))
        check_action(action_space, agent.act(member(observation_space, rng, broken=False)))
    except UnsupportedSpaceError as error:
        assert "leaf '(root)'" in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 32 * 2**20


def test_long_texts_are_not_remembered(tiny):
    agent = LDMAgent(*tiny, (spaces.Text(10**6), CHOICE))
    tracemalloc.start()
    for number in range(20):
        agent.act(f"{number} " * 50_000)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2**20 and peak < 16 * 2**20


def test_symbols_that_only_unsigned_integers_hold_keep_apart(processor):
    space = spaces.Box(2**63 + 2, 2**63 + 9, (5, 5), np.uint64)
    layout = EnvironmentLayout(processor.sizes, space, CHOICE)
    same = EnvironmentLayout(processor.sizes, spaces.Box(2, 9, (5, 5), np.uint64), CHOICE)
    values = np.arange(25, dtype=np.uint64).reshape(1, 5, 5) % np.uint64(8) + np.uint64(2)
    grids = [
        made.observations.encode({"": shifted}, np.zeros((1, 0)), np.zeros((1, 0))).grid
        for made, shifted in ((layout, values + np.uint64(2**63)), (same, values))
    ]
    assert np.array_equal(*grids) and len(np.unique(grids[0][..., 0])) == 9  # 8 symbols and padding


@pytest.mark.parametrize(
    ("space", "action", "message"),
    [
        (spaces.Text(5, charset=""), True, "no character"),
        (spaces.Discrete(200, start=100, dtype=np.uint8), True, "beyond its dtype uint8"),
        (spaces.Discrete(2**63 - 1, start=5), True, "beyond its dtype int64"),
        (spaces.Discrete(2**63 + 5, dtype=np.uint64), True, "beyond 2"),
        (spaces.MultiBinary(10**6), True, "1,000,000 elements"),
        (spaces.MultiBinary(2**21), False, "2,097,152 symbols"),
        (spaces.MultiBinary(10**10), False, "10,000,000,000 entries"),
    ],
    ids=short,
)
def test_spaces_that_nothing_can_act_in_name_the_leaf(tiny, space, action, message):
    arm = spaces.Dict({"arm": space})
    with pytest.raises(UnsupportedSpaceError, match=rf"leaf 'arm'.*{message}"):
        LDMAgent(*tiny, (POINT, arm) if action else (arm, CHOICE))


def test_nothing_in_and_nothing_out(tiny):
    for nothing, member_of in ((spaces.Dict({}), {}), (spaces.Tuple(()), ())):
        agent = LDMAgent(*tiny, Fixed(nothing, nothing))
        assert agent.act(member_of) == agent.act(member_of, 1.0, False, False) == member_of
        assert agent.predict(member_of)[0] == member_of
    several = LDMAgent(*tiny, (spaces.Dict({}), spaces.Dict({"a": spaces.Box(-1, 1, (0,))})), num_envs=3)
    assert several.act({})["a"].shape == (3, 0)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Dict({"": spaces.Dict({"a": CHOICE}), "a": CHOICE}),
        spaces.Dict({1: CHOICE, "1": CHOICE}),
        spaces.Dict({"": spaces.Dict({"": spaces.Dict({"b": CHOICE})}), "b": CHOICE}),
    ],
)
def test_leaves_with_the_same_path_are_refused(tiny, space):
    for pair in ((space, CHOICE), (POINT, space)):
        with pytest.raises(UnsupportedSpaceError, match=r"two leaves have the path '[a1b]'.*rename"):
            LDMAgent(*tiny, pair)
    space.seed(0)
    with pytest.raises(UnsupportedSpaceError, match="two leaves"):
        flatten(space, space.sample())


def test_an_empty_key_alone_is_a_key(tiny):
    space = spaces.Dict({"": CHOICE, "b": spaces.Dict({"": POINT})})
    check_action(space, LDMAgent(*tiny, Fixed(space, space)).act(space.sample()))
