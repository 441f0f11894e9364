"""`ldm reference`: what is found, measured and listed."""

import json

from .running import ldm


def test_a_reference_is_found_measured_and_told(tmp_path, recorded):
    report = tmp_path / "told" / "report.md"
    arguments = (
        "reference",
        "--ids",
        "FrozenLake-v1",
        "--budget",
        "5s",
        "--jobs",
        "1",
        "--references",
        tmp_path / "found",
    )
    result = ldm(*arguments, "--save", "--report", report)
    assert result.exit_code == 0, result.stdout
    assert "FrozenLake-v1: tabular" in result.stdout and "better than random" in " ".join(result.stdout.split())
    told = json.loads((recorded / "gymnasium" / "measured.json").read_text())["scores"]["FrozenLake-v1"]
    assert told["policy"] == "value_iteration" and told["beats_random"] and told["episodes"] >= 50
    assert "| FrozenLake-v1 |" in report.read_text()
    before = (tmp_path / "found/FrozenLake-v1/attempts.json").read_bytes()
    assert ldm(*arguments).exit_code == 0
    assert (tmp_path / "found/FrozenLake-v1/attempts.json").read_bytes() == before  # not done again


def test_recorded_references_and_families_are_listed():
    result = ldm("reference", "--list", "--json", "--ids", "CartPole-v1,CartPole-length0.1-v1")
    whole, short = json.loads(result.stdout)
    assert whole["name"] == "CartPole-v1" and whole["reference"]["mean"] == 500 and whole["of_public"] == 1
    assert (
        set(whole)
        == set(short)
        == {
            *(
                "name",
                "family",
                "domain",
                "library",
                "method",
                "random",
                "reference",
                "beats_random",
                "public",
                "of_public",
            )
        }
    )
    assert short["public"] is short["of_public"] is None
    assert (
        "2 environments of 1 families"
        in ldm("reference", "--list", "--ids", "CartPole-v1,CartPole-length0.1-v1").stdout
    )
    assert "--json goes with --list" in str(ldm("reference", "--json").exception)
    families = json.loads(ldm("envs", "list", "--families", "--json", "--library", "MinAtar").stdout)
    assert families["MinAtar-Breakout"] == ["MinAtar-Breakout"] and len(families) == 5
    assert "5 environments of 5 families" in ldm("envs", "list", "--families", "--library", "MinAtar").stdout
