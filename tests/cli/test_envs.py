"""`ldm envs list`."""

import json
import sys

import pytest

from ldm_hf.environments import catalogue
from ldm_hf.errors import UnknownEnvironmentError

from .. import fork_server
from .running import MAIN, ldm


def test_the_catalogue_is_printed_as_json():
    result = fork_server.run([sys.executable, "-c", MAIN, "envs", "list", "--json"])
    assert (result.returncode, result.stderr) == (0, "")
    entries = json.loads(result.stdout)
    assert [entry["name"] for entry in entries] == list(catalogue())
    for entry in entries:
        assert {"name", "env_id", "kwargs", "library", "domain", "reference"} <= set(entry)
        assert isinstance(entry["kwargs"], dict)
    lake = next(entry for entry in entries if entry["name"] == "FrozenLake-v1")
    assert (lake["env_id"], lake["library"], lake["domain"], lake["reference"]) == (
        "FrozenLake-v1",
        "gymnasium",
        "toy_text",
        "tabular",
    )


@pytest.mark.parametrize(
    ("arguments", "chosen"),
    [
        (("--domain", "toy_text"), lambda row: row.domain == "toy_text"),
        (("--library", "minigrid"), lambda row: row.library == "minigrid"),
        (
            ("--domain", "robotics", "--library", "gymnasium"),
            lambda row: (row.domain, row.library) == ("robotics", "gymnasium"),
        ),
    ],
)
def test_filters_choose_rows(arguments, chosen):
    names = [entry["name"] for entry in json.loads(ldm("envs", "list", "--json", *arguments).stdout)]
    assert names == [name for name, row in catalogue().items() if chosen(row)]
    assert 0 < len(names) < len(catalogue())


def test_the_catalogue_is_shown_as_a_table(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = ldm("envs", "list", "--domain", "toy_text").stdout
    for expected in ("environments", "FrozenLake-v1", "toy_text", "MIT", "tabular"):
        assert expected in text
    assert "CartPole-v1" not in text


def test_a_filter_that_fits_nothing_is_an_error():
    result = ldm("envs", "list", "--domain", "chess")
    assert result.exit_code == 1 and isinstance(result.exception, UnknownEnvironmentError)
    assert "domain chess" in str(result.exception) and result.stdout == ""
