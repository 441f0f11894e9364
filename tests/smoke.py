"""What an installed ldm_hf must do anywhere: ``python smoke.py MODEL`` (`make smoke`)."""

import subprocess
import sys
from pathlib import Path

import ldm_hf
from ldm_hf import LDMAgent
from ldm_hf.environments import catalogue, make
from ldm_hf.references import reference_scores
from ldm_hf.utils.parallel import run_tasks

ROOT = Path(__file__).parents[1]


def play(model: str) -> float:
    """The return of one episode of CartPole, at most 500."""
    env = make("CartPole-v1")
    agent = LDMAgent.from_pretrained(model, env)
    (observation, info), feedback, total, over = env.reset(seed=0), (), 0.0, False
    while not over:
        observation, *feedback, info = env.step(agent.act(observation, *feedback, info=info))
        total, over = total + feedback[0], feedback[1] or feedback[2]
    return total


def main(model: str) -> None:
    """Plays in this process and in another, and asks the command for its version."""
    assert not Path(ldm_hf.__file__).is_relative_to(ROOT), f"{ldm_hf.__file__} is not what was installed"
    assert len(catalogue()) > 1000 and len(reference_scores()) > 1000
    command = [sys.executable, "-c", "from ldm_hf.cli import main; main()", "--version"]
    version = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert version == ["ldm_hf", ldm_hf.__version__], version
    returns = [play(model), *(outcome for _, outcome in run_tasks(play, {"CartPole-v1": (model,)}, limit=300))]
    assert returns == [500, 500], returns
    print(f"ldm_hf {ldm_hf.__version__} on Python {sys.version.split()[0]}: {returns}")


if __name__ == "__main__":
    main(sys.argv[1])
