"""Trajectories that cannot be written or read: each time one error that names the file and the cure."""

import json

import numpy as np
import pyarrow as pa
import pytest
from gymnasium import spaces

from ldm_hf.errors import DatasetError
from ldm_hf.trajectories import EnvironmentInfo, EnvironmentTrajectories, TrajectoryWriter, open_dataset, writer
from ldm_hf.trajectories.schema import FORMAT_VERSION
from ldm_hf.trajectories.writer import shards, stored

from .test_trajectories import (
    CHOICE,
    POINT,
    assert_same_steps,
    change_description,
    change_shard,
    describe,
    join,
    make_episodes,
    write,
)

# --- what goes wrong while writing -----------------------------------------------------------------------------------


def disk_full(table, file, **kwargs):
    file.write(b"PAR1half of a shard")
    raise OSError(28, "No space left on device")


def test_a_full_disk_names_the_environment_and_keeps_earlier_shards(tmp_path, monkeypatch):
    first, second = make_episodes(lengths=(3, 4))
    folder = write(tmp_path, [first])
    before = shards(folder)[0].read_bytes()
    monkeypatch.setattr(writer.pq, "write_table", disk_full)
    with pytest.raises(
        DatasetError, match=r"^Toy-v0: .*No space left on device.*1 shard\(s\) written before are kept"
    ):
        write(tmp_path, [second])
    assert {path.name for path in folder.iterdir()} == {"environment.json", "train-00000.parquet"}
    assert shards(folder)[0].read_bytes() == before


def test_writing_goes_on_when_there_is_space_again(tmp_path, monkeypatch):
    first, second = make_episodes(lengths=(3, 4))
    out = TrajectoryWriter(tmp_path, describe())
    out.write(first)
    with monkeypatch.context() as patch, pytest.raises(DatasetError):
        patch.setattr(writer.pq, "write_table", disk_full)
        out.flush()
    out.write(second)
    out.flush()
    assert_same_steps(open_dataset(tmp_path)["Toy-v0"].slice(0, 7), join([first, second]))


def test_a_killed_process_leaves_no_half_shard(tmp_path, monkeypatch):
    first, second = make_episodes(lengths=(3, 4))
    folder = write(tmp_path, [first])

    def killed(table, file, **kwargs):
        file.write(b"PAR1half of a shard")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(writer.pq, "write_table", killed)
        write(tmp_path, [second])
    assert stored(folder) == (1, 3)
    write(tmp_path, [second])
    assert {path.name for path in folder.iterdir()} == {
        *("environment.json", "train-00000.parquet", "train-00001.parquet")
    }


def test_an_error_in_the_loop_keeps_the_episodes_before_it(tmp_path):
    with pytest.raises(ZeroDivisionError), TrajectoryWriter(tmp_path, describe()) as out:
        out.write(make_episodes()[0])
        raise ZeroDivisionError
    assert stored(tmp_path / "Toy-v0") == (1, 4)


def test_a_folder_that_cannot_be_made_is_a_dataset_error(tmp_path):
    (tmp_path / "Toy-v0").write_text("a file")
    with pytest.raises(DatasetError, match=r"Toy-v0: writing to .* failed"):
        TrajectoryWriter(tmp_path, describe())


@pytest.mark.parametrize(
    ("observation_space", "action_space", "message"),
    [
        (spaces.Box(-1, 1, (3,)), CHOICE, r"another observation space \(\(root\): shape \[2\] expected, \[3\] found"),
        (POINT, spaces.Discrete(4), r"another action space \(\(root\): n 3 expected, 4 found\)"),
        (POINT, spaces.Dict({"a": CHOICE}), r"another action space \(\(root\): Discrete expected, Dict found\)"),
    ],
)
def test_other_spaces_are_not_mixed_in(tmp_path, observation_space, action_space, message):
    folder = write(tmp_path, make_episodes())
    with pytest.raises(DatasetError, match=message):
        TrajectoryWriter(tmp_path, describe(observation_space, action_space))
    assert EnvironmentInfo.load(folder) == describe()


def test_a_removed_shard_does_not_cost_another_one(tmp_path):
    """Our own messages tell people to remove a damaged shard and to collect again."""
    episodes = make_episodes(lengths=(1, 2, 3, 4))
    folder = write(tmp_path, episodes[:3], shard_each=True)
    shards(folder)[1].unlink()
    write(tmp_path, episodes[3:])
    assert sorted(np.diff(open_dataset(tmp_path)["Toy-v0"].episode_starts)) == [1, 3, 4]


def wrong_shape(episode):
    episode["observation"][""] = np.zeros((4, 3), np.float32)


def one_observation_more(episode):
    episode["observation"][""] = np.zeros((5, 2), np.float32)


def no_label(episode):
    episode["label"] = {}


def no_steps(episode):
    for role in ("observation", "action", "label"):
        episode[role] = {"": episode[role][""][:0]}
    for name in ("reward", "terminated", "truncated"):
        episode[name] = episode[name][:0]


@pytest.mark.parametrize("spoil", [wrong_shape, one_observation_more, no_label, no_steps])
@pytest.mark.parametrize("alone", [False, True], ids=["in a shard with others", "alone in a shard"])
def test_an_episode_that_does_not_fit_is_refused_and_others_are_kept(tmp_path, spoil, alone):
    good, bad = make_episodes(lengths=(4, 4))
    spoil(bad)
    with pytest.raises(DatasetError, match="Toy-v0"):
        write(tmp_path, [good, bad], shard_each=alone)
    assert stored(tmp_path / "Toy-v0") == (1, 4)


def test_a_name_that_is_no_folder_name_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="ALE/Pong-v5"):
        TrajectoryWriter(tmp_path, describe(name="ALE/Pong-v5"))


# --- what goes wrong while reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kept", [0, 20, -40], ids=["empty", "start", "all but the end"])
def test_a_truncated_shard_is_named(tmp_path, kept):
    folder = write(tmp_path, make_episodes(), shard_each=True)
    path = shards(folder)[1]
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DatasetError, match=r"train-00001\.parquet is damaged"):
        open_dataset(tmp_path)


def test_a_truncated_shard_is_named_when_collection_goes_on(tmp_path):
    folder = write(tmp_path, make_episodes())
    shards(folder)[0].write_bytes(b"PAR1")
    with pytest.raises(DatasetError, match=r"train-00000\.parquet is damaged"):
        stored(folder)


def drop_labels(table):
    return table.drop_columns(["label"])


def foreign_column(table):
    return table.append_column("observation.speed", table["reward"])


def double_precision(table):
    return table.set_column(0, "observation", table["observation"].cast(pa.list_(pa.list_(pa.float64()))))


def three_numbers_a_step(table):
    steps = [[[*step, 0.0] for step in episode] for episode in table["observation"].to_pylist()]
    return table.set_column(0, "observation", pa.array(steps, pa.list_(pa.list_(pa.float32()))))


def other_episodes(table):
    """As many steps as there are rewards, but cut into other episodes."""
    return table.set_column(0, "observation", pa.array(table["observation"].to_pylist()[::-1], table.schema[0].type))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (foreign_column, r"has the columns \['observation.speed'\], which are no part of Toy-v0's spaces"),
        (drop_labels, r"lacks the columns \['label'\] that Toy-v0 should have"),
        (double_precision, r"column observation has type list<.*double.*, expected list<.*float"),
        (three_numbers_a_step, r"column observation has 33 numbers for 11 steps of shape \(2,\)"),
        (other_episodes, "observation"),
    ],
)
def test_a_shard_that_does_not_fit_the_spaces_is_named(tmp_path, change, message):
    path = change_shard(write(tmp_path, make_episodes()), change)
    with pytest.raises(DatasetError, match=message) as caught:
        open_dataset(tmp_path)
    assert str(path) in str(caught.value)


def test_a_shard_with_too_many_texts_is_named(tmp_path):
    space = spaces.Text(5)
    folder = write(tmp_path, make_episodes(space), describe(space))
    change_shard(folder, lambda table: table.set_column(0, "observation", pa.array([["a"] * 5, ["b"], ["c"] * 6])))
    with pytest.raises(DatasetError, match=r"train-00000\.parquet"):
        open_dataset(tmp_path)


def test_a_folder_that_is_no_dataset(tmp_path):
    (tmp_path / "holiday").mkdir()
    (tmp_path / "holiday" / "photo.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"is no trajectory dataset.*ldm collect"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="neither a folder nor a dataset repo"):
        open_dataset(tmp_path / "missing")


def test_an_environment_without_shards_is_left_out_or_named(tmp_path):
    write(tmp_path, make_episodes())
    empty = write(tmp_path, [], describe(name="Empty-v0"))
    assert list(open_dataset(tmp_path)) == ["Toy-v0"]
    with pytest.raises(DatasetError, match=r"Empty-v0 has no train-\*\.parquet"):
        EnvironmentTrajectories(empty)


def test_an_unknown_name_tells_the_known_ones(tmp_path):
    for name in ("A-v0", "B-v0"):
        write(tmp_path, make_episodes(), describe(name=name))
    assert list(open_dataset(tmp_path, ["B-v0"])) == ["B-v0"]
    with pytest.raises(DatasetError, match=r"no environment\(s\) C-v0; it has: A-v0, B-v0"):
        open_dataset(tmp_path, ["A-v0", "C-v0"])


def test_a_missing_description_is_an_error(tmp_path):
    folder = write(tmp_path, make_episodes())
    (folder / "environment.json").unlink()
    with pytest.raises(DatasetError, match=r"environment\.json is missing or damaged"):
        EnvironmentTrajectories(folder)


@pytest.mark.parametrize("text", ["", "{", "[]", '"text"', '{"name": "Toy-v0"}'])
def test_a_damaged_description_is_named(tmp_path, text):
    folder = write(tmp_path, make_episodes())
    (folder / "environment.json").write_text(text)
    with pytest.raises(DatasetError, match=r"Toy-v0/environment\.json is missing or damaged"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("space", [None, {}, {"type": "Box"}, {"type": "Future"}], ids=str)
def test_a_damaged_space_names_its_file(tmp_path, space):
    change_description(write(tmp_path, make_episodes()), observation_space=space)
    with pytest.raises(DatasetError, match=r"Toy-v0/environment\.json"):
        open_dataset(tmp_path)


def test_a_later_format_asks_for_an_update(tmp_path):
    folder = write(tmp_path, make_episodes())
    change_description(folder, format_version=FORMAT_VERSION + 1, something_new=1)
    with pytest.raises(DatasetError, match=f"has format {FORMAT_VERSION + 1}.*update ldm_hf"):
        open_dataset(tmp_path)
    with pytest.raises(DatasetError, match="update ldm_hf"):  # and is not overwritten
        TrajectoryWriter(tmp_path, describe())


def test_a_later_format_with_other_fields_asks_for_an_update(tmp_path):
    folder = write(tmp_path, make_episodes())
    (folder / "environment.json").write_text(json.dumps({"format_version": FORMAT_VERSION + 1, "id": "Toy-v0"}))
    with pytest.raises(DatasetError, match="update ldm_hf"):
        open_dataset(tmp_path)


def test_unknown_fields_of_this_format_are_ignored(tmp_path):
    folder = write(tmp_path, make_episodes())
    change_description(folder, remark="made by hand")
    assert EnvironmentInfo.load(folder) == describe()


# --- what is no longer of one piece ----------------------------------------------------------------------------------


def test_a_shard_of_other_spaces_is_named_though_its_columns_fit(tmp_path):
    folder = write(tmp_path / "data", make_episodes())
    other = write(tmp_path / "other", make_episodes(), describe(action_space=spaces.Discrete(5)))
    (folder / "train-00001.parquet").write_bytes(shards(other)[0].read_bytes())
    message = r"train-00001\.parquet was written with another action space .*\(root\): n 3 expected, 5 found"
    with pytest.raises(DatasetError, match=message):
        open_dataset(tmp_path / "data")


def test_shards_that_do_not_tell_their_spaces_are_read(tmp_path):
    change_shard(write(tmp_path, make_episodes()), lambda table: table.replace_schema_metadata(None))
    assert open_dataset(tmp_path)["Toy-v0"].num_steps == 11


def test_a_shard_without_episodes_is_an_empty_environment(tmp_path):
    change_shard(write(tmp_path, make_episodes()), lambda table: table[:0])
    with pytest.raises(DatasetError, match="Toy-v0 is empty: its shards hold no step"):
        open_dataset(tmp_path)


def test_an_empty_config_that_is_asked_for_is_named(tmp_path):
    write(tmp_path, make_episodes())
    (tmp_path / "Empty-v0").mkdir()
    describe(name="Empty-v0").save(tmp_path / "Empty-v0")
    with pytest.raises(DatasetError, match=r"Empty-v0 is empty: it has no train-\*\.parquet"):
        open_dataset(tmp_path, ["Toy-v0", "Empty-v0"])
