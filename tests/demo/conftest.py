from pathlib import Path

import pytest

from ldm_hf.demo.drawable import drawable
from ldm_hf.demo.sharing import SharedModel
from ldm_hf.demo.visitors import Visitors
from ldm_hf.environments.specs import catalogue

ROWS = Path(__file__).with_name("worlds.yaml")


@pytest.fixture(scope="module")
def worlds():
    """The rows of the tests, by name."""
    patch = pytest.MonkeyPatch()
    patch.setenv("LDM_HF_CATALOGUE", str(ROWS))
    for cached in (catalogue, drawable):
        cached.cache_clear()
    yield catalogue()
    patch.undo()
    for cached in (catalogue, drawable):
        cached.cache_clear()


@pytest.fixture(scope="module")
def model_folder(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for part in tiny:
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shared(model_folder):
    model = SharedModel(str(model_folder), lanes=8)
    yield model
    model.stop()


@pytest.fixture()
def visitors(shared, worlds, tmp_path):
    found = Visitors(shared, str(tmp_path), limit=2, idle=60)
    yield found
    found.close()
