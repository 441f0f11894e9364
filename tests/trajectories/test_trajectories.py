"""Trajectories: what is written is what is read, by us and by `datasets`; crashes and damage; windows."""

import io
import json
import resource
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ldm_hf.errors import DatasetError
from ldm_hf.spaces import space_to_json
from ldm_hf.trajectories import (
    EnvironmentInfo,
    EnvironmentTrajectories,
    TrajectoryWriter,
    WindowSampler,
    open_dataset,
    reader,
    write_readme,
    writer,
)
from ldm_hf.trajectories.schema import BYTES, Column
from ldm_hf.trajectories.windows import DRAWS
from ldm_hf.trajectories.writer import shards, stored

from ..conftest import random_steps
from ..strategies import action_spaces, observation_spaces

OBSERVATION = spaces.Dict(
    {
        "x": spaces.Box(-1, 1, (3,)),
        "image": spaces.Box(0, 255, (4, 5, 3), np.uint8),
        "flag": spaces.Box(0, 1, (2,), bool),
        "big": spaces.Box(0, 2**64 - 1, (2,), np.uint64),
        "level": spaces.Discrete(7, start=-3),
        "says": spaces.Text(6, min_length=0, charset="aé "),
    }
)
ACTION = spaces.Tuple([spaces.MultiDiscrete([3, 5]), spaces.Box(-2, 2, (1,), np.float64)])
POINT, CHOICE = spaces.Box(-1, 1, (2,)), spaces.Discrete(3)


def describe(observation_space=POINT, action_space=CHOICE, name="Toy-v0", **further):
    return EnvironmentInfo(name, name, space_to_json(observation_space), space_to_json(action_space), **further)


def make_episodes(observation_space=POINT, action_space=CHOICE, lengths=(4, 1, 6), seed=0):
    return [
        random_steps(observation_space, action_space, length, seed + index) | {"behaviour": "clean", "seed": index}
        for index, length in enumerate(lengths)
    ]


def write(folder, episodes, info=None, shard_each=False):
    """Writes episodes, by choice one a shard; returns the folder of the environment."""
    info = info or describe()
    with TrajectoryWriter(folder, info) as out:
        for episode in episodes:
            out.write(episode)
            if shard_each:
                out.flush()
    return Path(folder) / info.name


def join(episodes):
    """The stream that these episodes make."""
    stream = {}
    for name in ("observation", "action", "label"):
        stream[name] = {
            path: np.concatenate([episode[name][path] for episode in episodes]) for path in episodes[0][name]
        }
    for name in ("reward", "terminated", "truncated"):
        stream[name] = np.concatenate([episode[name] for episode in episodes])
    return stream


def assert_same_steps(found, expected, start=0, stop=None):
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        leaves = values.items() if isinstance(values, dict) else [("", values)]
        for path, array in leaves:
            other = found[name][path] if isinstance(values, dict) else found[name]
            assert other.dtype == array.dtype, (name, path)
            assert np.array_equal(other, array[start:stop]), (name, path)


def change_shard(folder, change):
    """Rewrites the first shard of an environment."""
    path = shards(folder)[0]
    pq.write_table(change(pq.read_table(path)), path)
    return path


def change_description(folder, **values):
    path = folder / "environment.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# --- writing and reading ---------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(observation_spaces, action_spaces, st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 99))
def test_what_is_read_is_what_was_written(observation_space, action_space, lengths, seed):
    episodes = make_episodes(observation_space, action_space, lengths, seed)
    with tempfile.TemporaryDirectory() as folder:
        write(folder, episodes, describe(observation_space, action_space), shard_each=seed % 2 == 0)
        stream = open_dataset(folder)["Toy-v0"]
        assert stream.observation_space == observation_space and stream.action_space == action_space
        assert np.diff(stream.episode_starts).tolist() == lengths
        assert_same_steps(stream.slice(0, sum(lengths)), join(episodes))


def test_datasets_reads_the_very_same_values(tmp_path):
    datasets = pytest.importorskip("datasets")
    folder = tmp_path / "data"
    episodes = make_episodes(OBSERVATION, ACTION, (5, 2, 3))
    write(folder, episodes, describe(OBSERVATION, ACTION, "Rich-v0"), shard_each=True)
    write(folder, make_episodes(lengths=(2,)), describe(name="Plain-v0"))
    write_readme(folder)
    assert datasets.get_dataset_config_names(str(folder)) == ["Plain-v0", "Rich-v0"]
    rows = datasets.load_dataset(str(folder), "Rich-v0", split="train", cache_dir=str(tmp_path / "datasets"))
    assert rows["behaviour"][:] == ["clean"] * 3 and rows["seed"][:] == [0, 1, 2]
    stream = open_dataset(folder)["Rich-v0"]
    for index, row in enumerate(rows):
        steps = stream.slice(*stream.episode_starts[index : index + 2])
        for role in ("observation", "action", "label"):
            for path, values in steps[role].items():
                plain = np.array(row[f"{role}.{path}"], values.dtype)
                # one flat list a step, whatever the shape of the leaf
                assert np.array_equal(plain.reshape(values.shape), values), (role, path)
        for name in ("reward", "terminated", "truncated"):
            assert np.array_equal(np.array(row[name], steps[name].dtype), steps[name]), name


def test_a_root_leaf_has_a_column_without_a_path(tmp_path):
    folder = write(tmp_path, make_episodes())
    assert pq.read_schema(shards(folder)[0]).names == [
        *("observation", "action", "label", "reward", "terminated", "truncated", "behaviour", "seed")
    ]


def test_a_slice_goes_over_the_ends_of_episodes_and_shards(tmp_path):
    episodes = make_episodes(OBSERVATION, ACTION, (4, 1, 6))
    write(tmp_path, episodes, describe(OBSERVATION, ACTION), shard_each=True)
    stream, whole = open_dataset(tmp_path)["Toy-v0"], join(episodes)
    for start, stop in [(0, 1), (3, 5), (2, 11), (4, 5), (10, 11)]:
        assert_same_steps(stream.slice(start, stop), whole, start, stop)


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (0, 12), (3, 3), (5, 4)])
def test_a_slice_outside_the_stream_is_an_error(tmp_path, start, stop):
    write(tmp_path, make_episodes())
    with pytest.raises(IndexError, match="Toy-v0"):
        open_dataset(tmp_path)["Toy-v0"].slice(start, stop)


FILE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def as_files(shape=(6, 7, 3)):
    """Changes a shard: images of observations are stored as files, as `datasets.Image` does."""

    def change(table):
        def encode(pixels):
            image, file = np.frombuffer(pixels, np.uint8).reshape(shape), io.BytesIO()
            Image.fromarray(np.moveaxis(image, 0, -1) if shape[0] == 3 else image).save(file, "PNG")
            return {"bytes": file.getvalue(), "path": None}

        episodes = [[encode(pixels) for pixels in episode] for episode in table["observation"].to_pylist()]
        return table.set_column(0, "observation", pa.array(episodes, pa.list_(FILE)))

    return change


@pytest.mark.parametrize("shape", [(6, 7, 3), (3, 6, 7)], ids=["channels last", "channels first"])
def test_images_are_read_from_png(tmp_path, shape):
    space = spaces.Box(0, 255, shape, np.uint8)
    episodes = make_episodes(space, lengths=(3, 2))
    folder = write(tmp_path, episodes, describe(space))
    change_shard(folder, as_files(shape))
    stream = open_dataset(tmp_path)["Toy-v0"]
    assert_same_steps(stream.slice(0, 5), join(episodes))


def test_images_of_another_size_or_kind_are_named(tmp_path):
    space = spaces.Box(0, 255, (6, 7, 3), np.uint8)
    folder = write(tmp_path, make_episodes(space), describe(space))
    change_shard(folder, as_files())
    change_shard(folder, lambda table: table.replace_schema_metadata(None))  # as other libraries write it
    wrong = space_to_json(spaces.Box(0, 255, (5, 7, 3), np.uint8))
    right = json.loads((folder / "environment.json").read_text())["observation_space"]
    change_description(folder, observation_space=wrong)
    with pytest.raises(
        DatasetError, match=r"column observation, step 0: an image of shape \(6, 7, 3\), expected \(5, 7, 3\)"
    ):
        open_dataset(tmp_path)
    change_description(folder, observation_space=right)
    broken = [[{"bytes": b"no", "path": None}] * n for n in (4, 1, 6)]
    change_shard(folder, lambda table: table.set_column(0, "observation", pa.array(broken, pa.list_(FILE))))
    with pytest.raises(DatasetError, match="step 0: not an image"):
        open_dataset(tmp_path)


def test_more_files_than_a_process_may_open_by_default(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for index in range(30):
        write(tmp_path, make_episodes(), describe(name=f"Toy-v{index}"))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))
        reader._allow_open_files.cache_clear()
        streams = open_dataset(tmp_path)
        assert len(streams) == 30 and all(stream.slice(0, 11) for stream in streams.values())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_some_episodes_are_a_stream_of_their_own(tmp_path):
    episodes = make_episodes(OBSERVATION, ACTION, (4, 1, 6, 3))
    write(tmp_path, episodes, describe(OBSERVATION, ACTION), shard_each=True)
    stream = open_dataset(tmp_path)["Toy-v0"]
    whole = stream.statistics()["observation"]["x"]["mean"]
    part, expected = stream.part(1, 3), join(episodes[1:3])
    assert (part.num_episodes, part.num_steps) == (2, 7) and part.episode_starts.tolist() == [0, 1, 7]
    assert_same_steps(part.slice(0, 7), expected)
    np.testing.assert_allclose(
        part.episode_returns(), [episode["reward"].sum() for episode in episodes[1:3]], rtol=1e-5
    )
    np.testing.assert_allclose(
        part.statistics()["observation"]["x"]["mean"], expected["observation"]["x"].mean(0), rtol=1e-5
    )
    assert np.array_equal(stream.statistics()["observation"]["x"]["mean"], whole) and stream.num_steps == 14
    for start, stop in ((0, 5), (2, 2), (-1, 1)):
        with pytest.raises(IndexError, match="Toy-v0"):
            stream.part(start, stop)


def test_sessions_continue_a_folder(tmp_path, monkeypatch):
    episodes = make_episodes(lengths=(3, 2, 4, 1, 5, 2))
    monkeypatch.setattr(writer, "SHARD_STEPS", 4)
    for session in (episodes[:3], episodes[3:4], [], episodes[4:]):
        folder = write(tmp_path, session)
    assert [path.name for path in shards(folder)] == [f"train-{index:05d}.parquet" for index in range(5)]
    stream = open_dataset(tmp_path)["Toy-v0"]
    assert stream.episode_starts.tolist() == [0, 3, 5, 9, 10, 15, 17]
    assert_same_steps(stream.slice(0, 17), join(episodes))


def test_large_observations_make_shards_early(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "SHARD_BYTES", 100)  # an episode of 7 points has 56 bytes
    folder = write(tmp_path, make_episodes(lengths=(7, 7, 7)))
    assert [pq.read_metadata(path).num_rows for path in shards(folder)] == [2, 1]


def test_stored_counts_episodes_and_steps(tmp_path):
    assert stored(tmp_path / "Toy-v0") == (0, 0)
    folder = write(tmp_path, make_episodes(lengths=(4, 1, 6)), shard_each=True)
    write(tmp_path, make_episodes(lengths=(2, 3)))
    assert stored(folder) == (5, 16)


def test_statistics_are_those_of_all_steps(tmp_path):
    space = spaces.Dict({"x": spaces.Box(-1, 1, (2, 2)), "count": spaces.Box(0, 10**9, (), np.int64), "d": CHOICE})
    episodes = make_episodes(space, lengths=(30, 20))
    write(tmp_path, episodes, describe(space), shard_each=True)
    statistics, whole = open_dataset(tmp_path)["Toy-v0"].statistics(), join(episodes)
    assert statistics["observation"].keys() == {"x", "count"}  # choices are not standardised
    for path, values in statistics["observation"].items():
        scalars = whole["observation"][path].astype(np.float64).reshape(50, -1)
        np.testing.assert_allclose(values["mean"], scalars.mean(0))
        np.testing.assert_allclose(values["std"], scalars.std(0))
    assert statistics["reward"]["mean"] == pytest.approx(whole["reward"].mean(dtype=np.float64))
    assert statistics["reward"]["std"] == pytest.approx(whole["reward"].std(dtype=np.float64))


def test_episode_returns_are_sums_of_rewards(tmp_path):
    episodes = make_episodes(lengths=(4, 1, 6))
    write(tmp_path, episodes, shard_each=True)
    expected = [episode["reward"].astype(np.float64).sum() for episode in episodes]
    np.testing.assert_allclose(open_dataset(tmp_path)["Toy-v0"].episode_returns(), expected, atol=1e-12)


def test_the_description_survives(tmp_path):
    info = describe(task="go", domain="control", kwargs={"size": 3}, scores={"random": {"mean": 1.5}})
    folder = write(tmp_path, make_episodes(), info)
    assert EnvironmentInfo.load(folder) == info


@pytest.mark.parametrize("key", ["walker/position", "k" * 300], ids=["slash", "long"])
def test_any_key_of_an_observation_can_be_stored(tmp_path, key):
    space = spaces.Dict({key: POINT})
    episodes = make_episodes(space)
    write(tmp_path, episodes, describe(space))
    assert_same_steps(open_dataset(tmp_path)["Toy-v0"].slice(0, 11), join(episodes))


# --- the decoded cache -----------------------------------------------------------------------------------------------


@pytest.fixture()
def decodings(monkeypatch):
    """The files that each decoding read."""
    calls, decode = [], EnvironmentTrajectories._decode

    def counted(self, files, folder):
        calls.append([path.name for path in files])
        decode(self, files, folder)

    monkeypatch.setattr(EnvironmentTrajectories, "_decode", counted)
    return calls


def test_decoded_columns_are_used_again(tmp_path, decodings):
    write(tmp_path / "data", make_episodes())
    for _ in range(3):
        stream = open_dataset(tmp_path / "data")["Toy-v0"]
    assert len(decodings) == 1
    assert_same_steps(stream.slice(0, 11), join(make_episodes()))
    assert [path.name[:7] for path in (tmp_path / "cache").iterdir()] == ["Toy-v0-"]


def test_decoded_columns_are_made_anew_when_shards_change(tmp_path, decodings):
    folder = write(tmp_path / "data", make_episodes(lengths=(4, 2)))
    open_dataset(tmp_path / "data")
    write(tmp_path / "data", make_episodes(lengths=(3,)))
    assert open_dataset(tmp_path / "data")["Toy-v0"].num_steps == 9
    shards(folder)[1].unlink()
    write(tmp_path / "data", make_episodes(lengths=(3,), seed=7))
    stream = open_dataset(tmp_path / "data")["Toy-v0"]
    assert_same_steps(stream.slice(6, 9), join(make_episodes(lengths=(3,), seed=7)))
    assert len(decodings) == 3


def test_a_decoding_that_breaks_off_leaves_nothing(tmp_path):
    write(tmp_path / "data", make_episodes())

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))  # bytes a file: the disk is as good as full
    try:
        with pytest.raises(DatasetError, match=r"Toy-v0.*File too large.*LDM_HF_CACHE"):
            open_dataset(tmp_path / "data")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list((tmp_path / "cache").iterdir())
    assert open_dataset(tmp_path / "data")["Toy-v0"].num_steps == 11


# --- windows ---------------------------------------------------------------------------------------------------------

LENGTHS = {"long": 1000, "middle": 60, "short": 5}


def test_windows_of_a_step_depend_on_seed_and_step_alone():
    forward, backward = (WindowSampler(LENGTHS, 16, 6, seed=3) for _ in range(2))
    first = [forward.windows(step) for step in range(20)]
    assert first == [backward.windows(step) for step in reversed(range(20))][::-1]
    assert len({str(windows) for windows in first}) == 20
    assert WindowSampler(LENGTHS, 16, 6, seed=4).windows(0) != first[0]
    assert WindowSampler(dict(reversed(LENGTHS.items())), 16, 6, seed=3).windows(0) == first[0]


@pytest.mark.parametrize("ranks", [2, 3, 6])
def test_ranks_together_draw_what_a_single_process_draws(ranks):
    whole = WindowSampler(LENGTHS, 16, 6, seed=1)
    parts = [WindowSampler(LENGTHS, 16, 6 // ranks, seed=1, rank=rank, world_size=ranks) for rank in range(ranks)]
    for step in range(10):
        assert [window for part in parts for window in part.windows(step)] == whole.windows(step)


def shares(sampler, steps):
    counts = Counter(name for step in range(steps) for name, _ in sampler.windows(step))
    total = sum(counts.values())
    return {name: counts[name] / total for name in sampler.names}


def test_environments_weigh_the_same_whatever_their_length():
    sampler = WindowSampler(LENGTHS, 16, 8)
    for step in range(200):  # 8 / 3: two or three of each in nearly every batch
        assert set(Counter(name for name, _ in sampler.windows(step)).values()) <= {2, 3, 4}
    assert shares(sampler, 600) == pytest.approx(dict.fromkeys(LENGTHS, 1 / 3), abs=0.01)
    assert shares(sampler, DRAWS * 3 // 8) == dict.fromkeys(LENGTHS, 1 / 3)  # a whole block


@given(st.lists(st.integers(1, 500), min_size=1, max_size=40), st.integers(1, 60), st.integers(0, 2**63))
def test_no_step_is_drawn_twice_in_a_lap(lengths, segment, seed):
    """And after it, the next lap has other places."""
    sampler = WindowSampler({f"{index}": length for index, length in enumerate(lengths)}, segment, 1, seed)
    drawn = {name: [] for name in sampler.names}
    for number in range(DRAWS * len(lengths)):
        name, start = sampler.window(number)
        drawn[name].append((number, start))
    for name, length in zip(drawn, map(lengths.__getitem__, map(int, drawn)), strict=True):
        assert len(drawn[name]) == DRAWS
        assert all(0 <= start <= max(length - segment, 0) for _, start in drawn[name])
        lap = max((length - segment + 1) // segment, 1)
        starts = [start for _, start in drawn[name]]
        for first in range(0, DRAWS - lap + 1, lap):
            assert min(np.diff(sorted(starts[first : first + lap])), default=segment) >= segment


def test_laps_cover_a_stream_evenly():
    sampler = WindowSampler({"a": 1000}, 16, 1)
    lap = (1000 - 16 + 1) // 16
    first, second = ([sampler.window(number)[1] for number in range(n * lap, (n + 1) * lap)] for n in range(2))
    for starts in (first, second):
        assert min(np.diff(sorted(starts))) >= 16 and max(np.diff(sorted(starts))) <= 2 * 16
    assert set(first) != set(second) and first != sorted(first)
    all_starts = Counter(sampler.window(number)[1] % 16 for number in range(200 * lap))
    assert len(all_starts) == 16 and max(all_starts.values()) < 1.5 * min(all_starts.values())


def test_a_run_with_other_batches_goes_on_in_the_same_sequence():
    small = WindowSampler(LENGTHS, 16, 4, seed=2)
    seen = [window for step in range(5) for window in small.windows(step)]
    large = [WindowSampler(LENGTHS, 16, 4, 2, rank, 2, first=20 - 5 * 8) for rank in range(2)]
    seen += [window for step in range(5, 8) for part in large for window in part.windows(step)]
    assert seen == [small.window(number) for number in range(20 + 3 * 8)]


def test_weights_are_honoured():
    sampler = WindowSampler(LENGTHS, 16, 5, weights={"long": 0, "middle": 3, "short": 1})
    assert shares(sampler, 800) == pytest.approx({"long": 0, "middle": 0.75, "short": 0.25}, abs=0.01)
    rare = WindowSampler(LENGTHS, 16, 5, weights={"long": 1, "middle": 1, "short": 1e-9})
    assert 0 < shares(rare, 800)["short"] < 0.01  # rare, not never


@pytest.mark.parametrize("weights", [dict.fromkeys(LENGTHS, 0.0), {"long": -1, "middle": 1, "short": 1}])
def test_impossible_weights_are_an_error(weights):
    with pytest.raises(ValueError, match="weights must not be negative and not all zero"):
        WindowSampler(LENGTHS, 16, 5, weights=weights)


def test_windows_lie_inside_their_streams_and_reach_both_ends():
    starts = {name: set() for name in LENGTHS}
    sampler = WindowSampler(LENGTHS, 57, 6)
    for step in range(200):
        for name, start in sampler.windows(step):
            starts[name].add(start)
    assert starts["middle"] == {0, 1, 2, 3}
    assert starts["short"] == {0}  # shorter than a segment: its beginning
    assert min(starts["long"]) >= 0 and 900 < max(starts["long"]) <= 1000 - 57


@pytest.mark.parametrize("size", [BYTES - 1, BYTES])
def test_large_uint8_leaves_are_binaries_and_those_of_format_1_are_still_read(size, tmp_path, monkeypatch):
    space = spaces.Dict({"image": spaces.Box(0, 255, (size,), np.uint8), "x": spaces.Box(0, 255, (size,), np.int16)})
    info = EnvironmentInfo("Toy", "Toy-v0", space_to_json(space), space_to_json(spaces.Discrete(3)))
    rng = np.random.default_rng(0)
    shape = (20, size)
    episode = {
        "observation": {"image": rng.integers(0, 256, shape, np.uint8), "x": rng.integers(0, 256, shape, np.int16)},
        "action": {"": rng.integers(0, 3, 20)},
        "label": {"": rng.integers(0, 3, 20)},
        **{name: np.zeros(20, bool) for name in ("terminated", "truncated")},
        "reward": np.zeros(20, np.float32),
    }
    for binary in (False, True):  # the same folder: it may have been begun by an earlier version
        with monkeypatch.context() as patch, TrajectoryWriter(tmp_path, info) as writer:
            if not binary:
                patch.setattr(Column, "is_bytes", False)
            writer.write(episode)
            writer.flush()
    types = [
        pq.read_schema(path).field("observation.image").type.value_type
        for path in sorted(tmp_path.glob("Toy/*.parquet"))
    ]
    assert types == [pa.list_(pa.uint8()), pa.binary() if size == BYTES else pa.list_(pa.uint8())]
    stream = open_dataset(tmp_path)["Toy"]
    for name in ("image", "x"):
        expected = np.concatenate([episode["observation"][name]] * 2)
        np.testing.assert_array_equal(stream.slice(0, 40)["observation"][name], expected)
