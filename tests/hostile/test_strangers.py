"""Datasets and models of strangers: no path leads out, nothing is imported or called, no memory is taken unasked."""

import json
import os
import pickle
import shutil
import sys
import tracemalloc

import numpy as np
import pytest
from datasets import load_dataset
from gymnasium import spaces
from safetensors.torch import load_file, save_file

from ldm_hf import LDMAgent
from ldm_hf.agent import load_model
from ldm_hf.environments import EnvironmentSpec, get_spec
from ldm_hf.environments.specs import catalogue, fingerprint
from ldm_hf.errors import (
    CheckpointError,
    DatasetError,
    InvalidNameError,
    LDMError,
    NonFiniteError,
    UnsupportedSpaceError,
)
from ldm_hf.evaluation import EvaluationOptions, evaluate
from ldm_hf.references import load_reference
from ldm_hf.references.records import Attempt, Record
from ldm_hf.spaces import space_from_json
from ldm_hf.trajectories import open_dataset, write_readme
from ldm_hf.trajectories.images import decode_image
from ldm_hf.trajectories.mixture import read_mixture
from ldm_hf.trajectories.remote import index_entries, write_index
from ldm_hf.trajectories.writer import shards
from ldm_hf.utils.files import read_yaml

from ..toys import short
from ..trajectories.test_trajectories import change_description, describe, make_episodes, write
from .mutations import SPACES, YAML_LINES

PATHS = ("../../escaped", "/tmp/escaped", "..", ".", "a/../../b", "a\\..\\b", ".hidden", "", "\x1b[2J", "x" * 300)
UNFIT = (
    "Pumps [north]",
    "10:15",
    "what?",
    "north*",
    "back\\slash",
    "a,b",
    " ",
    "a\nb",
    "CON",
    "com1.txt",
    "{a}",
    "a ",
)
FIT = "Pumps & Co. (north) a!#$%'+-;=@^_`~é"


def everything_in(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*PATHS, 5, {}])
def test_a_dataset_cannot_name_a_place_outside_the_cache(name, tmp_path, monkeypatch):
    folder = write(tmp_path / "inner" / "data", make_episodes())
    change_description(folder, name=name)
    monkeypatch.setenv("LDM_HF_CACHE", str(tmp_path / "inner" / "deeper" / "cache"))
    before = everything_in(tmp_path)
    with pytest.raises(DatasetError, match=r"environment\.json"):
        open_dataset(folder.parent)
    assert everything_in(tmp_path) == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"files": ["environment.json", "../../../escaped.parquet"]}, "files are"),
        ({"files": ["environment.json", "/etc/passwd"]}, "files are"),
        ({"files": []}, "environment.json"),
        ({"steps": 10**30}, "steps is"),
        ({"episodes": True}, "episodes is"),
        ({"steps": None}, "steps is"),
        ({"files": None}, "files are"),
    ],
    ids=short,
)
def test_a_damaged_entry_of_an_index_is_named(fields, message, tmp_path):
    folder = write(tmp_path, make_episodes())
    path = write_index(folder.parent, ["Toy-v0"])
    index = json.loads(path.read_text())
    index["environments"]["Toy-v0"] |= fields
    path.write_text(json.dumps(index))
    with pytest.raises(DatasetError, match=rf"index\.json of someone/toys is damaged.*Toy-v0.*{message}"):
        index_entries(path, "someone/toys")


def test_an_index_cannot_name_a_place_outside(tmp_path):
    folder = write(tmp_path, make_episodes())
    path = write_index(folder.parent, ["Toy-v0"])
    path.write_text(path.read_text().replace('"Toy-v0": {"info"', '"../Toy-v0": {"info"'))
    with pytest.raises(DatasetError, match=r"'\.\./Toy-v0' cannot be the name of an environment"):
        index_entries(path, "someone/toys")


@pytest.mark.parametrize("name", [*UNFIT, *PATHS])
def test_a_name_that_could_not_be_loaded_again_is_refused_wherever_it_enters(name, tmp_path):
    with pytest.raises(InvalidNameError, match="cannot be the name of an environment"):
        describe(name=name)
    with pytest.raises(InvalidNameError):
        EnvironmentSpec(name, "CartPole-v1")
    path = tmp_path / "mixture.yaml"
    path.write_text(json.dumps({"datasets": [{"path": "data", "rename": {"Toy-v0": name}}]}))
    with pytest.raises(InvalidNameError):
        read_mixture(path)
    rows = tmp_path / "rows.yaml"
    rows.write_text(json.dumps([{"name": name, "env_id": "CartPole-v1"}]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDM_HF_CATALOGUE", str(rows))
        catalogue.cache_clear()
        try:
            with pytest.raises(LDMError, match=r"rows\.yaml cannot be read: .*cannot be the name"):
                catalogue()
        finally:
            catalogue.cache_clear()


def test_all_other_signs_are_loaded_by_datasets(tmp_path):
    write(tmp_path / "data", make_episodes(), describe(name=FIT))
    write_readme(tmp_path / "data")
    rows = load_dataset(str(tmp_path / "data"), FIT, split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.num_rows == open_dataset(tmp_path / "data", [FIT])[FIT].num_episodes == 3


def test_a_gymnasium_id_becomes_a_name():
    spec = get_spec("some_module:some space/Thing[1]-v0")
    assert (spec.name, spec.env_id) == ("some_module-some space-Thing-1--v0", "some_module:some space/Thing[1]-v0")
    assert get_spec("openenv:http://[::1]:8000/a?b").name == "openenv-1-8000-a-b"


# --- nothing is imported or called unasked ---------------------------------------------------------------------------


def module_in(folder, name):
    (folder / f"{name}.py").write_text(f"open({str(folder / 'executed')!r}, 'w').close()\n")


def test_no_module_or_address_that_only_a_model_names_is_touched(model, processor, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module_in(tmp_path, "module_of_a_model")
    names = ("module_of_a_model:X-v0", "openenv:http://127.0.0.1:9", "Unknown-v0")
    for name in names:
        processor.add_environment(name, spaces.Box(-1, 1, (2,)), spaces.Discrete(2))
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    options = EvaluationOptions(episodes=1, num_envs=1)
    found = evaluate(tmp_path / "model", options=options, output=tmp_path / "r.json", progress=False)
    assert not found["environments"] and set(found["failures"]) == set(names)
    assert "import the module module_of_a_model" in found["failures"][names[0]]
    assert "--ids module_of_a_model:X-v0" in found["failures"][names[0]]
    assert "connect to http://127.0.0.1:9" in found["failures"][names[1]]
    assert not (tmp_path / "executed").exists() and "module_of_a_model" not in sys.modules
    asked = evaluate(tmp_path / "model", [names[0]], options, progress=False)  # whoever asks for it trusts it
    assert "left out" not in asked["failures"][names[0]] and (tmp_path / "executed").exists()


def test_a_record_cannot_name_a_module(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    module_in(tmp_path, "module_of_a_record")
    spec = get_spec("CartPole-v1")
    score = {"mean": 500.0, "ci": 0.0, "episodes": 50, "seed": 0}
    attempt = Attempt("module_of_a_record:Policy", {}, "scripted", score=score)
    Record(spec.name, fingerprint(spec), "gymnasium", score | {"mean": 20.0}, [attempt]).save(tmp_path / spec.name)
    with pytest.raises(CheckpointError, match=r"module_of_a_record:Policy.*not imported"):
        load_reference(spec, tmp_path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("line", YAML_LINES)
def test_yaml_holds_plain_values_only(line, tmp_path):
    path = tmp_path / "rows.yaml"
    path.write_text(f"a: {line}\n")
    with pytest.raises(ValueError):
        read_yaml(path)


def test_pictures_that_would_start_another_program_are_refused(tmp_path):
    postscript = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n"
    with pytest.raises(DatasetError, match="not an image"):
        decode_image(postscript, "here")


# --- models ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model, processor = tiny
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def change(folder, file, **fields):
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


BOX = {"type": "Box", "dtype": "float32", "shape": [2], "low": 0, "high": 1}
MOMENTS = {"observation": {"": {"mean": [0, 0], "std": [1, 1]}}, "reward": {"mean": 0, "std": 1}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dtype": "fnoat32"}, "fnoat32"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}}, "bitsandbytes"),
        ({"attn_implementation": "kernels-community/x"}, "code from elsewhere"),
        ({"attn_implementation": "flash_attention_2"}, "code from elsewhere"),  # fetched where it is not installed
        ({"backbone": "someone/else", "backbone_config": None}, "backbone_config"),
        ({"bag_buckets": 10**12}, "bag_buckets"),
        ({"image_size": 10**6}, "image_size"),
        ({"num_labels": 10**9}, "num_labels"),
        ({"backbone_config": {"model_type": "qwen3", "num_hidden_layers": 10**9}}, "num_hidden_layers"),
        ({"backbone_config": {"model_type": "qwen3", "hidden_size": 2**24, "sliding_window": 8}}, "larger than any"),
        ({"bag_buckets": 2**23}, r"describes about 26\d,\d{3},\d{3} parameters"),
        ({"backbone_config": [5]}, "no usable backbone_config"),
        ({"image_channels": "many"}, "image_channels"),
    ],
    ids=short,
)
def test_a_damaged_or_hostile_configuration_is_one_error(fields, message, saved, tmp_path):
    shutil.copytree(saved, tmp_path / "model")
    change(tmp_path / "model", "config.json", **fields)
    with pytest.raises(CheckpointError, match=f"(?s)no usable LDM at .*{message}"):
        load_model(tmp_path / "model")


def test_a_model_that_predicts_nan_does_not_act(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "model")
    weights = load_file(tmp_path / "model" / "model.safetensors")
    save_file({name: tensor * np.nan for name, tensor in weights.items()}, tmp_path / "model" / "model.safetensors")
    pair = spaces.Box(-1, 1, (2,)), spaces.Box(-1, 1, (1,))
    agent = LDMAgent.from_pretrained(tmp_path / "model", pair)
    with pytest.raises(NonFiniteError, match="the model computes NaN or infinity; its weights are damaged"):
        agent.act(np.zeros(2, np.float32))


def test_pickled_weights_are_never_read(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    (tmp_path / "model" / "pytorch_model.bin").write_bytes(pickle.dumps({"x": os.getcwd}))
    with pytest.raises(CheckpointError, match=r"no model\.safetensors; weights in other formats are not read"):
        load_model(tmp_path / "model")


def test_parts_of_other_models_are_not_fetched_for_a_processor(saved, tmp_path):
    shutil.copytree(saved, tmp_path / "model")
    part = {"audio_tokenizer_class": "DacModel", "audio_tokenizer_name_or_path": "someone/else"}
    change(tmp_path / "model", "processor_config.json", audio_tokenizer=part)
    with pytest.raises(CheckpointError, match="no part of the class DacModel"):
        load_model(tmp_path / "model")


@pytest.mark.parametrize(
    "entry",
    [
        {"observation_space": None},
        {"observation_space": BOX | {"low": "nan"}},
        {"observation_space": BOX | {"low": [[0], []]}},
        {"observation_space": {"type": "Discrete", "n": 10**30, "start": 0}},
        {"statistics": {}},
        {"statistics": MOMENTS | {"observation": {"": {"mean": [0, 0, 0], "std": [1, 1, 1]}}}},
        {"statistics": MOMENTS | {"observation": {"": {"mean": [0, "x"], "std": [1, 1]}}}},
        {"statistics": MOMENTS | {"reward": {"mean": 0, "std": -1}}},
        {"task": 5},
        {"action_space": {"type": "Dict", "spaces": 3}},
    ],
    ids=short,
)
def test_a_damaged_environment_of_a_processor_is_one_error(entry, saved, tmp_path):
    shutil.copytree(saved, tmp_path / "model")
    good = {"observation_space": BOX, "action_space": BOX, "statistics": MOMENTS, "task": None}
    change(tmp_path / "model", "processor_config.json", environments={"E": good})
    assert load_model(tmp_path / "model")[1].layout("E").mean.tolist() == [0, 0]
    change(tmp_path / "model", "processor_config.json", environments={"E": good | entry})
    with pytest.raises(CheckpointError, match="what the model keeps of E cannot be used"):
        load_model(tmp_path / "model")[1].layout("E")


# --- sizes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", SPACES[:-1], ids=lambda space: str(space)[:70])
def test_no_memory_is_taken_for_a_space_that_cannot_be(space):
    tracemalloc.start()
    with pytest.raises(UnsupportedSpaceError, match=r"(?s)no space can be built|larger than"):
        space_from_json(space)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**30


def test_spaces_that_are_nested_without_end_are_refused():
    space = BOX
    for _ in range(2000):
        space = {"type": "Tuple", "spaces": [space]}
    with pytest.raises(UnsupportedSpaceError, match="nested more than"):
        space_from_json(space)


# --- checksums -------------------------------------------------------------------------------------------------------


def test_a_flipped_bit_in_a_page_is_found(tmp_path):
    """Of the data alone, since a flip there would otherwise be read as another number."""
    path = shards(write(tmp_path, make_episodes(lengths=(40, 60))))[0]
    good = path.read_bytes()
    expected = open_dataset(tmp_path)["Toy-v0"].slice(0, 100)["reward"].copy()
    rng, refused = np.random.default_rng(0), 0
    for place in rng.choice(len(good) // 2, 40, replace=False):
        flipped = bytearray(good)
        flipped[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            found = open_dataset(tmp_path)["Toy-v0"].slice(0, 100)["reward"]
            assert np.array_equal(found, expected)
        except DatasetError as error:
            refused += 1
            assert "is damaged" in str(error)
    assert refused > 30
