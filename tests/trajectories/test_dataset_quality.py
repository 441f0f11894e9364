"""What is wrong with a dataset, what is in it, its card, and its better episodes."""

import numpy as np
import pytest
import yaml
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from ldm_hf.errors import DatasetError
from ldm_hf.spaces import leaves, stack
from ldm_hf.trajectories import (
    describe,
    draw_returns,
    open_dataset,
    select_by_return,
    validate,
    weigh_by_return,
    write_readme,
)
from ldm_hf.trajectories.selection import SelectedTrajectories
from ldm_hf.trajectories.validation import outside
from ldm_hf.trajectories.writer import shards

from ..strategies import observation_spaces
from .test_trajectories import CHOICE, POINT, assert_same_steps, change_shard, join, make_episodes, write
from .test_trajectories import describe as info_of

DOMAINS = {"A-v0": "control", "B-v0": "energy"}


def ended(episodes):
    """With the flags that an episode should have."""
    for number, episode in enumerate(episodes):
        length = len(episode["reward"])
        last = np.arange(length) == length - 1
        episode["terminated"], episode["truncated"] = last & (number % 2 == 0), last & (number % 2 == 1)
    return episodes


def found(folder, **arguments):
    return [
        (finding.kind, finding.level, finding.problem) for finding in validate(folder, progress=False, **arguments)
    ]


# --- members of spaces -----------------------------------------------------------------------------------------------


@given(observation_spaces, st.integers(0, 99))
def test_samples_are_never_outside(space, seed):
    space.seed(seed)
    parts = stack(space, [space.sample() for _ in range(4)])
    for leaf in leaves(space):
        assert not outside(leaf.space, parts[leaf.path]).any()


@pytest.mark.parametrize(
    ("space", "wrong"),
    [
        (spaces.Box(-1, 1, (2,)), [[0, 1.1], [np.nan, 0], [-np.inf, 0]]),
        (spaces.Box(-np.inf, np.inf, ()), [np.nan, np.inf]),
        (spaces.Box(0, 9, (1,), np.int64), [[-1], [10]]),
        (spaces.Discrete(3, start=-1), [-2, 2]),
        (spaces.MultiDiscrete([2, 3], start=[0, 1]), [[2, 1], [0, 0], [0, 4]]),
        (spaces.MultiBinary((2, 2)), [[[0, 2], [0, 0]]]),
        (spaces.Text(2, charset="ab"), ["abc", "x", ""]),
    ],
    ids=str,
)
def test_whatever_is_no_member_is_outside(space, wrong):
    kind = object if isinstance(space, spaces.Text) else None
    assert outside(space, np.array(wrong, dtype=kind)).all()


# --- validate --------------------------------------------------------------------------------------------------------


def test_a_sound_dataset_has_no_findings(tmp_path):
    for name in DOMAINS:
        write(tmp_path, ended(make_episodes()), info_of(name=name), shard_each=True)
    assert found(tmp_path) == []
    with pytest.raises(DatasetError, match="has no environment C-v0; it has: A-v0, B-v0"):
        validate(tmp_path, ["C-v0"], progress=False)
    with pytest.raises(DatasetError, match="has no environment at all"):
        validate(tmp_path / "A-v0", progress=False)


def spoil_space(episodes):
    episodes[1]["observation"][""][0] = 3
    return [
        (
            "space",
            "error",
            "observation is outside of Box(-1.0, 1.0, (2,), float32) in 1 steps, first in episode 1, step 0",
        )
    ]


def spoil_nan(episodes):
    episodes[2]["observation"][""][4, 1] = np.nan
    return [("not-finite", "error", "observation is NaN or infinite in 1 steps, first in episode 2, step 4")]


def spoil_action(episodes):
    for role in ("action", "label"):
        episodes[0][role] = {"": episodes[0][role][""].copy()}
        episodes[0][role][""][2:] = 7
    problem = "{} is outside of Discrete(3) in 2 steps, first in episode 0, step 2"
    return [("space", "error", problem.format("action")), ("space", "error", problem.format("label"))]


def spoil_reward(episodes):
    episodes[2]["reward"][1] = np.inf
    return [("not-finite", "error", "the reward is NaN or infinite in 1 steps, first inf in episode 2, step 1")]


def spoil_ends(episodes):
    episodes[0]["terminated"][1] = True
    episodes[1]["truncated"][:] = False
    return [
        ("ends", "error", "a step is flagged as an end and is none 1 times, first episode 0, step 1"),
        (
            "ends",
            "error",
            "a step is the last of an episode and not flagged as its end 1 times, first episode 1, step 0",
        ),
    ]


def spoil_copies(episodes):
    episodes += [episodes[0], episodes[2] | {"seed": 99}]
    return [
        ("duplicates", "error", "1 of 5 episodes repeat an earlier one with the same seed, first 3, which is 0 again"),
        (
            "duplicates",
            "warning",
            "1 of 5 episodes repeat an earlier one with another seed (a deterministic environment?), "
            "first 4, which is 2 again",
        ),
    ]


def spoil_labels(episodes):
    for episode in (episodes[0], episodes[2]):
        episode["label"] = {"": (episode["action"][""] + 1) % 3}
    episodes[2]["behaviour"] = "perturbed-0.3"  # there it is meant so
    return [
        (
            "labels",
            "error",
            "the label differs from the action in 4 steps of episodes in which the reference alone acts, "
            "first in episode 0, step 0",
        )
    ]


@pytest.mark.parametrize(
    "spoil", [spoil_space, spoil_nan, spoil_action, spoil_reward, spoil_ends, spoil_copies, spoil_labels]
)
def test_each_fault_is_found_and_nothing_else(tmp_path, spoil):
    episodes = ended(make_episodes())
    expected = spoil(episodes)
    write(tmp_path, episodes, shard_each=True)
    assert found(tmp_path) == expected


def test_rewards_can_be_kept_to_a_range(tmp_path):
    episodes = ended(make_episodes())
    episodes[1]["reward"][:] = 50
    write(tmp_path, episodes)
    assert found(tmp_path, reward_range=(-20, 20)) == [
        ("reward", "error", "the reward is outside of -20 to 20 in 1 steps, first 50 in episode 1, step 0")
    ]


def test_rewards_that_tell_nothing_are_a_warning(tmp_path):
    episodes = ended(make_episodes(lengths=(3, 3)))
    for episode in episodes:
        episode["reward"][:] = 1
    write(tmp_path, episodes)
    assert [finding[:2] for finding in found(tmp_path)] == [("reward", "warning")]


def test_unknown_columns_and_damaged_shards_are_told(tmp_path):
    folder = write(tmp_path, ended(make_episodes()), info_of(name="A-v0"))
    change_shard(folder, lambda table: table.append_column("weather", [["fine"] * 3]))
    broken = shards(write(tmp_path, ended(make_episodes()), info_of(name="B-v0")))[0]
    broken.write_bytes(broken.read_bytes()[:50])
    (columns, unreadable) = found(tmp_path)
    assert columns == ("columns", "warning", "the columns ['weather'] are unknown and will not be read")
    assert unreadable[:2] == ("unreadable", "error") and "train-00000.parquet is damaged" in unreadable[2]


# --- describe and the card -------------------------------------------------------------------------------------------


def test_a_dataset_in_numbers(tmp_path):
    episodes = ended(make_episodes())
    scores = {"random": {"mean": -1.0}, "reference": {"mean": 2.0}}
    write(tmp_path, episodes, info_of(domain="energy", scores=scores))
    (summary,) = describe(tmp_path)
    assert (summary.name, summary.domain, summary.episodes, summary.steps) == ("Toy-v0", "energy", 3, 11)
    assert summary.agreement == 1 and summary.scores == {"random": -1.0, "reference": 2.0}
    np.testing.assert_allclose(summary.returns, [episode["reward"].sum() for episode in episodes], rtol=1e-5)
    draw_returns(summary, tmp_path / "pictures/toy.png")
    assert (tmp_path / "pictures/toy.png").read_bytes().startswith(b"\x89PNG")


def header_and_text(path):
    _, header, text = path.read_text().split("---\n", 2)
    return yaml.safe_load(header), text


def test_the_card_tells_what_is_there(tmp_path):
    for name, domain in DOMAINS.items():
        info = info_of(name=name, domain=domain, library="toys", licence="MIT" if name == "A-v0" else "")
        write(tmp_path, ended(make_episodes()), info)
    header, text = header_and_text(write_readme(tmp_path, title="Toys", licence="cc-by-4.0", repo_id="someone/toys"))
    assert (
        header["license"] == "cc-by-4.0" and header["pretty_name"] == "Toys" and header["size_categories"] == ["n<1K"]
    )
    assert header["configs"] == [
        {"config_name": name, "data_files": [{"split": "train", "path": f"{name}/train-*.parquet"}]}
        for name in DOMAINS
    ]
    assert {"ldm_hf", "imitation-learning"} <= set(header["tags"])
    assert "| A-v0 | control | 3 | 11 | toys | MIT |" in text and "* not stated: toys" in text
    assert 'load_dataset("someone/toys", "A-v0", split="train")' in text


def test_the_card_keeps_what_somebody_wrote(tmp_path):
    write(tmp_path, ended(make_episodes()), info_of(name="A-v0"))
    path = write_readme(tmp_path, licence="mit")
    changed = path.read_text().replace("# ", "# Our own ", 1).replace("license: mit", "license: mit\nlanguage: de")
    path.write_text(changed + "\nAsk Ada about it.\n")
    write(tmp_path, ended(make_episodes()), info_of(name="B-v0"))
    header, text = header_and_text(write_readme(tmp_path))
    assert header["license"] == "mit" and header["language"] == "de" and len(header["configs"]) == 2
    assert (
        text.count("# Our own ") == 1
        and "Ask Ada about it." in text
        and text.count("| A-v0 |") == 1
        and "| B-v0 |" in text
    )


# --- the better episodes ---------------------------------------------------------------------------------------------


def graded(returns, lengths=None):
    """Episodes with these returns."""
    episodes = ended(make_episodes(lengths=lengths or [3] * len(returns)))
    for episode, value in zip(episodes, returns, strict=True):
        episode["reward"] = np.zeros_like(episode["reward"])
        episode["reward"][-1] = value
    return episodes


@pytest.mark.parametrize(("percentile", "kept"), [(0, [0, 1, 2, 3, 4]), (50, [0, 3, 4]), (80, [0]), (100, [0])])
def test_better_episodes_by_percentile(tmp_path, percentile, kept):
    episodes = graded([9, 1, 2, 5, 5])
    write(tmp_path, episodes, shard_each=True)
    stream = open_dataset(tmp_path, min_return_percentile=percentile)["Toy-v0"]
    assert stream.episodes.tolist() == kept
    assert_same_steps(stream.slice(0, 3 * len(kept)), join([episodes[number] for number in kept]))
    assert stream.episode_returns().tolist() == [[9, 1, 2, 5, 5][number] for number in kept]


@settings(max_examples=30)
@given(st.data())
def test_any_slice_of_any_episodes(tmp_path_factory, data):
    lengths = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    chosen = sorted(data.draw(st.sets(st.integers(0, len(lengths) - 1), min_size=1)))
    episodes = make_episodes(POINT, CHOICE, lengths)
    folder = tmp_path_factory.mktemp("data")
    write(folder, episodes)
    stream = SelectedTrajectories(open_dataset(folder)["Toy-v0"], np.array(chosen))
    whole = join([episodes[number] for number in chosen])
    start = data.draw(st.integers(0, stream.num_steps - 1))
    stop = data.draw(st.integers(start + 1, stream.num_steps))
    assert_same_steps(stream.slice(start, stop), whole, start, stop)
    assert stream.num_episodes == len(chosen) and stream.num_steps == len(whole["reward"])
    with pytest.raises(IndexError):
        stream.slice(start, stream.num_steps + 1)


def test_an_impossible_percentile_is_an_error(tmp_path):
    write(tmp_path, make_episodes())
    with pytest.raises(DatasetError, match="between 0 and 100, not at 101"):
        select_by_return(open_dataset(tmp_path)["Toy-v0"], 101)


def test_better_episodes_come_more_often_and_apart(tmp_path):
    write(tmp_path, graded([0, 0, 0, 0, 2, 2, 2, 2]))
    stream = open_dataset(tmp_path)["Toy-v0"]
    weighted = weigh_by_return(stream, temperature=1.0)  # a deviation of 1: e^2 to 1
    copies = np.bincount(weighted.episodes, minlength=8)
    assert copies.tolist() == [1] * 4 + [7] * 4 and not (np.diff(weighted.episodes) == 0).any()
    assert set(weigh_by_return(stream, temperature=0.1).episodes) == {4, 5, 6, 7}
    assert np.bincount(weigh_by_return(stream, temperature=1e6).episodes).tolist() == [4] * 8
    assert_same_steps(
        weighted.slice(0, 3), join(graded([0, 0, 0, 0, 2, 2, 2, 2])), *(weighted.episodes[0] * 3 + [0, 3])
    )
    equal = weigh_by_return(stream.part(0, 4), temperature=1.0)
    assert np.bincount(equal.episodes).tolist() == [4] * 4
    with pytest.raises(DatasetError, match="temperature of return weights should be above 0, not -1"):
        weigh_by_return(stream, -1.0)
