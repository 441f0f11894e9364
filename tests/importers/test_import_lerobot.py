"""Imports of LeRobotDatasets that LeRobot's own writer left in tests/data (see make_lerobot.py there)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from ldm_hf.errors import DatasetError, MissingExtraError
from ldm_hf.importers import import_trajectories, open_source
from ldm_hf.trajectories import open_dataset, validate

DATA = Path(__file__).parents[1] / "data"
LENGTHS, TASKS = (7, 4, 6), ("Push the block.", "Lift the cup.")  # of make_lerobot.py


def bring(source, folder, **options):
    for _ in range(2):  # the second time, nothing is left to do
        info = import_trajectories(open_source("lerobot", str(source), **options), folder, progress=False)
    assert validate(folder, progress=False) == []
    return open_dataset(folder)[info.name]


def episodes_of(stream):
    assert np.diff(stream.episode_starts).tolist() == list(LENGTHS)
    return [stream.slice(*stream.episode_starts[number : number + 2]) for number in range(len(LENGTHS))]


def assert_numbers(steps, episode):
    frames = np.arange(LENGTHS[episode])
    assert steps["observation"]["state"].tolist() == [[episode, frame] for frame in frames]
    assert steps["action"][""].tolist() == [[episode / 2, -frame] for frame in frames]
    assert np.array_equal(steps["label"][""], steps["action"][""])


def assert_pictures(pictures, episode):
    """Videos are compressed: shades are off by a little, by less than half of what tells frames apart."""
    expected = 60 + 50 * episode + 10 * np.arange(LENGTHS[episode])
    assert np.abs(pictures.reshape(len(pictures), -1).mean(axis=1) - expected).max() < 4


def test_a_dataset_with_a_camera_as_video(tmp_path):
    stream = bring(DATA / "lerobot_video", tmp_path)
    assert stream.observation_space == spaces.Dict(
        {"state": spaces.Box(-np.inf, np.inf, (2,)), "images.top": spaces.Box(0, 255, (48, 64, 3), np.uint8)}
    )
    assert stream.action_space == spaces.Box(np.float32([0, -6]), np.float32([1, 0]))
    assert stream.info.task == TASKS[0] and stream.info.collection["fps"] == 10
    for number, steps in enumerate(episodes_of(stream)):
        assert_numbers(steps, number)
        assert_pictures(steps["observation"]["images%2Etop"], number)
        np.testing.assert_allclose(steps["reward"], number + np.arange(LENGTHS[number]) / 10, rtol=1e-6)
        assert steps["terminated"][-1] == (number != 1) and steps["truncated"][-1] == (number == 1)


def test_a_dataset_with_images_and_two_tasks(tmp_path):
    stream = bring(DATA / "lerobot_images", tmp_path, image_size=16)
    assert stream.observation_space["images.top"].shape == (16, 16, 3) and stream.info.task == ""
    for number, steps in enumerate(episodes_of(stream)):
        assert_numbers(steps, number)
        assert_pictures(steps["observation"]["images%2Etop"], number)
        assert set(steps["observation"]["task"]) == {TASKS[number % 2]}
        assert not steps["reward"].any() and steps["truncated"][-1]  # nobody recorded either


def test_an_import_goes_on_in_the_middle_of_a_file():
    source = open_source("lerobot", str(DATA / "lerobot_video"))
    (last,) = source.episodes(2)
    assert last["observation"]["state"].tolist() == [[2, frame] for frame in range(LENGTHS[2])]
    assert_pictures(last["observation"]["images.top"], 2)


@pytest.fixture()
def copy(tmp_path):
    return Path(shutil.copytree(DATA / "lerobot_video", tmp_path / "copy"))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def other_version(path):
    path.write_text(json.dumps(json.loads(path.read_text()) | {"codebase_version": "v2.1"}))


@pytest.mark.parametrize(
    ("file", "spoil", "message"),
    [
        ("meta/info.json", cut, r"info\.json is missing or damaged"),
        ("meta/info.json", other_version, r"has format v2\.1, not v3; convert it with LeRobot"),
        ("meta/stats.json", Path.unlink, r"stats\.json is missing or damaged"),
        ("meta/tasks.parquet", cut, r"tasks\.parquet is missing or damaged"),
        ("data/chunk-000/file-000.parquet", cut, r"data/chunk-000/file-000\.parquet is missing or damaged"),
        (
            "videos/observation.images.top/chunk-000/file-000.mp4",
            cut,
            r"file-000\.mp4 (is missing or damaged|has no picture)",
        ),
        ("videos/observation.images.top/chunk-000/file-000.mp4", Path.unlink, r"file-000\.mp4 is missing or damaged"),
    ],
)
def test_a_damaged_file_is_named(copy, tmp_path, file, spoil, message):
    spoil(copy / file)
    with pytest.raises(DatasetError, match=message):
        import_trajectories(open_source("lerobot", str(copy)), tmp_path / "data", progress=False)


def test_without_pyav_it_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"av is not installed.*ldm_hf\[import\]"):
        list(open_source("lerobot", str(DATA / "lerobot_video")).episodes())
