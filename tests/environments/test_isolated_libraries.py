"""Virtual environments of isolated libraries: how they are made, and the real ones where they are installed."""

import sys
import sysconfig

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from ldm_hf.cli import app as cli
from ldm_hf.environments import EnvironmentSpec, catalogue, get_spec, library_folders, make, make_vec
from ldm_hf.environments.isolation import installing
from ldm_hf.environments.isolation.installing import DONE, install, is_installed, is_isolated, python_of
from ldm_hf.environments.library_folders import libraries
from ldm_hf.errors import InstallationError, NotInstalledError

from .test_environments import marks
from .test_isolation import identical

CLIENT = "openenv-core"  # has no environments of its own, only servers elsewhere; tests/environments/test_openenv.py
ISOLATED = sorted(name for name in libraries() if is_isolated(name) and name != CLIENT)


# --- installation --------------------------------------------------------------------------------------------------


def test_every_isolated_library_is_pinned_and_in_the_catalogue():
    assert {spec.library for spec in catalogue().values()} >= set(ISOLATED)
    for library in [*ISOLATED, CLIENT]:
        lines = installing.requirements_of(library).read_text().split()
        assert all("==" in line for line in lines), library
        assert any(line.startswith("gymnasium==") for line in lines), "the worker needs it"
        assert libraries()[library].licence
        assert f"{library}=={installing.pinned_version(library)}" in lines


@pytest.fixture()
def toy_library(monkeypatch, tmp_path):
    """Makes ``toy`` an isolated library with these requirements."""
    monkeypatch.setattr(library_folders, "ROOT", tmp_path)
    monkeypatch.setenv("LDM_HF_ENVIRONMENTS", str(tmp_path / "environments"))
    installing.pinned_version.cache_clear()

    def require(text: str) -> None:
        (tmp_path / "toy").mkdir(exist_ok=True)
        (tmp_path / "toy" / "requirements.txt").write_text(text)

    yield require
    installing.pinned_version.cache_clear()


@pytest.fixture(params=["uv", "pip"])
def installer(request, monkeypatch):
    """Both ways to make a virtual environment."""
    if request.param == "pip":
        monkeypatch.setattr(installing.shutil, "which", lambda *arguments, **options: None)
    elif not installing.shutil.which("uv", path=sysconfig.get_path("scripts")):
        pytest.skip("uv is not installed")


@pytest.mark.slow
def test_an_installation_is_made_once_and_a_failed_one_is_not_taken_for_whole(toy_library, installer):
    toy_library("./no/such/package\n")
    assert not is_installed("toy")
    with pytest.raises(InstallationError, match=r"toy cannot be installed: .* ended with exit code (?s:.*)no/such"):
        install("toy", progress=False)  # and shows what the installer said
    with pytest.raises(NotInstalledError, match="ldm envs install toy"):
        python_of("toy")
    toy_library("")
    python = install("toy", progress=False)
    assert python == python_of("toy") and python.exists()
    done = python.parents[1] / DONE
    written = done.stat().st_mtime_ns
    assert install("toy", progress=False) == python and done.stat().st_mtime_ns == written
    done.unlink()  # interrupted before the end
    assert not is_installed("toy")
    assert install("toy", progress=False).exists()
    toy_library("# other requirements")
    assert not is_installed("toy")


def test_an_environment_whose_library_is_not_installed_names_the_command(toy_library):
    toy_library("toy==1.2.3\n")
    spec = EnvironmentSpec("Toy", env_id="Toy-v0", library="toy")
    assert spec.version == "1.2.3"
    for call in (lambda: make(spec), lambda: make_vec(spec, 2)):
        with pytest.raises(NotInstalledError, match=r"toy has a virtual environment .* ldm envs install toy"):
            call()


def test_a_library_that_is_not_isolated_cannot_be_installed(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ldm", "envs", "install", "numpy"])
    with pytest.raises(SystemExit, match=r"numpy has no virtual environment of its own; those that have: .*minihack"):
        cli.main()


# --- the real thing ------------------------------------------------------------------------------------------------


def one_of(library: str) -> str:
    return next(spec.name for spec in catalogue().values() if spec.library == library)


LIBRARIES = [pytest.param(library, marks=marks(library)) for library in ISOLATED]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_vector_of_an_isolated_library_does_what_single_environments_do(library):
    name = one_of(library)
    vector, singles = make_vec(name, 2), [make(name), make(name)]
    assert vector.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    assert vector.single_observation_space == singles[0].observation_space
    observations, infos = vector.reset(seed=3)
    found = [env.reset(seed=3 + lane) for lane, env in enumerate(singles)]
    vector.action_space.seed(0)
    for _ in range(10):
        actions = vector.action_space.sample()
        if "action_mask" in infos:
            actions = np.array([np.flatnonzero(mask)[0] for mask in infos["action_mask"]])
        observations, rewards, terminated, truncated, infos = vector.step(actions)
        found = [env.step(action) for env, action in zip(singles, actions, strict=True)]
        if (terminated | truncated).any():
            break
        for lane, (observation, reward, *_) in enumerate(found):
            mine = {key: value[lane] for key, value in observations.items()} if isinstance(observation, dict) else None
            assert identical(observations[lane] if mine is None else mine, observation)
            assert rewards[lane] == reward
    for env in (vector, *singles):
        env.close()


@pytest.mark.parametrize("name", [pytest.param("SuperMarioBros-1-1", marks=marks("gym-super-mario-bros"))])
def test_an_environment_of_old_gym_is_drawn_without_a_display(name, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    env = make(name, render_mode="rgb_array")
    env.reset(seed=0)
    frame = env.render()
    assert frame.shape == (240, 256, 3) and frame.dtype == np.uint8 and len(np.unique(frame)) > 3
    env.close()


def test_rows_of_isolated_libraries_are_shown_with_their_licences():
    rows = [spec for spec in catalogue().values() if spec.library in ISOLATED]
    assert all(spec.licence and spec.version for spec in rows)
    assert get_spec("SuperMarioBros-1-1").licence == "Free For Educational Use"
