"""A model's repo: rounded weights, their code, the card made from its results; and the repo that is published."""

import json
import re
from pathlib import Path

import gymnasium
import pytest
import torch
from huggingface_hub import ModelCard
from safetensors import safe_open
from typer.testing import CliRunner

from ldm_hf import LDMAgent, LDMForActionPrediction, LDMProcessor
from ldm_hf.cli.app import app
from ldm_hf.environments.specs import known_as
from ldm_hf.errors import CheckpointError
from ldm_hf.evaluation import summarise
from ldm_hf.hub import export_model, write_card

PUBLISHED = Path(__file__).parents[2] / "model_cards" / "ldm-nano"
SCORES = {"CartPole-v1": ("control", 0.95), "nasim-tiny": ("cybersecurity", 0.5), "Mine-v0": ("custom", 1.1)}


def returns_of(mean):
    return {"mean": mean, "std": 1.0, "episodes": 20, "seed": 0, "returns": [mean] * 20}


@pytest.fixture()
def results():
    environments = {
        name: {
            "domain": domain,
            "random": returns_of(0.0),
            "reference": returns_of(100.0),
            "ldm": returns_of(100 * score),
            "normalised": score,
            "ldm_history_only": returns_of(90 * score),
            "normalised_history_only": 0.9 * score,
        }
        for name, (domain, score) in SCORES.items()
    }
    return {"environments": environments, "summary": summarise(environments), "command": "ldm evaluate"}


@pytest.fixture()
def trained(model, processor, tmp_path):
    model.save_pretrained(tmp_path / "trained")
    processor.save_pretrained(tmp_path / "trained")
    arguments = {"max_steps": 7, "model": None, "environments": ["a", "b"]}
    training = {"steps": 7, "transitions": 2_000_000, "minutes": 3.2, "arguments": arguments}
    (tmp_path / "trained" / "training.json").write_text(json.dumps(training))
    return tmp_path / "trained"


def test_exported_weights_are_half_as_large_and_load_as_float32(model, trained, tmp_path):
    folder = export_model(trained, tmp_path / "repo")
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert all(weights.get_tensor(name).dtype == torch.bfloat16 for name in weights.keys())  # noqa: SIM118
    loaded = LDMForActionPrediction.from_pretrained(folder)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value.bfloat16().float()), name
    assert {"modeling_ldm.py", "processing_ldm.py", "configuration_ldm.py", "training.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert "auto_map" in json.loads((folder / "config.json").read_text())
    assert LDMForActionPrediction._auto_class is None  # what is saved later is as before


def test_a_model_is_not_exported_into_itself(trained):
    with pytest.raises(CheckpointError, match="is the model itself"):
        export_model(trained, trained)


def test_the_card_says_what_was_measured(trained, tmp_path, results):
    folder = export_model(trained, tmp_path / "ldm-toy")
    (folder / "results.json").write_text(json.dumps(results))
    runner = CliRunner().invoke(app, ["card", str(folder), "--dataset", "someone/toys", "--licence", "mit"])
    assert runner.exit_code == 0, runner.output
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "mit" and card.data.pipeline_tag == "reinforcement-learning"
    assert card.data.datasets == ["someone/toys"]
    measured = {(r.dataset_name, r.metric_type): r.metric_value for r in card.data.eval_results}
    assert len(measured) == 2 * (1 + len(SCORES))  # three domains, and all
    assert measured["all, 3 environments", "share_at_80_percent"] == 0.667
    assert measured["cybersecurity, 1 environments", "share_at_80_percent"] == 0
    assert measured["cybersecurity, 1 environments", "iqm_normalised_score"] == 0.5
    text = card.text
    assert "**2 of 3 environments at 80 %" in text
    assert "Below 80 %" in text and "nasim-tiny (50 %)" in text and "CartPole-v1 (" not in text
    assert "--max_steps 7 --environments a b" in text and "--model" not in text.split("## Training")[1].split("##")[0]
    assert "| gymnasium | MIT | CartPole-v1 |" in text and "not recorded" in text  # Mine-v0 is not in the catalogue
    assert "From scratch" in text
    training = json.loads((folder / "training.json").read_text())
    training["arguments"]["model"] = "someone/ldm"
    (folder / "training.json").write_text(json.dumps(training))
    assert "replay.mp4" not in text and "results-incognito" not in text
    (folder / "replay.mp4").touch()
    (folder / "results-incognito.json").write_text(json.dumps(results))
    write_card(folder)
    text = (folder / "README.md").read_text()
    assert "From someone/ldm, next-action" in text and "From scratch" not in text
    assert "Nothing is measured in environments that it was never trained in" in text
    training["former_runs"] = [training | {"steps": 5, "arguments": {"max_steps": 5, "environments": ["x"] * 99}}]
    (folder / "training.json").write_text(json.dumps(training))
    (folder / "results-unseen.json").write_text(json.dumps(results))
    text_of_two = write_card(folder).read_text()
    assert (
        "1. From scratch, next-action prediction, 5 steps" in text_of_two
        and "--environments (99 names)" in text_of_two
    )
    assert "2. And on, next-action prediction, 7 steps" in text_of_two and "--model someone/ldm" in text_of_two
    assert "held out of its training" in text_of_two and "nasim-tiny (50 %)" in text_of_two
    assert 'src="replay.mp4"' in text and "Without knowing which of these environments it is in" in text


@pytest.mark.parametrize(("missing", "cure"), [("results.json", "ldm evaluate"), ("model.safetensors", "ldm export")])
def test_a_card_without_its_parts_says_how_to_make_them(trained, tmp_path, results, missing, cure):
    folder = export_model(trained, tmp_path / "repo")
    (folder / "results.json").write_text(json.dumps(results))
    (folder / missing).unlink()
    with pytest.raises(CheckpointError, match=rf"has no {missing}.*{cure}"):
        write_card(folder)


@pytest.mark.slow
def test_the_published_model_balances_the_pole():
    env = gymnasium.make("CartPole-v1")
    agent, total = LDMAgent.from_pretrained(PUBLISHED, env), 0.0
    observation, _ = env.reset(seed=0)
    feedback = ()
    while True:
        observation, *feedback, _ = env.step(agent.act(observation, *feedback))
        total += feedback[0]
        if feedback[1] or feedback[2]:
            break
    assert total == 500


@pytest.mark.slow
def test_the_example_of_the_published_card_runs(monkeypatch):
    monkeypatch.chdir(PUBLISHED.parent)
    names = {}
    exec(re.search("```python\n(.*?)```", (PUBLISHED / "README.md").read_text(), re.DOTALL)[1], names)
    assert names["env"].action_space.contains(names["action"]) and names["agent"].known_statistics


def test_the_published_repo_is_whole_and_small():
    results = json.loads((PUBLISHED / "results.json").read_text())
    card = ModelCard.load(PUBLISHED / "README.md")
    domains = {entry["domain"] for entry in results["environments"].values()}
    assert {result.dataset_type for result in card.data.eval_results} == {"all", *domains}
    assert (PUBLISHED / "README.md").read_text().index("\n# ldm-nano") < 10_000  # the header does not bury the card
    known = set(LDMProcessor.from_pretrained(PUBLISHED).environments)
    assert known == {known_as(name, known) for name in results["environments"]}
    assert sum(path.stat().st_size for path in PUBLISHED.iterdir()) < 30e6
