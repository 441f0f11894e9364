"""Collection and roll-outs in isolated environments that die now and then, or for good."""

import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

from ldm_hf.collection import Plan, collect
from ldm_hf.environments import EnvironmentSpec, library_folders, make
from ldm_hf.environments.isolation import Recipe, installing
from ldm_hf.environments.library_folders import Library, libraries
from ldm_hf.errors import EnvironmentFailure
from ldm_hf.references import load_reference
from ldm_hf.rollouts import ReferencePolicy, rollout
from ldm_hf.trajectories import EnvironmentInfo
from ldm_hf.trajectories.writer import shards

from ..environments.test_isolation import ENTRIES, toys_can_be_imported  # noqa: F401  # the fixture


@pytest.fixture()
def toy_library(monkeypatch, tmp_path):
    """Makes ``toy`` an isolated library that is installed under this interpreter."""
    monkeypatch.setattr(library_folders, "ROOT", tmp_path)
    monkeypatch.setenv("LDM_HF_ENVIRONMENTS", str(tmp_path / "environments"))
    installing.pinned_version.cache_clear()
    (tmp_path / "toy").mkdir()
    (tmp_path / "toy" / "requirements.txt").write_text("toy==1.2.3\n")
    python = installing.environment_of("toy") / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    (python.parents[1] / installing.DONE).write_text("{}")
    monkeypatch.setitem(libraries(), "toy", Library("toy", licence="MIT", **ENTRIES[0]))
    yield tmp_path
    installing.pinned_version.cache_clear()


def toy_row(reference="tests.isolated_toys:Rewarded", **kwargs):
    return EnvironmentSpec("Toy", "Walk-v0", "toy", reference=reference, kwargs=kwargs)


def episodes(folder):
    return [row for path in shards(folder / "Toy") for row in pq.read_table(path).to_pylist()]


def test_isolated_environments_are_collected_also_where_they_die_now_and_then(toy_library):
    folders = [toy_library / name for name in ("calm", "rough")]
    diary = {"dies_at": [4, 4], "diary": str(toy_library / "diary")}
    for folder, kwargs in zip(folders, ({}, diary), strict=True):
        assert collect([toy_row(**kwargs)], Plan(str(folder), steps=100), progress=False) == {}
    assert (toy_library / "diary").stat().st_size > 2
    assert len(episodes(folders[0])) > 5
    assert episodes(folders[0]) == episodes(folders[1])
    told = EnvironmentInfo.load(folders[0] / "Toy")
    assert (told.library, told.version, told.licence, told.reference) == ("toy", "1.2.3", "MIT", "scripted")
    assert told.versions["isolated numpy"] == np.__version__ and "isolated python" in told.versions


@pytest.mark.parametrize("fault", ["dies", "outside", "hangs"])
def test_an_isolated_environment_that_fails_for_good_stops_nothing(fault, toy_library, monkeypatch):
    monkeypatch.setattr(Recipe.__init__, "__defaults__", ((), 0.5))  # seconds that a call may take
    bad = EnvironmentSpec("Bad", "Faulty-v0", "toy", reference="tests.isolated_toys:Insider", kwargs={"fault": fault})
    failures = collect([bad, toy_row()], Plan(str(toy_library / "data"), steps=60), progress=False)
    assert list(failures) == ["Bad"]
    assert isinstance(failures["Bad"], EnvironmentFailure)
    assert len(episodes(toy_library / "data")) > 1


def test_roll_outs_of_an_isolated_environment_survive_the_death_of_its_process(toy_library):
    returns = []
    for kwargs in ({}, {"dies_at": [4, 4], "diary": str(toy_library / "diary")}):
        row = toy_row(**kwargs)
        policy = ReferencePolicy(lambda row=row: load_reference(row, "nowhere"))
        returns.append(rollout(lambda row=row: make(row), policy, episodes=4, num_envs=2, name="Toy"))
    np.testing.assert_array_equal(*returns)
