"""The search for the numbers of a scripted policy."""

import time
from dataclasses import replace

import numpy as np
import pytest

from ldm_hf.environments import get_spec
from ldm_hf.errors import LDMError
from ldm_hf.references import Reference, finding
from ldm_hf.references.scripts import numbers_of, with_numbers
from ldm_hf.references.tuning import Number, tune


def test_it_finds_the_top_of_a_hill_and_the_right_choice():
    calls = []

    def returns(kwargs):
        calls.append(kwargs)
        return [value(kwargs)] * 3

    def value(kwargs):
        far = np.log(kwargs["gain"] / 4) ** 2 + (np.subtract(kwargs["offset"], (0.3, -0.2)) ** 2).sum()
        return 100 * np.exp(-far) * (1.5 if kwargs["grip"] == 1 else 1)

    tunable = {
        "grip": (None, -1, 1),
        "gain": Number(1.0, 0.5, factor=True),
        "offset": Number((0.0, 0.0), 0.1, -0.25, 0.25),
    }
    found = tune(tunable, returns)
    assert value(found) > 140 > 5 * value({"grip": None, "gain": 1.0, "offset": [0.0, 0.0]})
    assert found["grip"] == 1 and max(map(abs, found["offset"])) <= 0.25 and len(found["offset"]) == 2
    assert len(calls) == 70
    assert found == tune(tunable, returns)  # the same at every call


def test_choices_alone_are_all_tried():
    assert tune({"grip": (None, -1, 1)}, lambda kwargs: [kwargs["grip"] or 0]) == {"grip": 1}


def test_it_keeps_what_it_has_found_when_the_time_is_over():
    found = tune({"grip": (None, -1, 1)}, lambda kwargs: [kwargs["grip"] or 0], until=time.monotonic() - 1)
    assert found == {"grip": None}


class Leaning(Reference):
    """Pushes the cart to the side that the pole leans to."""

    searches = 6

    def __init__(self, env, weight=0.0, side=-1):
        self.weight, self.side = weight, side

    @classmethod
    def tunable(cls, env):
        return {"side": (-1, 1), "weight": Number(0.0, 0.5)}

    def act(self, env, observation, info):
        return np.int64(self.side * (observation[2] + self.weight * observation[3]) > 0)


def test_the_factory_measures_a_policy_with_and_without_its_search(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "EPISODES", 4)
    spec = replace(get_spec("CartPole-v1"), reference=f"{__name__}:Leaning")
    record = finding.find_reference(spec, tmp_path, budget=60, tuned=True)
    plain, searched = record.attempts[:2]
    assert plain.kwargs == {} and set(searched.kwargs) == {"side", "weight"} and record.best is searched
    assert searched.score["mean"] > 100 > 20 > plain.score["mean"]


class Script:
    """A script like those that libraries ship."""

    SIDES = {"left": 0, "right": 1}
    GAIN = 2.5

    def push(self, state):
        """The force."""
        return self.GAIN * (state[1] + 0.5) - 1


def test_the_numbers_of_a_script_are_found_and_changed_but_not_its_indices():
    assert numbers_of(Script).start == (2.5, 0.5, 1.0) and numbers_of(Script, integers=False).start == (2.5, 0.5)
    state, written = [7.0, 3.0], numbers_of(Script).start
    assert with_numbers(Script, written)().push(state) == Script().push(state) == 7.75
    changed = with_numbers(Script, [2.0, 1.0, 4.0])
    assert changed().push(state) == 4.0 and changed.SIDES == Script.SIDES and Script().push(state) == 7.75
    with pytest.raises(LDMError, match="has 3 numbers, not 2"):
        with_numbers(Script, [1.0, 2.0])


def test_a_search_begins_at_the_parameters_of_the_row_and_gives_up_early():
    played = []

    def returns(kwargs):
        for episode in range(4):
            played.append(kwargs["gain"])
            yield 10.0 - abs(kwargs["gain"] - 3.2) - episode

    found = tune({"gain": Number(1.0, 0.5)}, returns, 30, start={"gain": 3.0, "kept": "yes"})
    assert played[0] == 3.0 and abs(found["gain"] - 3.2) < 0.1 and found["kept"] == "yes"
    assert len(played) < 4 * 30  # worse ones do not play all episodes
