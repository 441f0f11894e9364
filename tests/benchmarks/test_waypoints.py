"""benchmarks/waypoints.py: waypoints from scripts, and a search for better ones."""

import importlib
import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from ldm_hf.errors import LDMError
from ldm_hf.libraries.metaworld.policies_waypoints import MetaWorldWaypoints

pytest.importorskip("cma")
pytest.importorskip("metaworld")
SCRIPTS = Path(__file__).parents[2] / "benchmarks"


def seen(hand, thing):
    observation = np.zeros(39)
    observation[:3], observation[4:7] = hand, thing
    return observation


def test_places_are_visited_in_their_order_and_left_when_near_or_late():
    policy = MetaWorldWaypoints(None, [0, 0, 0.1, -1, 0.02, 50, 0, 0, 0, 1, 0.02, 3, 0.5, 0, 0, 0.25, 0.02, 0])
    policy.reset(None)
    info = {}
    thing = np.array([0.1, 0.6, 0.0])
    assert policy.act(None, seen(np.add(thing, [0, 0, 0.15]), thing), info).tolist() == pytest.approx([0, 0, -0.5, -1])
    assert policy.act(None, seen(np.add(thing, [0, 0, 0.11]), thing), info).tolist() == pytest.approx([0, 0, -1, 1])
    far = [policy.act(None, seen(np.add(thing, [0, 0, 0.05]), thing), info)[0] for _ in range(4)]
    assert far == [0, 0, 0, 1]  # three steps more, and the last place, which is never left
    assert policy.act(None, seen(np.add(thing, [0.5, 0, 0]), thing), info).tolist() == pytest.approx([0, 0, 0, 0.25])
    policy.reset(None)
    assert policy.at == policy.steps == 0


@pytest.mark.parametrize("numbers", [[], [1.0] * 7])
def test_a_wrong_number_of_numbers_is_told(numbers):
    with pytest.raises(LDMError, match=rf"6 numbers for each waypoint, got {len(numbers)}"):
        MetaWorldWaypoints(None, numbers)


@pytest.mark.slow
def test_a_search_goes_on_from_what_the_script_aims_at(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    waypoints = importlib.import_module("waypoints")
    for name, small in {"HORIZON": 50, "POPULATION": 4, "EPISODES": 1, "CHECKED": 1}.items():
        monkeypatch.setattr(waypoints, name, small)
    app, path = typer.Typer(), tmp_path / "a" / "b.json"
    app.command()(waypoints.main)
    result = CliRunner().invoke(app, ["--tasks", "door-unlock-v3", "--minutes", "0", "--json", str(path)])
    assert result.exit_code == 0, result.output
    found = json.loads(path.read_text())["door-unlock-v3"]
    assert found["reference"][1] == 1 and 0 <= found["found"][1] <= 1  # successes
    assert found["generations"] == 1 and len(found["waypoints"]) % 6 == 0
    assert found["reference"][0] > 100 and "door-unlock-v3 generation 1:" in result.stdout
