"""The snippets of the README run as they are printed."""

import re
from pathlib import Path

import gymnasium
import pytest
import yaml

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_python_snippets_run(model, processor, tmp_path, monkeypatch, capsys):
    env = gymnasium.make("CartPole-v1")
    processor.add_environment("CartPole-v1", env.observation_space, env.action_space, task="Balance the pole.")
    for part in (model, processor):
        part.save_pretrained(tmp_path / "outputs/quickstart/model")
    monkeypatch.chdir(tmp_path)
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), {})
    assert "return of 500 steps: 500.0" in capsys.readouterr().out  # cart-pole pays 1 a step whatever one does


def test_the_row_of_a_table_is_a_row_of_the_catalogue(tmp_path, monkeypatch):
    from ldm_hf.environments import catalogue

    (path,) = [tmp_path / re.match(r"# (\S+)", block).group(1) for block in blocks("yaml")]
    path.write_text(blocks("yaml")[0], encoding="utf-8")
    monkeypatch.setenv("LDM_HF_CATALOGUE", str(path))
    catalogue.cache_clear()
    try:
        assert catalogue()["Thermostat-v0"].reference == yaml.safe_load(path.read_text())[0]["reference"]
    finally:
        catalogue.cache_clear()


@pytest.mark.parametrize("link", re.findall(r"\]\((?!https?://)([^)#]+)\)", README))
def test_links_lead_somewhere(link):
    assert (Path(__file__).parents[1] / link).exists()
