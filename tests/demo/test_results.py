"""What the explorer shows of a model's results, and of what the model chose between."""

import json
from pathlib import Path

import numpy as np
import pytest
from gymnasium import spaces

from ldm_hf.demo.results import HEADER, Results, headline, threshold_points
from ldm_hf.demo.sharing import Chosen
from ldm_hf.demo.thoughts import bars, certainty
from ldm_hf.errors import LDMError
from ldm_hf.layout_ldm import EnvironmentLayout

NANO = str(Path(__file__).parents[2] / "model_cards/ldm-nano")


@pytest.fixture(scope="module")
def results():
    return Results.of_model(NANO)


def test_the_table_has_every_environment_the_best_first(results):
    entries = results.select()
    recorded = json.loads(Path(NANO, "results.json").read_text())
    assert {entry.name for entry in entries} == recorded["environments"].keys()
    scores = [entry.score for entry in entries]
    assert scores == sorted(scores, reverse=True)
    assert all(len(entry.cells()) == len(HEADER) for entry in entries)
    assert f"in {recorded['summary']['at_least_80']} the model reaches 80 %" in headline(entries)


def test_filters_go_together(results):
    chosen = results.select(domain="control", library="gymnasium", text=" cartpole ")
    assert chosen and all(entry.domain == "control" and "CartPole" in entry.name for entry in chosen)
    assert {entry.family for entry in chosen} == {"CartPole"}
    assert results.select(family="CartPole", text="gravity") == [e for e in chosen if "gravity" in e.name]
    assert headline(results.select(text="no such name")) == "No environment fits."


def test_the_curve_counts_environments_at_or_above_a_score(results):
    entries = results.select()
    points = threshold_points(entries)
    for count, score, name in zip(points["environments"], points["score"], points["environment"], strict=True):
        assert results.entries[name].score == pytest.approx(score) or score in (-20, 150)
        assert count <= sum(entry.score >= results.entries[name].score for entry in entries)


def test_returns_of_an_environment_are_told_by_episode_and_player(results):
    columns = results.returns("CartPole-v1")
    assert {*columns["player"]} == {"model", "reference", "random"}
    assert columns["player"].count("model") == columns["player"].count("random") == 20
    assert results.returns("no such name") == {"episode": [], "return": [], "player": []}


def test_a_model_without_results_has_none_and_damaged_ones_are_told(tmp_path):
    assert Results.of_model(str(tmp_path)).entries == {}
    (tmp_path / "results.json").write_text('{"environments": [1]}')
    with pytest.raises(LDMError, match="holds no results"):
        Results.of_model(str(tmp_path))


def chosen(layout, action, logits=None, means=0.0, legal=None):
    elements = len(layout.actions.sizes)
    scores = np.zeros((elements, layout.sizes.num_choices)) if logits is None else logits
    return Chosen(action, scores, np.full(elements, means), np.full(elements, 0.1), legal)


def layout_of(tiny, action_space):
    return EnvironmentLayout(tiny[1].sizes, spaces.Box(-1, 1, (1,)), action_space)


def test_choices_are_shown_with_their_probabilities(tiny):
    layout = layout_of(tiny, spaces.Discrete(3, start=4))
    logits = np.zeros((1, layout.sizes.num_choices))
    logits[0, 1] = np.log(2)
    shown = bars(layout, chosen(layout, 5, logits), ["left", "stay"])
    assert [(bar.label, bar.text, bar.chosen) for bar in shown[:2]] == [("stay", "50%", True), ("left", "25%", False)]
    assert shown[2].label == "action 6"
    legal = bars(layout, chosen(layout, 5, logits, legal=np.array([True, True, False])))
    assert [bar.share for bar in legal] == pytest.approx([2 / 3, 1 / 3, 0])
    assert certainty(layout, chosen(layout, 5, logits)) == pytest.approx(0.5)


def test_choices_of_several_digits_and_numbers_are_shown_too(tiny):
    many = layout_of(tiny, spaces.Discrete(3 * tiny[1].sizes.num_choices))
    shown = bars(many, chosen(many, 7))
    assert len(shown) == 8 and shown[0].share == pytest.approx(1 / (3 * tiny[1].sizes.num_choices), rel=0.5)
    numbers = layout_of(tiny, spaces.Box(-2, 2, (2,)))
    (first, second) = bars(numbers, chosen(numbers, np.array([1.0, -1.0], np.float32), means=0.5))
    assert (first.label, first.share, first.text) == ("action 0", 0.75, "1, ± 5% of its range")
    assert second.text.startswith("-1,")
    assert certainty(numbers, chosen(numbers, np.zeros(2))) == pytest.approx(0.95)
    nothing = layout_of(tiny, spaces.Dict({}))
    assert bars(nothing, chosen(nothing, {})) == [] and certainty(nothing, chosen(nothing, {})) == 1
