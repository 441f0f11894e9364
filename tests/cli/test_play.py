"""`ldm play`: videos, side by side, and what cannot be drawn."""

import sys

import gymnasium
import imageio.v3 as imageio
import numpy as np
import pytest

from ldm_hf.errors import LDMError, MissingExtraError
from ldm_hf.evaluation.pictures import CAPTION
from ldm_hf.evaluation.playing import play, play_grid

from .running import ldm


@pytest.mark.parametrize("suffix", [".gif", ".mp4"])
def test_play_writes_a_video(model, tmp_path, suffix):
    video = tmp_path / "videos" / f"lake{suffix}"
    result = ldm("play", "--model", model, "--env", "FrozenLake-v1", "--video", video, "--episodes", "3")
    assert result.exit_code == 0
    printed = result.stdout.replace("\n", " ")
    assert len(printed.split("returns: ")[1].split("video")[0].split(",")) == 3
    frames = imageio.imread(video)
    assert len(frames) > 1 and frames.shape[1:] == (256, 256, 3)
    assert frames.std() > 0


def test_playing_follows_from_the_seed(model, tmp_path):
    first, again, other = (
        play(str(model), "Blackjack-v1", tmp_path / "a.gif", episodes=20, seed=seed) for seed in (5, 5, 500)
    )
    assert first == again != other


class Painted(gymnasium.Env):
    """Two steps an episode; ``failing`` names a call that fails."""

    metadata = {"render_modes": ["rgb_array"]}
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, failing: str = "", render_mode: str | None = None) -> None:
        self.failing, self.render_mode = failing, render_mode

    def reset(self, *, seed=None, options=None):
        self.fail("reset")
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.fail("step")
        self.steps += 1
        return np.zeros(2, np.float32), 1.0, self.steps == 2, False, {}

    def render(self):
        self.fail("render")
        return np.full((16, 16, 3), 100 * self.steps, np.uint8)

    def fail(self, call: str) -> None:
        if call == self.failing:
            raise OSError("no display")


@pytest.fixture()
def painted(monkeypatch):
    for call in ("", "render", "reset", "step"):
        gymnasium.register(f"Painted{call}-v0", entry_point=Painted, kwargs={"failing": call})
    yield
    for call in ("", "render", "reset", "step"):
        gymnasium.registry.pop(f"Painted{call}-v0")


def test_environments_that_the_model_does_not_know_are_played(model, tmp_path, painted):
    assert play(str(model), "Painted-v0", tmp_path / "a.gif", episodes=2) == [2.0, 2.0]


@pytest.mark.parametrize("call", ["render", "reset", "step"])
def test_an_environment_that_fails_while_it_is_played_is_named(model, tmp_path, painted, call):
    with pytest.raises(LDMError, match=rf"environment Painted{call}-v0 failed in {call} .*: OSError: no display"):
        play(str(model), f"Painted{call}-v0", tmp_path / "a.gif")


@pytest.mark.parametrize("name", ["BaseStock-v0", "HomeBattery-v0", "nasim-tiny"])
def test_an_environment_without_a_picture_says_so(model, tmp_path, name):
    result = ldm("play", "--model", model, "--env", name, "--video", tmp_path / "a.gif")
    assert result.exit_code == 1 and isinstance(result.exception, LDMError)
    assert f"{name} has no picture" in str(result.exception)
    assert not (tmp_path / "a.gif").exists()


@pytest.mark.parametrize("name", ["StocksTrending-v0", "popgym-RepeatFirstEasy-v0", "lane-keeping-v0"])
def test_an_environment_that_knows_no_render_mode_has_no_picture_either(model, tmp_path, name):
    with pytest.raises(LDMError, match=f"{name} has no picture"):
        play(str(model), name, tmp_path / "a.gif")


def test_pictures_of_real_numbers_are_written_too(model, tmp_path):
    play(str(model), "MinAtar-Breakout", tmp_path / "a.gif")
    frames = imageio.imread(tmp_path / "a.gif")
    assert len(frames) > 1 and frames.max() > 100


def test_several_environments_are_played_side_by_side(model, tmp_path, painted):
    names = ["Painted-v0", "Paintedstep-v0", "FrozenLake-v1", "nasim-tiny"]
    failures = play_grid(str(model), names, tmp_path / "grid.gif", seconds=1, side=64, fps=5)
    assert set(failures) == {"Paintedstep-v0", "nasim-tiny"}
    frames = imageio.imread(tmp_path / "grid.gif")
    assert frames.shape[1:3] == (64 + CAPTION, 2 * 64)
    assert frames[:, :, :64].std() > 0 and frames[:, :, 64:].std() > 0
    result = ldm("play", "--model", model, "--env", "Painted-v0,FrozenLake-v1")
    assert result.exit_code == 1 and "--video grid.mp4" in str(result.exception)


def test_play_names_the_extra_without_imageio(model, tmp_path, monkeypatch, painted):
    monkeypatch.setitem(sys.modules, "imageio.v3", None)
    with pytest.raises(MissingExtraError, match=r'imageio is not installed.*"ldm_hf\[eval\]"'):
        play(str(model), "Painted-v0", tmp_path / "a.gif")
