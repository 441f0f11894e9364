"""The command ``ldm`` as a whole: what it imports, and how it fails."""

import sys
from pathlib import Path

import pytest

from ldm_hf.cli import app as cli

from .. import fork_server
from .running import MAIN, ldm, python


def test_neither_torch_nor_transformers_is_imported_before_it_is_needed():
    code = (
        "import sys, ldm_hf, ldm_hf.cli\n"
        "ldm_hf.cli.app.app(['envs', 'list'], standalone_mode=False)\n"
        "assert {'torch', 'transformers'}.isdisjoint(sys.modules), 'imported'\n"
        "ldm_hf.LDMConfig\n"
        "assert 'transformers' in sys.modules"
    )
    result = python(code)
    assert result.returncode == 0, result.stderr


def test_public_names_are_listed_and_others_refused():
    import ldm_hf

    assert set(ldm_hf.__all__) <= set(dir(ldm_hf))
    with pytest.raises(AttributeError, match="no attribute 'LDMAgency'"):
        ldm_hf.LDMAgency  # noqa: B018


def test_an_unknown_name_is_one_line_without_a_trace(tmp_path):
    arguments = ("collect", "--ids", "CartPole-v7", "--output", tmp_path / "data")
    result = fork_server.run([sys.executable, "-c", MAIN, *arguments])
    assert result.returncode == 1
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: no environment 'CartPole-v7'")
    assert "CartPole-v1" in lines[0] and "Traceback" not in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("collect", "--ids", "FrozenLake-v1,CartPole-v7"), "no environment 'CartPole-v7'"),
        (("reference", "--ids", "CartPole-v7"), "no environment 'CartPole-v7'"),
        (("reference",), "no environment: choose by --ids, --domain or --library, or say --all"),
        (("reference", "--ids", "CartPole-v1", "--budget", "long"), "--budget 'long' is no time"),
        (("evaluate", "--model", "no/such/model"), "no usable LDM at no/such/model"),
        (
            ("play", "--model", "no/such/model", "--env", "CartPole-v1", "--video", "a.gif"),
            "no usable LDM at no/such/model",
        ),
        (("play", "--model", "no/such/model", "--env", "CartPole-v7"), "no environment 'CartPole-v7'"),
        (("play", "--model", "no/such/model", "--env", "BaseStock-v0"), "BaseStock-v0 has no picture"),
    ],
)
def test_errors_that_a_user_can_cure_become_one_message(monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "argv", ["ldm", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert str(caught.value.code).startswith(f"error: {message}")
    assert not list(Path.cwd().iterdir())


def test_an_error_of_ours_keeps_its_trace():
    def mistake():
        raise ValueError("a mistake in the code")

    with pytest.raises(ValueError, match="a mistake"):
        cli.run(mistake)


@pytest.mark.parametrize(("option", "value"), [("--steps-per-env", "0"), ("--jobs", "0")])
def test_numbers_are_checked(option, value):
    result = ldm("collect", "--ids", "FrozenLake-v1", option, value)
    assert result.exit_code == 2 and option in result.stderr
