"""Visitors watch three players in copies of one environment; what goes wrong is theirs alone."""

import importlib
import io
import time

import numpy as np
import pytest
from PIL import Image

from ldm_hf.demo import warm
from ldm_hf.demo.playing import Game
from ldm_hf.demo.stage import perform
from ldm_hf.demo.thoughts import numbers_seen
from ldm_hf.demo.visitors import Visitors
from ldm_hf.environments import library_folders, specs
from ldm_hf.errors import EnvironmentFailure, LDMError, ServerError

LENGTH = ("length",)


def test_three_players_play_side_by_side(visitors, worlds):
    game = visitors.begin("a", worlds["Walk-v0"])
    scenes = [game.play() for _ in range(11)]
    assert [*scenes[-1].pictures] == ["model", "reference", "random"]
    assert Image.open(io.BytesIO(scenes[-1].pictures["model"])).size == (280, 210)  # enlarged, so that it is sharp
    assert scenes[-1].ended["reference"] == [10.0]  # always to the right
    assert scenes[-1].returns["reference"] == 1.0
    assert len(scenes[-1].ended["random"]) == 1 and scenes[-1].ended["random"] != [10.0]
    assert next(bar.label for bar in scenes[-1].bars if bar.chosen) in ("left", "stay", "right")
    assert sum(bar.share for bar in scenes[-1].bars) == pytest.approx(1)
    assert game.points["model"][-1][0] == 11


def test_a_world_is_changed_step_by_step(visitors, worlds):
    game = visitors.begin("a", worlds["Walk-v0"])
    (knob,) = game.knobs
    assert (knob.name, knob.range, game.opening.defaults) == ("length", (10, 40), {LENGTH: 10})
    game = visitors.begin("a", worlds["Walk-v0"], {LENGTH: 13}, game.knobs)
    game.settings.speed = 14
    scene = game.play()
    assert scene.steps == 14 and scene.ended["reference"] == [13.0]
    assert game.opening.defaults == {LENGTH: 13} and game.knobs == [knob]


def test_a_row_without_a_reference_is_played_without(visitors, worlds):
    game = visitors.begin("a", worlds["Walk-alone-v0"])
    game.play()
    scene = game.play()
    assert [*scene.pictures] == ["model", "random"]
    assert "no reference" in scene.note


def test_history_is_cut_or_left_out(visitors, worlds):
    game = visitors.begin("a", worlds["Walk-v0"])
    for _ in range(5):
        game.play()
    count, pairs = numbers_seen(game.stream)
    assert count == 5 and len(pairs) == 2 and pairs[1][0] == pytest.approx(2)  # steps 0 to 4
    game.cut()
    game.play()
    assert numbers_seen(game.stream)[0] == 1
    game.play()
    game.settings.history = False
    game.play()
    assert numbers_seen(game.stream)[0] == 1
    game.settings.history, game.settings.task = True, False
    game.play()
    assert np.array_equal(game.stream.task, game.stream.room.layout.encode_task(""))


@pytest.mark.parametrize(("name", "says"), [("dies", "exit code 3"), ("fails", "the floor is gone")])
def test_an_environment_that_crashes_is_a_message(visitors, worlds, name, says):
    other = visitors.begin("b", worlds["Walk-v0"])
    game = visitors.begin("a", worlds[f"Walk-{name}-v0"])
    with pytest.raises(EnvironmentFailure, match=says) as raised:
        for _ in game.scenes(fps=1000):
            other.play()
    assert f"Walk-{name}-v0" in str(raised.value)
    assert game.closed
    assert other.play().steps == 3  # everybody else plays on
    assert visitors.begin("a", worlds["Walk-v0"]).play().steps == 1


def test_an_environment_without_a_picture_is_a_message(visitors, worlds):
    with pytest.raises(LDMError, match="Blind-v0"):
        visitors.begin("a", worlds["Blind-v0"])
    assert len(visitors) == 0


def test_visitors_have_games_of_their_own(visitors, worlds):
    first, second = visitors.begin("a", worlds["Walk-v0"]), visitors.begin("b", worlds["Walk-long-v0"])
    for _ in range(3):
        first.play()
    assert second.play().steps == 1 and first.scene.steps == 3
    assert first.stream is not second.stream
    with pytest.raises(ServerError, match="2 visitors"):
        visitors.begin("c", worlds["Walk-v0"])
    visitors.leave("a")
    assert visitors.begin("c", worlds["Walk-v0"]).play().steps == 1
    assert visitors.game("b") is second


def test_nothing_is_left_of_who_has_gone(shared, worlds, tmp_path):
    visitors = Visitors(shared, str(tmp_path), limit=3, idle=60)
    before = shared.streams
    gone, idle = (visitors.begin(name, worlds["Walk-v0"]) for name in ("gone", "idle"))
    assert shared.streams == before + 2
    visitors.leave("gone")
    assert gone.closed and [*gone.scenes()] == []
    visitors.idle = 0.2
    until = time.monotonic() + 20
    while (len(visitors) or not idle._worker.ended or shared.streams > before) and time.monotonic() < until:
        time.sleep(0.05)
    assert idle.closed and "rest" in idle.farewell
    assert shared.streams == before
    assert not any(game._worker._process.is_alive() for game in (gone, idle))
    visitors.close()


def test_a_pause_lasts_until_it_is_over(visitors, worlds):
    game = visitors.begin("a", worlds["Walk-v0"])
    scenes = game.scenes(fps=1000)
    next(scenes)
    game.settings.paused = True
    visitors.leave("a")  # also ends a pause
    assert [*scenes] == []


def test_a_game_is_closed_once(shared, worlds, tmp_path):
    game = Game(shared, worlds["Walk-v0"], str(tmp_path))
    before = shared.streams
    game.close()
    game.close()
    assert shared.streams == before - 1


def test_a_visitors_process_reads_no_tables_that_the_first_one_has_read(worlds, monkeypatch, tmp_path):
    importlib.reload(warm)
    monkeypatch.setattr(library_folders, "read_yaml", lambda *arguments: 1 / 0)
    monkeypatch.setattr(specs, "read_yaml", lambda *arguments: 1 / 0)
    opening = perform("open", worlds["Walk-v0"], str(tmp_path), 0, [LENGTH])
    assert opening.defaults == {LENGTH: 10} and "model" in opening.first.pictures
