"""The search for the numbers of a scripted policy."""

from dataclasses import replace
from functools import partial

import numpy as np

from ldm_hf.environments import get_spec
from ldm_hf.references import Reference, finding
from ldm_hf.references.tuning import Number, tune


def test_it_finds_the_top_of_a_hill_and_the_right_choice():
    calls = []

    def value(kwargs):
        calls.append(kwargs)
        far = np.log(kwargs["gain"] / 4) ** 2 + (np.subtract(kwargs["offset"], (0.3, -0.2)) ** 2).sum()
        return 100 * np.exp(-far) * (1.5 if kwargs["grip"] == 1 else 1)

    tunable = {
        "grip": (None, -1, 1),
        "gain": Number(1.0, 0.5, factor=True),
        "offset": Number((0.0, 0.0), 0.1, -0.25, 0.25),
    }
    found = tune(tunable, value)
    assert value(found) > 140 > 5 * value({"grip": None, "gain": 1.0, "offset": [0.0, 0.0]})
    assert found["grip"] == 1 and max(map(abs, found["offset"])) <= 0.25 and len(found["offset"]) == 2
    assert len(calls) == 70 + 2
    assert found == tune(tunable, value)  # the same at every call


def test_choices_alone_are_all_tried():
    assert tune({"grip": (None, -1, 1)}, lambda kwargs: kwargs["grip"] or 0) == {"grip": 1}


class Leaning(Reference):
    """Pushes the cart to the side that the pole leans to."""

    def __init__(self, env, weight=0.0, side=-1):
        self.weight, self.side = weight, side

    @classmethod
    def tunable(cls, env):
        return {"side": (-1, 1), "weight": Number(0.0, 0.5)}

    def act(self, env, observation, info):
        return np.int64(self.side * (observation[2] + self.weight * observation[3]) > 0)


def test_the_factory_measures_a_policy_with_and_without_its_search(tmp_path, monkeypatch):
    monkeypatch.setattr(finding, "EPISODES", 4)
    monkeypatch.setattr(finding, "tune", partial(tune, evaluations=6))
    spec = replace(get_spec("CartPole-v1"), reference=f"{__name__}:Leaning")
    record = finding.find_reference(spec, tmp_path, budget=60, tuned=True)
    plain, searched = record.attempts[:2]
    assert plain.kwargs == {} and set(searched.kwargs) == {"side", "weight"} and record.best is searched
    assert searched.score["mean"] > 100 > 20 > plain.score["mean"]
