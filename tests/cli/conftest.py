"""What the tests of commands share: a folder of their own, a dataset and a model that one command has made."""

import pytest
import torch

from ldm_hf import LDMConfig, LDMForActionPrediction
from ldm_hf.training import processor_for
from ldm_hf.trajectories import open_dataset

from ..conftest import TINY
from .running import ldm


@pytest.fixture(autouse=True)
def own_directory(own_folders, monkeypatch, tmp_path):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.chdir(tmp_path)  # defaults are relative to the working directory


@pytest.fixture(scope="session")
def collected(tmp_path_factory):
    """What `ldm collect` printed, and the folder of its dataset."""
    folder = tmp_path_factory.mktemp("collected")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDM_HF_CACHE", str(folder / "cache"))
        arguments = ("--ids", "FrozenLake-v1", "--steps-per-env", "300", "--jobs", "1", "--output", folder / "data")
        result = ldm("collect", *arguments)
    return result, folder / "data"


@pytest.fixture(scope="session")
def model(collected):
    """The folder of an untrained model that knows the dataset's environment."""
    folder = collected[1].parent / "model"
    torch.manual_seed(0)
    config = LDMConfig(**TINY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LDM_HF_CACHE", str(collected[1].parent / "cache"))
        processor_for(config, open_dataset(collected[1])).save_pretrained(folder)
    LDMForActionPrediction(config).save_pretrained(folder)
    return folder
