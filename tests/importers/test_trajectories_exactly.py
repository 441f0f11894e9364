"""Every step of other tools' trajectories arrives, or its episode is refused or left out, counted, and named."""

import io
import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces
from PIL import Image
from typer.testing import CliRunner

from ldm_hf import LDMAgent
from ldm_hf.cli.app import app
from ldm_hf.errors import DatasetError
from ldm_hf.importers import Report, import_trajectories, open_source, preview
from ldm_hf.importers.identity import hub_commits, sorted_text
from ldm_hf.spaces import space_to_json
from ldm_hf.training import SegmentDataset, processor_for
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter, WindowSampler, open_dataset
from ldm_hf.trajectories.writer import stored

from .exactly import brought, episodes_of

DATA = Path(__file__).parents[1] / "data"


def step(number, **further):
    return {"observation": [float(number)], "action": [number / 10], "reward": 1.0} | further


def write_hdf5(path, **arrays):
    with h5py.File(path, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return str(path)


def carts(path, reward=1.0, steps=20, **further):
    arrays = {
        "observations": np.zeros((steps, 2), np.float32),
        "actions": np.zeros((steps, 1), np.float32),
        "rewards": np.full(steps, reward, np.float32),
        "terminals": np.arange(steps) % 10 == 9,
    }
    return write_hdf5(path, **arrays | further)


def png(array):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG")
    return file.getvalue()


def jsonl(path, *rows):
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


# --- identity --------------------------------------------------------------------------------------------------------


def sources_twice(kind, folder):
    """The same source as it was, and corrected without a change of size."""
    for reward in (1.0, -1.0) if kind == "d4rl" else (1.0, 2.0):
        if kind == "d4rl":
            yield carts(folder / "A.hdf5", reward)
        elif kind == "python":
            yield [[step(0, reward=reward)] * 2]
        elif kind == "rlds":
            yield jsonl(folder / "A.jsonl", {"steps": [step(0, reward=reward)] * 2})
        elif kind == "jat":
            row = {"continuous_observations": [[0.5]], "discrete_actions": [1], "rewards": [reward]}
            yield jsonl(folder / "A.jsonl", row)
        elif kind == "decision-transformer":
            row = {"observations": [[0.5]], "actions": [1], "rewards": [reward], "dones": [True]}
            yield jsonl(folder / "A.jsonl", row)
        elif kind == "lerobot":
            copy = folder / "A"
            if not copy.exists():
                shutil.copytree(DATA / "lerobot_images", copy)
            else:
                path = copy / "data/chunk-000/file-000.parquet"
                table = pq.read_table(path)
                at = table.schema.get_field_index("action")
                pq.write_table(
                    table.set_column(at, "action", table["action"].take(pa.array([1, 0, *range(2, 17)]))), path
                )
            yield str(copy)


@pytest.mark.parametrize("kind", ["d4rl", "rlds", "python", "jat", "decision-transformer", "lerobot"])
def test_a_source_that_was_corrected_is_not_taken_for_the_old_one(tmp_path, kind):
    format = "rlds" if kind == "python" else kind
    sources = sources_twice(kind, tmp_path)
    source = next(sources)
    for _ in range(2):
        import_trajectories(open_source(format, source), tmp_path / "out", progress=False, name="A")
    source = next(sources)
    with pytest.raises(DatasetError, match="A holds other data already"):
        import_trajectories(open_source(format, source), tmp_path / "out", progress=False, name="A")


def test_an_import_does_not_go_on_with_a_corrected_source(tmp_path):
    source = open_source("d4rl", carts(tmp_path / "carts.hdf5"))
    whole = source.episodes
    source.episodes = lambda start=0: (episode if number < 1 else 1 / 0 for number, episode in enumerate(whole(start)))
    with pytest.raises(DatasetError, match="ZeroDivisionError"):
        import_trajectories(source, tmp_path / "out", progress=False)
    assert stored(tmp_path / "out/carts")[0] == 1
    with pytest.raises(DatasetError, match="carts holds other data already"):
        import_trajectories(open_source("d4rl", carts(tmp_path / "carts.hdf5", -1)), tmp_path / "out", progress=False)
    import_trajectories(open_source("d4rl", carts(tmp_path / "carts.hdf5")), tmp_path / "out", progress=False)
    assert Report.load(tmp_path / "out/carts").episodes == 2


def test_what_is_stored_is_compared_even_where_the_identity_is_the_same(tmp_path):
    path = carts(tmp_path / "carts.hdf5")
    import_trajectories(open_source("d4rl", path), tmp_path / "out", progress=False)
    other = open_source("d4rl", path)
    other.rewards = other.rewards * 2
    with pytest.raises(DatasetError, match="carts holds other data already"):
        import_trajectories(other, tmp_path / "out", progress=False)


def test_metadata_without_an_order_are_sorted():
    assert sorted_text({"Cem", "Ann", "Bob"}) == "Ann, Bob, Cem" and sorted_text("Ann") == "Ann"
    commit = "0123456789012345678901234567890123456789"
    assert hub_commits({f"hf://datasets/a/b@{commit}/x.parquet": {}, "/home/x@y/z": {}}) == [commit]


def test_minari_of_several_authors_is_the_same_every_time(tmp_path, monkeypatch):
    import minari
    from minari.data_collector import EpisodeBuffer

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    episode = EpisodeBuffer(
        observations=np.zeros((4, 2), np.float32),
        actions=np.float32([[0.5], [1.02], [-1.5]]),
        rewards=[0.0, 1.0, 2.0],
        terminations=[False] * 3,
        truncations=[False, False, True],
    )
    minari.create_dataset_from_buffers(
        "team/demo-v0",
        [episode],
        observation_space=spaces.Box(-1, 1, (2,)),
        action_space=spaces.Box(-1, 1, (1,)),
        algorithm_name="x",
        author={"Ann", "Bob", "Cem"},
        author_email={"a@example.org"},
        code_permalink="x",
    )
    with pytest.raises(DatasetError, match=r"step 1 is \[1\.02\].*--out-of-bounds clip"):
        brought("minari", "team/demo-v0", tmp_path / "refused")
    stream = brought("minari", "team/demo-v0", tmp_path / "clip", {"out_of_bounds": "clip"})
    assert stream.info.collection["author"] == "Ann, Bob, Cem"
    assert stream.slice(0, 3)["action"][""][:, 0].tolist() == [0.5, 1.0, -1.0]
    assert "action: numbers clipped to the bounds: 2" in Report.load(tmp_path / "clip/team-demo-v0").notes
    stream = brought("minari", "team/demo-v0", tmp_path / "widen", {"out_of_bounds": "widen"})
    assert stream.action_space == spaces.Box(np.float32([-1.5]), np.float32([1.02]))
    assert stream.slice(0, 3)["action"][""][:, 0].tolist() == np.float32([0.5, 1.02, -1.5]).tolist()
    assert preview(open_source("minari", "team/demo-v0"), progress=False, out_of_bounds="skip").skipped.keys() == {0}


# --- ends ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"is_last": (1, 3)}, "step 1 of 4 has is_last in the middle"),
        ({"is_first": (0, 2)}, "step 2 of 4 has is_first in the middle"),
        ({"is_terminal": (1,)}, "step 1 of 4 has is_terminal in the middle"),
    ],
)
def test_ends_in_the_middle_of_step_lists_are_refused(flags, message):
    steps = [step(index, **{name: index in where for name, where in flags.items()}) for index in range(4)]
    with pytest.raises(DatasetError, match=message):
        open_source("rlds", [steps])


def test_the_last_step_of_rlds_is_kept_on_request_and_otherwise_noted(tmp_path):
    steps = [step(i, reward=float(i == 3), is_last=i == 3, is_terminal=i == 3) for i in range(4)]
    stream = brought("rlds", [steps], tmp_path / "kept", last_step="action")
    (episode,) = episodes_of(stream)
    assert episode["reward"].tolist() == [0, 0, 0, 1] and episode["terminated"][-1]
    report = preview(open_source("rlds", [steps, steps]), progress=False)
    assert report.steps == 6 and report.terminated == 2
    assert "of them with a reward that is not 0, lost unless --last-step action keeps it: 2" in report.notes


def test_timeouts_that_are_marked_incompletely_are_found_by_what_follows(tmp_path):
    observations = np.array([[0.1], [np.nan], [2.1], [13.1], [14.1], [15.1]])  # the fourth begins an episode
    following = np.float32([[np.nan], [2.1], [3.1], [14.1], [15.1], [16.1]])  # in another precision
    arrays = {"observations": observations, "next_observations": following, "timeouts": np.arange(6) == 5}
    source = open_source(
        "d4rl",
        carts(tmp_path / "a.hdf5", steps=6, **arrays),
        spaces=(spaces.Box(-99, 99, (1,), np.float64), spaces.Box(0, 1, (1,))),
    )
    assert source.num_episodes == 2
    assert source.report.notes == [
        "1 ends that timeouts do not mark, found where next_observations jumps (first after step 2)"
    ]
    arrays["next_observations"] = np.float32(np.random.default_rng(0).normal(size=(6, 1)))
    with pytest.raises(DatasetError, match="next_observations differs from the observation that follows"):
        open_source("d4rl", carts(tmp_path / "b.hdf5", steps=6, **arrays))


def test_terminals_that_stay_on_are_refused_or_decided(tmp_path):
    path = carts(tmp_path / "a.hdf5", steps=6, terminals=np.array([0, 1, 1, 1, 0, 1], bool))
    with pytest.raises(DatasetError, match="step 2 is a terminal behind an end"):
        open_source("d4rl", path)
    for repeated, lengths in (("each", [2, 1, 1, 2]), ("drop", [2, 2])):
        source = open_source("d4rl", path, repeated_ends=repeated)
        assert [len(episode["reward"]) for episode in source.episodes()] == lengths
    assert open_source("d4rl", carts(tmp_path / "b.hdf5", steps=3, terminals=np.ones(3, bool))).num_episodes == 3
    with pytest.raises(DatasetError, match=r"terminals: step 1 is 0\.5, neither true nor false"):
        open_source("d4rl", carts(tmp_path / "c.hdf5", steps=2, terminals=np.array([0, 0.5])))


@pytest.fixture()
def demos(tmp_path):
    return Path(shutil.copytree(DATA / "lerobot_video", tmp_path / "demos"))


def change_frames(folder, change):
    path = folder / "data/chunk-000/file-000.parquet"
    pq.write_table(change(pq.read_table(path)), path)


def change_meta(folder, name, change):
    path = folder / "meta" / name
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))


def replaced(table, name, values):
    return table.set_column(table.schema.get_field_index(name), name, pa.array(values, table[name].type))


def test_frames_of_lerobot_are_in_their_order_and_end_once(demos):
    change_frames(demos, lambda table: table.take(pa.array(range(table.num_rows)[::-1])))
    source = open_source("lerobot", str(demos))
    first = next(source.episodes())
    assert first["observation"]["state"][:, 1].tolist() == list(range(7))
    brightness = first["observation"]["images.top"].reshape(7, -1).mean(axis=1)
    assert (np.diff(brightness) > 0).all()
    change_frames(demos, lambda table: replaced(table, "next.done", [True] * table.num_rows))
    with pytest.raises(DatasetError, match=r"next.done: step 0 of 7 is done already"):
        next(open_source("lerobot", str(demos)).episodes())


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pixel", [0.5, 300, -1])
def test_pixels_are_whole_numbers_up_to_255(tmp_path, pixel):
    pictures = np.full((2, 20, 20, 3), pixel).tolist()
    source = jsonl(
        tmp_path / "a.jsonl", {"image_observations": pictures, "discrete_actions": [0, 1], "rewards": [1, 2]}
    )
    with pytest.raises(DatasetError, match=r"image_observations: step 0 has pixels such as .*Box\(0, 255, uint8\)"):
        open_source("jat", source)


def test_choices_are_whole(tmp_path):
    pair = (spaces.Box(-1, 1, (2,)), spaces.Discrete(2))
    source = open_source("d4rl", carts(tmp_path / "a.hdf5", actions=np.full(20, 0.99)), spaces=pair)
    with pytest.raises(DatasetError, match=r"action: step 0 is 0\.99, no member of Discrete\(2\)"):
        import_trajectories(source, tmp_path / "out", progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action": {"": np.array([0.9, 1.9])}}, r"action: step 0 is 0\.9, no member of Discrete\(3\)"),
        ({"observation": {"": np.full((2, 20, 20, 3), 300)}}, "observation: step 0 is"),
        ({"observation": {"": np.full((2, 20, 20, 3), 0.5)}}, "observation: step 0 is"),
        ({"observation": np.zeros((2, 20, 20, 3))}, "observation of an episode of 2 steps has shape None"),
        ({"reward": [1e300, 0]}, r"reward: step 0 is 1e\+300"),
        ({"terminated": [0.5, 1]}, r"terminated: step 0 is 0\.5"),
        ({"seed": None}, "the seed of an episode should be a whole number, is None"),
    ],
)
def test_the_writer_stores_values_as_they_are_or_not_at_all(tmp_path, change, message):
    picture = spaces.Box(0, 255, (20, 20, 3), np.uint8)
    described = {"observation_space": space_to_json(picture), "action_space": space_to_json(spaces.Discrete(3))}
    action = {"": np.array([1, 2])}
    episode = {"observation": {"": np.zeros((2, 20, 20, 3))}, "action": action, "label": action, "reward": [1, 2]}
    episode |= {"terminated": [False] * 2, "truncated": [False, True]}
    with TrajectoryWriter(tmp_path, EnvironmentInfo(name="T", env_id="T", **described)) as writer:
        writer.write(episode)
        with pytest.raises(DatasetError, match=f"T: {message}"):
            writer.write(episode | change)
    assert stored(tmp_path / "T") == (1, 2)


def test_double_precision_is_kept_where_single_tells_values_apart_no_more(tmp_path):
    meter = 1_000_000 + 0.01 * np.arange(20)
    (first, _) = episodes_of(
        brought("d4rl", carts(tmp_path / "a.hdf5", observations=meter[:, None]), tmp_path / "out")
    )
    assert first["observation"][""][:, 0].tolist() == meter[:10].tolist()


# --- rows that cannot be used ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        (
            "jat",
            [{"discrete_observations": [], "discrete_actions": [], "rewards": []}],
            "has (no steps|missing values)",
        ),
        ("rlds", [{"steps": []}], "is no list of steps"),
        (
            "rlds",
            [{"steps": [step(0, observation={"x": 1.0, "y": None})]}],
            "observation.y: step 0 has a missing value",
        ),
        ("rlds", [[step(0), step(1, observation=[1.0, 2.0])]], r"step 1 has shape \(2,\), step 0 \(1,\)"),
        ("rlds", [[step(0, observation={"x": 1.0}), step(0, observation={"y": 1.0})]], r"step 1 has parts \['y'\]"),
        ("rlds", [[step(0, observation=1.0), step(0, observation="a")]], "step 1 is a text, step 0 numbers"),
        ("rlds", [[step(0, observation=[[1.0], [1.0, 2.0]])]], "step 0 has rows of different lengths"),
        ("rlds", [[step(0, observation=[])]], "no numbers"),
        ("rlds", [[step(0, observation=b"\x89PNG\r\n\x1a\nbroken")]], "step 0 is no picture that can be read"),
        ("rlds", [[step(0, observation={"bytes": None, "path": "../x.png"})]], "has no picture"),
    ],
)
def test_rows_that_cannot_be_used_are_named(tmp_path, kind, rows, message):
    source = rows if kind == "rlds" and isinstance(rows[0], list) else jsonl(tmp_path / "a.jsonl", *rows)
    with pytest.raises(DatasetError, match=message):
        open_source(kind, source)


def test_one_bad_episode_is_left_out_on_request_and_named(tmp_path):
    good = [step(0), step(1)]
    rows = [good, [step(0, observation=[np.nan]), step(9)], good[:1], [step(0, observation=[1.0, 2.0])], good]
    with pytest.raises(DatasetError, match="episode 1"):
        open_source("rlds", rows)
    options = {"bad_episodes": "skip"}
    for _ in range(2):
        source = open_source("rlds", rows, **options)
        import_trajectories(source, tmp_path, progress=False, name="A", **options)
    report = Report.load(tmp_path / "A")
    assert report.episodes == 3 and report.skipped.keys() == {1, 3} and "NaN" in report.skipped[1]
    assert stored(tmp_path / "A") == (3, 5)


def test_groups_of_arrays_and_encoded_pictures_are_read(tmp_path):
    position = np.arange(20.0)[:, None]
    path = carts(tmp_path / "a.hdf5")
    with h5py.File(path, "a") as file:
        del file["observations"]
        file["observations/position"], file["observations/on"] = position, np.arange(20) % 2 == 0
    stream = brought("d4rl", path, tmp_path / "out")
    assert stream.slice(0, 20)["observation"]["position"].tolist() == position.tolist()
    picture = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    stream = brought("rlds", [[step(0, observation={"image": png(picture)})] * 2], tmp_path / "rlds")
    assert np.array_equal(stream.slice(1, 2)["observation"]["image"][0], picture)


# --- LeRobot's metadata ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.pop("action"),
        lambda data: data["action"].update(max=[float("nan"), 0.0]),
        lambda data: data["action"].update(max=[0.1, 0.0]),
        lambda data: data.update(action=None),
    ],
)
def test_bounds_come_from_the_data_where_the_statistics_lack_them(demos, change):
    change_meta(demos, "stats.json", change)
    assert open_source("lerobot", str(demos)).action_space == spaces.Box(np.float32([0, -6]), np.float32([1, 0]))


def test_features_under_other_names_and_grey_cameras(demos, tmp_path):
    names = {"observation.state": "state", "action": "actions"}
    change_frames(demos, lambda table: table.rename_columns([names.get(name, name) for name in table.column_names]))

    def renamed(data):
        data["features"] = {names.get(key, key): value for key, value in data["features"].items()}
        data["features"]["observation.images.top"]["shape"] = [48, 64, 1]

    change_meta(demos, "info.json", renamed)
    with pytest.raises(
        DatasetError, match=r"has no feature action; it has .*--observation image,state --action actions"
    ):
        open_source("lerobot", str(demos))
    options = {"observation": "state,observation.images.top", "action": "actions"}
    stream = brought("lerobot", str(demos), tmp_path / "out", **options)
    assert stream.observation_space["images.top"].shape == (48, 64, 1) and "state" in stream.observation_space.spaces


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: change_meta(folder, "info.json", lambda data: data.pop("fps")), "has fps None"),
        (lambda folder: change_frames(folder, lambda t: t.drop(["observation.state"])), "lacks the feature obs"),
        (lambda folder: change_frames(folder, lambda t: t.drop(["action"])), "lacks the feature action"),
        (lambda folder: change_frames(folder, lambda t: replaced(t, "frame_index", [0] * t.num_rows)), "frame_index"),
        (lambda folder: change_meta(folder, "info.json", lambda data: data.pop("features")), "has no features"),
        (lambda folder: change_meta(folder, "info.json", lambda data: data.pop("data_path")), "cannot be read"),
    ],
)  # fmt: skip
def test_metadata_that_do_not_fit_are_named(demos, tmp_path, change, message):
    change(demos)
    with pytest.raises(DatasetError, match=message):
        import_trajectories(open_source("lerobot", str(demos)), tmp_path / "out", progress=False)


def test_depth_keeps_its_sixteen_bits(tmp_path):
    folder = Path(shutil.copytree(DATA / "lerobot_images", tmp_path / "depth"))
    shape = json.loads((folder / "meta/info.json").read_text())["features"]["observation.images.top"]["shape"]
    depth = np.arange(shape[0] * shape[1], dtype=np.uint16).reshape(shape[:2]) * 20
    cell = {"bytes": png(depth), "path": None}
    change_frames(folder, lambda table: replaced(table, "observation.images.top", [cell] * table.num_rows))
    change_meta(
        folder, "info.json", lambda data: data["features"]["observation.images.top"].update(shape=[*shape[:2], 1])
    )
    source = open_source("lerobot", str(folder))
    assert source.observation_space["images.top"].high.max() == 65535
    assert np.array_equal(next(source.episodes())["observation"]["images.top"][0, ..., 0], depth)


# --- the report ------------------------------------------------------------------------------------------------------


def test_a_dry_run_tells_all_and_writes_nothing(tmp_path):
    path = carts(tmp_path / "carts.hdf5")
    arguments = ["import", path, "--from", "d4rl", "--to", str(tmp_path / "out")]
    told = CliRunner().invoke(app, [*arguments, "--dry-run"])
    assert told.exit_code == 0 and "carts: 2 episodes, 20 steps" in told.output and not (tmp_path / "out").exists()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    report = Report.load(tmp_path / "out/carts")
    assert (report.episodes, report.steps, report.terminated, report.returns["mean"]) == (2, 20, 2, 10.0)
    assert [column.name for column in report.columns] == ["observation", "action", "reward"]


# --- training ---------------------------------------------------------------------------------------------------------


def test_the_largest_double_spoils_neither_statistics_nor_loss_nor_action(tmp_path, model):
    largest = np.finfo(np.float64).max
    level = np.arange(64.0)
    level[[3, 9, 11]] = largest, -1e200, 1e154
    log = pd.DataFrame({"level": level, "valve": np.linspace(0, 1, 64)})
    columns = {"name": "T-v0", "observation": {"level": {}}, "action": {"valve": {}}}
    stream = brought("table", log, tmp_path, columns=columns)
    assert np.array_equal(stream.slice(0, 64)["observation"][""][:, 0], level)
    assert all(np.isfinite(values).all() for values in stream.statistics()["observation"][""].values())
    data = open_dataset(tmp_path)
    processor = processor_for(model.config, data)
    sampler = WindowSampler({"T-v0": 64}, segment=32, batch_size=2)
    for batch in SegmentDataset(data, processor, sampler, num_batches=3):
        assert np.isfinite(float(model(**batch).loss.detach()))
    for known in ("T-v0", None):
        agent = LDMAgent(model, processor, (stream.observation_space, stream.action_space), environment=known)
        for value in (1.0, largest, -largest, 1e154):
            assert stream.action_space.contains(agent.act(np.array([value])))
