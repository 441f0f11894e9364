"""Pictures of environments: drawing without a screen, tiles with captions, GIFs."""

import os
import sys
import textwrap

import imageio.v3 as imageio
import numpy as np
import pytest

from ldm_hf.errors import LDMError
from ldm_hf.evaluation import pictures
from ldm_hf.evaluation.pictures import CAPTION, prepare_drawing, side_by_side, tile, write_video

from .. import fork_server


@pytest.fixture()
def screenless(monkeypatch):
    """A Linux machine without a screen, on which only the named libraries are installed."""
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL", "SDL_VIDEODRIVER"):
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)

    def install(*libraries):
        monkeypatch.setattr(pictures, "find_library", lambda name: name if name in libraries else None)

    return install


@pytest.mark.parametrize(
    ("installed", "chosen"), [(("EGL", "OSMesa"), "egl"), (("OSMesa",), "osmesa"), ((), "disabled")]
)
def test_without_a_screen_mujoco_draws_by_what_is_installed(screenless, installed, chosen):
    screenless(*installed)
    prepare_drawing()
    assert os.environ["MUJOCO_GL"] == chosen and os.environ["SDL_VIDEODRIVER"] == "offscreen"


def test_the_users_choice_wins(screenless, monkeypatch):
    screenless("EGL", "OSMesa")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    monkeypatch.setenv("SDL_VIDEODRIVER", "x11")
    prepare_drawing()
    assert os.environ["MUJOCO_GL"] == "osmesa" and os.environ["SDL_VIDEODRIVER"] == "x11"


def test_with_a_screen_nothing_is_chosen(screenless, monkeypatch):
    screenless("EGL")
    monkeypatch.setenv("DISPLAY", ":0")
    prepare_drawing()
    assert "MUJOCO_GL" not in os.environ and "SDL_VIDEODRIVER" not in os.environ


def test_a_renderer_that_is_not_installed_is_named_with_its_package(screenless, monkeypatch):
    screenless("EGL")
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    with pytest.raises(LDMError, match=r"MUJOCO_GL=osmesa needs libOSMesa.*install libosmesa6.*unset MUJOCO_GL"):
        prepare_drawing()


@pytest.mark.slow
def test_where_mujoco_cannot_draw_one_sentence_says_what_to_install():
    code = """
        from ldm_hf.environments import make
        from ldm_hf.evaluation import pictures

        pictures.find_library = lambda name: None
        pictures.prepare_drawing()
        env = make("InvertedPendulum-v5", render_mode="rgb_array")
        env.reset(seed=0)
        try:
            env.render()
        except Exception as error:
            print(pictures.drawing_error("InvertedPendulum-v5", error))
    """
    hidden = {"DISPLAY", "WAYLAND_DISPLAY", "MUJOCO_GL"}
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-c", textwrap.dedent(code)]
    result = fork_server.run(command, env=environment, nested=False)
    assert result.returncode == 0, result.stderr
    assert "InvertedPendulum-v5 cannot be drawn here" in result.stdout
    assert "MUJOCO_GL=egl (Debian package libegl1)" in result.stdout


def test_a_tile_has_its_picture_above_its_name_and_wide_pictures_lose_their_sides():
    wide = np.zeros((10, 80, 3), np.uint8)
    wide[:, 30:50] = 255  # what is left when 80 becomes 20
    made = tile(wide, "A-v0", 60)
    assert made.shape == (60 + CAPTION, 60, 3)
    assert (made[15:45, :, 0] > 200).all() and not made[:14].any()
    assert made[60:].max() > 100  # the name
    assert not np.array_equal(tile(wide, "metaworld-button-press-topdown-wall-v3", 60)[60:], made[60:])


def test_tiles_fill_a_square():
    tiles = [np.full((4, 3, 3), number, np.uint8) for number in (1, 2, 3)]
    grid = side_by_side(tiles)
    assert grid.shape == (8, 6, 3)
    assert (grid[0, 0, 0], grid[0, 3, 0], grid[4, 0, 0], grid[4, 3, 0]) == (1, 2, 3, 0)


def test_what_stands_still_in_a_gif_costs_nearly_nothing(tmp_path):
    noise = np.random.default_rng(0).integers(0, 4, (64, 64, 3), np.uint8) * 60
    frames = []
    for number in range(20):
        frames.append(noise.copy())
        frames[-1][:2, number] = 255  # a dot that moves
    write_video(tmp_path / "one.gif", frames[:1], 10)
    write_video(tmp_path / "all.gif", frames, 10)
    assert (tmp_path / "all.gif").stat().st_size < 4 * (tmp_path / "one.gif").stat().st_size
    read = imageio.imread(tmp_path / "all.gif")
    assert read.shape == (20, 64, 64, 3) and np.abs(read[7].astype(int) - frames[7]).max() <= 60
