"""What a model knows of environments: saved compactly, read one by one, checked, as the files may be a stranger's."""

import json
import pickle

import numpy as np
import pytest
from gymnasium import spaces
from safetensors.numpy import load_file, save_file

from ldm_hf import LDMProcessor
from ldm_hf.errors import CheckpointError
from ldm_hf.known_ldm import FILES, KnownEnvironments
from ldm_hf.spaces import leaves

from ..toys import ACTION, OBSERVATION, STATISTICS

LINES, NUMBERS = FILES
NESTED = spaces.Dict(
    {
        "image": spaces.Box(0, 255, (20, 20), np.uint8),
        "none": spaces.Box(-1, 1, (0, 3)),
        "one": spaces.Box(-1, 1, ()),
        "rows": spaces.Box(-np.inf, np.inf, (2, 3)),
    }
)


@pytest.fixture()
def knowing(processor):
    """A processor that knows environments of several kinds, with and without statistics."""
    rng = np.random.default_rng(0)
    moments = {
        leaf.path: {"mean": rng.normal(size=leaf.space.shape), "std": rng.random(leaf.space.shape)}
        for leaf in leaves(NESTED)
        if leaf.path != "image"
    }
    processor.add_environment("Toy-v0", OBSERVATION, ACTION, STATISTICS, "push it")
    processor.add_environment("Nested/ü-v1", NESTED, ACTION, {"observation": moments, "reward": STATISTICS["reward"]})
    processor.add_environment("Bare-v0", OBSERVATION, spaces.Discrete(3))
    return processor


@pytest.fixture()
def saved(knowing, tmp_path):
    knowing.save_pretrained(tmp_path)
    return tmp_path


def test_environments_come_back_as_they_were(knowing, saved):
    loaded = LDMProcessor.from_pretrained(saved)
    assert list(loaded.environments) == list(knowing.environments)
    for name in knowing.environments:
        first, second = (processor.layout(name) for processor in (knowing, loaded))
        assert first.observation_space == second.observation_space and first.action_space == second.action_space
        assert np.array_equal(first.task_ids, second.task_ids) and first.reward_rms == second.reward_rms
        assert (first.mean is None) == (second.mean is None)
        if first.mean is not None:
            assert np.array_equal(first.mean, second.mean) and np.array_equal(first.spread, second.spread)
    assert loaded.environments["Toy-v0"] == knowing.environments["Toy-v0"]
    assert len((saved / "processor_config.json").read_text().splitlines()) < 20


def test_they_can_be_changed_and_saved_where_they_came_from(saved):
    loaded = LDMProcessor.from_pretrained(saved)
    loaded.add_environment("New-v0", OBSERVATION, ACTION, STATISTICS)
    del loaded.environments["Bare-v0"]
    loaded.save_pretrained(saved)
    again = pickle.loads(pickle.dumps(LDMProcessor.from_pretrained(saved)))
    assert list(again.environments) == ["Toy-v0", "Nested/ü-v1", "New-v0"]
    assert again.layout("New-v0").reward_rms == again.layout("Toy-v0").reward_rms == np.hypot(1, 2)
    again.environments.clear()
    again.save_pretrained(saved)
    assert [path.name for path in saved.iterdir()] == ["processor_config.json"]
    assert not LDMProcessor.from_pretrained(saved).environments


def test_a_processor_of_the_former_form_still_loads(knowing, saved):
    told = json.loads((saved / "processor_config.json").read_text())
    told["environments"] = {name: knowing.environments[name] for name in ("Toy-v0", "Bare-v0")}
    (saved / "processor_config.json").write_text(json.dumps(told))
    for name in FILES:
        (saved / name).unlink()
    assert dict(LDMProcessor.from_pretrained(saved).environments) == told["environments"]


def test_only_what_is_asked_for_is_read(saved):
    """Whatever else is in the file: the other environments' lines are no JSON here."""
    head, *lines = (saved / LINES).read_bytes().splitlines(keepends=True)
    lines[1:] = [b"x" * (len(line) - 1) + b"\n" for line in lines[1:]]
    (saved / LINES).write_bytes(head + b"".join(lines))
    loaded = LDMProcessor.from_pretrained(saved)
    assert loaded.layout("Toy-v0").reward_rms == np.hypot(1, 2)
    with pytest.raises(CheckpointError, match=rf"{LINES}: Bare-v0 is damaged"):
        loaded.layout("Bare-v0")


def index(**changes):
    def change(folder):
        head, _, rest = (folder / LINES).read_bytes().partition(b"\n")
        (folder / LINES).write_bytes(json.dumps(json.loads(head) | changes).encode() + b"\n" + rest)

    return change


def line(**changes):
    """Changes fields of the first environment's statistics or of the environment itself."""

    def change(folder):
        head, *lines = (folder / LINES).read_bytes().splitlines()
        entry, told = json.loads(lines[0]), json.loads(head)
        part = entry["statistics"] if changes.keys() <= entry["statistics"].keys() else entry
        part |= changes
        lines[0] = json.dumps(entry).encode()
        told["bytes"]["Toy-v0"] = len(lines[0]) + 1
        (folder / LINES).write_bytes(b"\n".join([json.dumps(told).encode(), *lines, b""]))

    return change


def numbers(values, **metadata):
    def change(folder):
        digest = json.loads((folder / LINES).read_bytes().partition(b"\n")[0])["digest"]
        save_file(values, folder / NUMBERS, metadata={"digest": digest} | metadata)

    return change


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (lambda folder: (folder / LINES).write_bytes(b""), LINES),
        (lambda folder: (folder / LINES).write_bytes(b"[" * 100_000 + b"\n"), LINES),
        (lambda folder: (folder / LINES).write_bytes((folder / LINES).read_bytes()[:-9]), LINES),
        (index(format_version=2), LINES),
        (index(bytes={"Toy-v0": 10**12}), LINES),
        (index(bytes={"Toy-v0": -5}), LINES),
        (index(bytes=[3]), LINES),
        (index(digest="another"), NUMBERS),
        (line(start=-1), LINES),
        (line(start=10**6), LINES),
        (line(start=0.5), LINES),
        (line(shapes={"x": [10**9, 10**9]}), LINES),
        (line(shapes={"x": [-3]}), LINES),
        (line(shapes={"x": [1] * 100}), LINES),
        (line(shapes={"x": "three"}), LINES),
        (line(shapes=[]), LINES),
        (line(name="Bare-v0"), LINES),
        (line(task={"a": 1}), LINES),
        (lambda folder: (folder / NUMBERS).write_bytes(b"\xff" * 100), NUMBERS),
        (lambda folder: (folder / NUMBERS).write_bytes((folder / NUMBERS).read_bytes()[:-9]), NUMBERS),
        (numbers({"other": np.zeros(9)}), NUMBERS),
        (numbers({"statistics": np.zeros(99, np.float32)}), NUMBERS),
        (numbers({"statistics": np.zeros((9, 9))}), NUMBERS),
        (numbers({"statistics": np.zeros(9)}, digest="another"), NUMBERS),
    ],
)
def test_damage_is_one_error_that_names_the_file(saved, damage, file):
    damage(saved)
    with pytest.raises(CheckpointError, match=file.replace(".", r"\.")):
        LDMProcessor.from_pretrained(saved).layout("Toy-v0")


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file_is_named(saved, file):
    (saved / file).unlink()
    with pytest.raises(OSError, match=file):
        LDMProcessor.from_pretrained(saved)


def test_empty_statistics_take_no_memory(saved):
    line(shapes={"x": [10**9, 0]})(saved)
    loaded = LDMProcessor.from_pretrained(saved)
    assert loaded.environments["Toy-v0"]["statistics"]["observation"] == {"x": {"mean": [], "std": []}}


def test_numbers_without_a_file_of_environments_are_refused():
    with pytest.raises(TypeError, match="environments should be a mapping"):
        LDMProcessor(environments=3)
    assert repr(KnownEnvironments({})) == "KnownEnvironments(0 environments)"


def test_the_numbers_are_stored_as_they_are(saved):
    stored = load_file(saved / NUMBERS)["statistics"]
    assert stored[:8].tolist() == [1, 2, 52, 55, 49, 5, 3, 9]
