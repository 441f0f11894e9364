"""The example with a server of environments and a server of policies."""

import re
import socket
import subprocess
import time
from pathlib import Path
from urllib.request import urlopen

import pytest

from ldm_hf.environments.isolation import installed_version, python_of

from ..test_examples import run
from .live import serving


def play(folder, parts, name):
    """Plays two environments at a time; the returns of their episodes."""
    with serving(*parts) as live:
        result = run(folder, "two_servers.py", "--policy", live.url, "--env", name, "--count", 2, "--episodes", 2)
        told = live.request("GET", "/metrics", raw=True)[1].decode()
    assert result.returncode == 0 and "return" in result.stdout, (result.stdout, result.stderr)
    steps = float(re.search(r"^ldm_steps_total (\S+)", told, re.M)[1])
    return steps, [float(value) for value in re.findall(r"environment [01]: return (\S+)", result.stdout)]


def test_any_environment(tiny, tmp_path):
    steps, returns = play(tmp_path, tiny, "CartPole-v1")
    assert len(returns) == 4 and sum(returns) + 2 == steps  # a reward of 1 a step, and the first observation


@pytest.mark.slow
@pytest.mark.skipif(not installed_version("openenv-core"), reason="needs: ldm envs install openenv-core")
def test_a_server_of_environments(tiny, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = Path(__file__).parents[1] / "openenv_server.py"
    server = subprocess.Popen([python_of("openenv-core"), str(script), str(port)])
    try:
        until = time.monotonic() + 120
        while True:
            try:
                urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except OSError:
                assert server.poll() is None and time.monotonic() < until
                time.sleep(0.2)
        steps, returns = play(tmp_path, tiny, f"openenv:http://127.0.0.1:{port}")
        assert len(returns) == 4 and steps > 4
    finally:
        server.kill()
        server.wait()
