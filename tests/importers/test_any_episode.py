"""Random episodes, written by the libraries of their formats: each step arrives, and damage is named."""

import io
import json
import shutil
from pathlib import Path

import datasets
import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ldm_hf.errors import LDMError
from ldm_hf.importers import import_trajectories, open_source
from ldm_hf.spaces import flatten

from .exactly import assert_same, brought, episodes_of

DATA = Path(__file__).parents[1] / "data"
KINDS = ["d4rl", "rlds", "rlds-jsonl", "rlds-parquet", "jat", "decision-transformer", "lerobot"]


@st.composite
def values(draw, shape, kinds=("single", "double", "meter", "whole", "counter")):
    """Numbers of one episode's steps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**31)))
    kind = draw(st.sampled_from(kinds))
    if kind == "single":
        return rng.normal(size=shape).astype(np.float32)
    if kind == "double":
        return rng.normal(size=shape) * 10.0 ** rng.integers(-9, 9)
    if kind == "meter":
        return np.round(1e6 + rng.random(shape), 2)
    if kind == "whole":
        return rng.integers(0, 7, shape)
    return rng.integers(-(2**60), 2**60, shape)


@st.composite
def episodes(draw):
    """Some episodes of one environment: the same kinds of numbers, other lengths."""
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=4))
    width = draw(st.integers(1, 3))
    total = sum(lengths)
    observation = draw(values((total, width)))
    action = (
        draw(values((total, 2), ("single", "double", "meter")))
        if draw(st.booleans())
        else draw(values((total,), ("whole",)))
    )
    reward = draw(values((total,), ("single", "double")))
    ends = np.cumsum(lengths)
    terminated = draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths)))
    return [
        {
            "observation": observation[end - length : end],
            "action": action[end - length : end],
            "reward": reward[end - length : end],
            "terminated": over,
        }
        for length, end, over in zip(lengths, ends, terminated, strict=True)
    ]


def write_d4rl(logged, path):
    joined = {
        name: np.concatenate([episode[name] for episode in logged]) for name in ("observation", "action", "reward")
    }
    ends = np.cumsum([len(episode["reward"]) for episode in logged]) - 1
    terminals = np.zeros(len(joined["reward"]), bool)
    terminals[ends] = [episode["terminated"] for episode in logged]
    timeouts = np.zeros_like(terminals)
    timeouts[ends] = ~terminals[ends]
    with h5py.File(path, "w") as file:
        for name, array in joined.items():
            file[f"{name}s"] = array
        file["terminals"], file["timeouts"] = terminals, timeouts


def steps_of(episode, last):
    length = len(episode["reward"])
    steps = [
        {
            "observation": {"x": episode["observation"][index].tolist()},
            "action": episode["action"][index].tolist(),
            "reward": float(episode["reward"][index]),
            "is_first": index == 0,
            "is_last": False,
            "is_terminal": False,
        }
        for index in range(length)
    ]
    if last:
        steps.append(steps[-1] | {"is_first": False, "is_last": True, "is_terminal": episode["terminated"]})
    else:
        steps[-1] |= {"is_terminal": episode["terminated"]}
    return {"steps": steps}


def write_lerobot(logged, folder):
    """A LeRobotDataset without cameras, in the layout of version 3."""
    shutil.copytree(DATA / "lerobot_images/meta", folder / "meta")
    info = json.loads((folder / "meta/info.json").read_text())
    for name, key in (("observation.state", "observation"), ("action", "action")):
        array = logged[0][key]
        info["features"][name] |= {"dtype": str(array.dtype), "shape": list(array.shape[1:]) or [1]}
    del info["features"]["observation.images.top"]
    (folder / "meta/info.json").write_text(json.dumps(info))
    (folder / "meta/stats.json").write_text("{}")
    lengths = [len(episode["reward"]) for episode in logged]
    columns = {
        "observation.state": [row.tolist() for episode in logged for row in episode["observation"]],
        "action": [np.ravel(row).tolist() for episode in logged for row in episode["action"]],
        "next.reward": [float(value) for episode in logged for value in episode["reward"]],
        "next.done": [i == n - 1 and e["terminated"] for e, n in zip(logged, lengths, strict=True) for i in range(n)],
        "frame_index": [index for length in lengths for index in range(length)],
        "episode_index": [number for number, length in enumerate(lengths) for _ in range(length)],
        "task_index": [0] * sum(lengths),
    }
    for name in ("data/chunk-000", "meta/episodes/chunk-000"):
        shutil.rmtree(folder / name, ignore_errors=True)
        (folder / name).mkdir(parents=True)
    types = {"observation.state": pa.list_(pa.from_numpy_dtype(logged[0]["observation"].dtype))}
    types["action"] = pa.list_(pa.from_numpy_dtype(logged[0]["action"].dtype))
    table = pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})
    pq.write_table(table, folder / "data/chunk-000/file-000.parquet")
    rows = {"episode_index": range(len(lengths)), "length": lengths}
    rows |= {"data/chunk_index": [0] * len(lengths), "data/file_index": [0] * len(lengths)}
    pq.write_table(
        pa.table({k: list(v) for k, v in rows.items()}), folder / "meta/episodes/chunk-000/file-000.parquet"
    )
    tasks = pa.table({"task": ["Go."], "task_index": [0]})
    pq.write_table(tasks, folder / "meta/tasks.parquet")
    for name in ("next.reward", "next.done"):
        info["features"][name] = {"dtype": "float64" if name == "next.reward" else "bool", "shape": [1]}
    (folder / "meta/info.json").write_text(json.dumps(info))


def write(kind, logged, folder, last):
    """Writes episodes in a format; returns the source and the format."""
    if kind == "d4rl":
        write_d4rl(logged, folder / "a.hdf5")
        return str(folder / "a.hdf5"), "d4rl"
    if kind == "lerobot":
        write_lerobot(logged, folder / "a")
        return str(folder / "a"), "lerobot"
    if kind.startswith("rlds"):
        rows = [steps_of(episode, last) for episode in logged]
        if kind == "rlds":
            return rows, "rlds"
    else:
        jat = kind == "jat"
        discrete = logged[0]["action"].ndim == 1
        names = (
            ("continuous_observations", f"{'discrete' if discrete else 'continuous'}_actions")
            if jat
            else ("observations", "actions")
        )
        rows = [
            dict(zip(names, (episode["observation"].tolist(), episode["action"].tolist()), strict=True))
            | {"rewards": [float(value) for value in episode["reward"]]}
            | ({} if jat else {"dones": [False] * (len(episode["reward"]) - 1) + [episode["terminated"]]})
            for episode in logged
        ]
    if kind.endswith("jsonl"):
        (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
        return str(folder / "a.jsonl"), kind.partition("-")[0]
    pq.write_table(pa.Table.from_pylist(rows), folder / "a.parquet")
    return str(folder / "a.parquet"), "rlds" if kind.startswith("rlds") else kind


def check_episodes(kind, logged, last, folder, whole_way=False):
    """Imports what was written and compares every value."""
    source, format = write(kind, logged, folder, last)
    options = {"repeated_ends": "each"} if kind == "d4rl" else {}  # episodes of one step
    if whole_way:
        found = episodes_of(brought(format, source, folder / "out", **options))
    else:
        opened = open_source(format, source, **options)
        found = [
            episode
            | {
                role: flatten(space, episode[role])
                for role, space in (("observation", opened.observation_space), ("action", opened.action_space))
            }
            for episode in opened.episodes()
        ]
        assert opened.num_episodes == len(logged)
    assert len(found) == len(logged)
    for steps, episode in zip(found, logged, strict=True):
        (observation,) = steps["observation"].values()
        (action,) = steps["action"].values()
        wanted = episode["action"].reshape(action.shape)
        if whole_way:
            assert_same(observation, episode["observation"])
            assert_same(action, wanted)
        else:
            assert np.array_equal(observation, episode["observation"]) and np.array_equal(action, wanted)
        assert np.array_equal(np.float32(steps["reward"]), np.float32(episode["reward"]))
        assert steps["terminated"].tolist() == [False] * (len(episode["reward"]) - 1) + [
            episode["terminated"] and kind != "jat"
        ]


def sized(examples):
    """How many random cases a test tries."""
    return settings(max_examples=examples, deadline=None)


@pytest.mark.parametrize("kind", KINDS)
@sized(8)
@given(logged=episodes(), last=st.booleans())
def test_every_step_arrives(tmp_path_factory, quiet, kind, logged, last):
    check_episodes(kind, logged, last, tmp_path_factory.mktemp("episodes"), whole_way=True)


@pytest.fixture(scope="module")
def quiet():
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS)
@sized(1_000)
@given(logged=episodes(), last=st.booleans())
def test_every_step_of_many_episodes_arrives(tmp_path_factory, quiet, kind, logged, last):
    check_episodes(kind, logged, last, tmp_path_factory.mktemp("episodes"))


# --- files that are nearly good --------------------------------------------------------------------------------------


def damaged(data, content):
    """Content with a byte changed, removed or added, or its end cut off."""
    at = data.draw(st.integers(0, len(content) - 1))
    byte = bytes([data.draw(st.integers(0, 255))])
    changed = {"change": byte + content[at + 1 :], "remove": content[at + 1 :], "add": byte + content[at:], "cut": b""}
    return content[:at] + changed[data.draw(st.sampled_from(sorted(changed)))]


def check_damage(kind, data, folder):
    """A damaged file is imported with members of its spaces, or refused by an error of ours."""
    rng = np.random.default_rng(0)
    logged = [
        {
            "observation": rng.normal(size=(3, 2)),
            "action": rng.integers(0, 3, 3),
            "reward": rng.normal(size=3),
            "terminated": True,
        }
    ] * 2
    source, format = write(kind, logged, folder, False)
    if kind == "lerobot":
        files = sorted(
            path for path in Path(source).rglob("*") if path.is_file() and path.suffix in (".json", ".parquet")
        )
        path = data.draw(st.sampled_from(files))
    else:
        path = Path(source)
    path.write_bytes(damaged(data, path.read_bytes()))
    try:
        import_trajectories(open_source(format, source), folder / "out", progress=False)
    except LDMError:
        return


@pytest.mark.parametrize("kind", ["d4rl", "rlds-jsonl", "lerobot"])
@sized(12)
@given(data=st.data())
def test_a_damaged_file_is_imported_or_refused(tmp_path_factory, quiet, kind, data):
    check_damage(kind, data, tmp_path_factory.mktemp("damaged"))


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["d4rl", "rlds-jsonl", "rlds-parquet", "jat", "decision-transformer", "lerobot"])
@sized(500)
@given(data=st.data())
def test_many_damaged_files_are_imported_or_refused(tmp_path_factory, quiet, kind, data):
    check_damage(kind, data, tmp_path_factory.mktemp("damaged"))


@sized(25)
@given(st.sampled_from(["L", "RGB", "RGBA", "P", "1"]), st.integers(0, 2**31))
def test_encoded_pictures_keep_their_pixels(mode, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (17, 18, 3), np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    file = io.BytesIO()
    picture.save(file, "PNG")
    steps = [{"observation": file.getvalue(), "action": 0, "reward": 0.0}] * 2
    (episode,) = open_source("rlds", [steps]).episodes()
    wanted = picture.convert({"P": "RGB", "1": "L"}.get(mode, mode))
    assert np.array_equal(episode["observation"][0], np.asarray(wanted))
