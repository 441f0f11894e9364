"""Models and datasets of the Hub, end to end against a server on this machine."""

import os
import shutil
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces

from ldm_hf.hub.export import write_code
from ldm_hf.known_ldm import FILES
from ldm_hf.spaces import space_to_json
from ldm_hf.trajectories import EnvironmentInfo, TrajectoryWriter, write_readme

from .. import fork_server
from ..conftest import random_steps
from ..hub_server import serve
from ..model.test_model import rich_batch

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT / "model_cards" / "ldm-nano"
pytestmark = pytest.mark.slow  # every test starts processes
SPACES = (spaces.Box(-1, 1, (3,)), spaces.Discrete(4))
# Processes are forked from what has imported these: huggingface_hub reads at its import where its Hub is, and some
# processes must do without this package.
IMPORTED = [name for name in fork_server.PRELOADED if not name.startswith("ldm_hf")]


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """A Hub on this machine, and what to start processes from that use it, or that are offline."""
    with serve() as server:
        server.home = tmp_path_factory.mktemp("hub") / "home"
        told = {"HF_HOME": str(server.home), "HF_HUB_DISABLE_XET": "1", "HF_TOKEN": "hf_test"}
        server.environments = {True: told | {"HF_HUB_OFFLINE": "1"}, False: told | {"HF_ENDPOINT": server.url}}
        server.addresses = {
            offline: fork_server.start_server(environment, IMPORTED)
            for offline, environment in server.environments.items()
        }
        yield server


@pytest.fixture()
def hub(running):
    """The Hub, as empty as the cache of its clients."""
    for kept in (running.repos, running.blobs, running.fetched):
        kept.clear()
    shutil.rmtree(running.home, ignore_errors=True)
    return running


def python(code: str, folder, hub, offline=False, hide=False, check=True):
    """Runs code in a process whose Hub is the local server; ``hide``: in which ldm_hf cannot be imported."""
    code = textwrap.dedent(code)
    if hide:
        code = "import sys\nassert 'ldm_hf' not in sys.modules\nsys.modules['ldm_hf'] = None\n" + code
    environment = os.environ | hub.environments[offline]
    command, address = [sys.executable, "-c", code], hub.addresses[offline]
    result = fork_server.run(command, timeout=180, cwd=folder, env=environment, address=address)
    assert not check or result.returncode == 0, result.stderr[-3000:]
    return result


def test_a_model_goes_to_the_hub_and_comes_back(model, processor, tmp_path, hub):
    env_spaces = dict(zip(("observation_space", "action_space"), SPACES, strict=True))
    processor.add_environment("Toy-v0", **env_spaces, task="go")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    python(
        """
        from ldm_hf import LDMForActionPrediction, LDMProcessor
        LDMForActionPrediction.from_pretrained("model").push_to_hub("someone/ldm-toy")
        LDMProcessor.from_pretrained("model").push_to_hub("someone/ldm-toy")
        """,
        tmp_path,
        hub,
    )
    repo = hub.repos["models", "someone/ldm-toy"]
    assert {"config.json", "model.safetensors", "processor_config.json", *FILES} <= set(repo)
    assert repo["model.safetensors"] == (tmp_path / "model" / "model.safetensors").read_bytes()
    printed = python(
        """
        from gymnasium import spaces
        from ldm_hf import LDMAgent
        pair = (spaces.Box(-1, 1, (3,)), spaces.Discrete(4))
        agent = LDMAgent.from_pretrained("someone/ldm-toy", pair, environment="Toy-v0")
        print(agent.act(pair[0].sample()) in pair[1], agent.layout.name)
        """,
        tmp_path,
        hub,
    ).stdout
    assert printed.split() == ["True", "Toy-v0"]


def test_a_trainer_pushes_what_acts(model, processor, tmp_path, hub):
    """An unmodified Trainer: the processor goes with the weights."""
    env_spaces = dict(zip(("observation_space", "action_space"), SPACES, strict=True))
    processor.add_environment("Toy-v0", **env_spaces, task="go")
    row = processor.layout("Toy-v0").encode_segment(random_steps(*SPACES, 9))
    torch.save(dict(processor([row])), tmp_path / "batch.pt")
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    printed = python(
        """
        import torch
        from gymnasium import spaces
        from transformers import Trainer, TrainingArguments
        from ldm_hf import LDMAgent, LDMForActionPrediction, LDMProcessor
        torch.set_num_threads(1)
        model, processor = (kind.from_pretrained("model") for kind in (LDMForActionPrediction, LDMProcessor))
        arguments = TrainingArguments(
            "run", max_steps=2, save_steps=2, report_to="none", use_cpu=True, disable_tqdm=True,
            per_device_train_batch_size=1, push_to_hub=True, hub_model_id="someone/ldm-trained",
        )
        rows = [torch.load("batch.pt")] * 2
        trainer = Trainer(
            model, arguments, train_dataset=rows, data_collator=lambda rows: rows[0], processing_class=processor
        )
        trainer.train()
        trainer.push_to_hub()
        pair = (spaces.Box(-1, 1, (3,)), spaces.Discrete(4))
        agent = LDMAgent.from_pretrained("someone/ldm-trained", pair, environment="Toy-v0")
        print("acts:", agent.act(pair[0].sample()) in pair[1], agent.layout.name)
        """,
        tmp_path,
        hub,
    ).stdout
    assert "acts: True Toy-v0" in printed
    repo = hub.repos["models", "someone/ldm-trained"]
    assert {"config.json", "model.safetensors", "processor_config.json", "README.md"} <= set(repo)


def test_a_repo_that_is_not_there_is_one_clear_error(tmp_path, hub):
    result = python(
        """
        from ldm_hf.cli import main
        import sys
        sys.argv = ["ldm", "evaluate", "--model", "someone/nothing"]
        main()
        """,
        tmp_path,
        hub,
        check=False,
    )
    assert result.returncode == 1
    assert "error: no usable LDM at someone/nothing" in result.stderr and "Traceback" not in result.stderr


def test_a_dataset_folder_is_a_dataset_repo(tmp_path, hub):
    info = EnvironmentInfo("Toy-v0", "Toy-v0", *map(space_to_json, SPACES))
    steps = [random_steps(*SPACES, count, seed) for seed, count in enumerate((7, 5))]
    with TrajectoryWriter(tmp_path / "data", info) as writer:
        for episode in steps:
            writer.write(episode)
    write_readme(tmp_path / "data")
    printed = python(
        """
        from datasets import load_dataset
        from huggingface_hub import HfApi
        from ldm_hf.trajectories import open_dataset
        api = HfApi()
        api.create_repo("someone/toys", repo_type="dataset")
        api.upload_folder(repo_id="someone/toys", repo_type="dataset", folder_path="data")
        ours = open_dataset("someone/toys")["Toy-v0"]
        stream = load_dataset("someone/toys", "Toy-v0", split="train", streaming=True)
        rows = list(stream)
        print(ours.num_steps, ours.num_episodes, len(rows))
        print(float(ours.slice(7, 12)["reward"].sum()), sum(rows[1]["reward"]))
        """,
        tmp_path,
        hub,
    ).stdout.split()
    assert printed[:3] == ["12", "2", "2"]
    np.testing.assert_allclose([float(value) for value in printed[3:]], steps[1]["reward"].sum(), rtol=1e-5)


def ldm(folder, hub, *arguments, offline=False):
    """The command in a process whose Hub is the local server."""
    code = f"import sys; sys.argv = {['ldm', *arguments]}\nfrom ldm_hf.cli import main\nmain()"
    return python(code, folder, hub, offline, check=False)


def write_toys(folder, names=("A-v0", "B-v0")):
    for name in names:
        info = EnvironmentInfo(name, name, *map(space_to_json, SPACES))
        with TrajectoryWriter(folder, info) as writer:
            for seed, count in enumerate((9, 7)):
                writer.write(random_steps(*SPACES, count, seed))


def test_push_and_read_a_dataset(tmp_path, hub):
    write_toys(tmp_path / "data")
    (tmp_path / "data/A-v0/.train-00007.parquet.unfinished").write_bytes(b"half a shard")
    result = ldm(tmp_path, hub, "push", "data", "someone/toys")
    assert result.returncode == 0 and f"{hub.url}/datasets/someone/toys/commit" in result.stdout.replace("\n", ""), (
        result
    )
    repo = hub.repos["datasets", "someone/toys"]
    shards = {f"{name}/{file}" for name in ("A-v0", "B-v0") for file in ("environment.json", "train-00000.parquet")}
    assert set(repo) - {".gitattributes"} == {"README.md", "index.json", *shards}
    assert b'load_dataset("someone/toys", "A-v0", split="train")' in repo["README.md"]
    hub.fetched.clear()
    (tmp_path / "mixture.yaml").write_text("datasets: [{path: someone/toys, environments: [B-*]}]")
    printed = python(
        """
        from datasets import load_dataset
        from ldm_hf.errors import DatasetError
        from ldm_hf.trajectories import open_dataset
        print(open_dataset("someone/toys", ["B-v0"])["B-v0"].num_steps, open_dataset("mixture.yaml").keys())
        try:
            open_dataset("someone/toys", ["C-v0"])
        except DatasetError as error:
            print(error)
        print(sum(len(row["reward"]) for row in load_dataset("someone/toys", "B-v0", split="train", streaming=True)))
        """,
        tmp_path,
        hub,
    ).stdout.splitlines()
    assert printed[0] == "16 dict_keys(['B-v0'])" and printed[2] == "16"
    assert "has no environment(s) C-v0; it has:" in printed[1] and "B-v0" in printed[1]
    assert "A-v0/train-00000.parquet" not in hub.fetched  # nobody asked for it


def test_an_environment_is_fetched_when_its_first_step_is_read(tmp_path, hub):
    write_toys(tmp_path / "data")
    assert ldm(tmp_path, hub, "push", "data", "someone/toys").returncode == 0
    hub.fetched.clear()
    code = """
        import pickle
        import numpy as np
        from ldm_hf.errors import DatasetError
        from ldm_hf.trajectories import open_dataset
        there, here = (open_dataset(place)["A-v0"] for place in ("someone/toys", "data"))
        assert (there.num_steps, there.num_episodes, there.info) == (16, 2, here.info)
        assert there.observation_space == here.observation_space and there.action_space == here.action_space
        np.testing.assert_equal(there.statistics(), here.statistics())
        there = pickle.loads(pickle.dumps(there))
        try:
            np.testing.assert_equal(there.slice(3, 12), here.slice(3, 12))
            assert list(there.episode_returns()) == list(here.episode_returns()) and there.part(1, 2).num_steps == 7
            better = open_dataset("someone/toys", ["A-v0"], min_return_percentile=60)["A-v0"]
            assert better.num_episodes == 1 and better.episode_returns() == max(here.episode_returns())
        except DatasetError as error:
            print(error)
        """
    assert python(code, tmp_path, hub).stdout == ""
    assert hub.fetched == {"index.json", "A-v0/environment.json", "A-v0/train-00000.parquet"}
    assert python(code, tmp_path, hub, offline=True).stdout == ""  # what is here is found without the Hub
    repo = hub.repos["datasets", "someone/toys"]
    shutil.rmtree(hub.home)
    whole = repo.pop("A-v0/train-00000.parquet")
    assert "A-v0 of someone/toys could not be fetched" in python(code, tmp_path, hub).stdout
    shutil.rmtree(hub.home)
    repo["A-v0/train-00000.parquet"] = whole
    repo["index.json"] = repo["index.json"].replace(b'"steps": 16', b'"steps": 17', 1)
    code = code.replace("(16, 2, here.info)", "(17, 2, here.info)")
    assert "has 16 steps, its index.json says 17" in python(code, tmp_path, hub).stdout


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (b"[]", "is damaged"),
        (b'{"format_version": 1, "environments": {"A-v0": {}}}', "is damaged"),
        (b'{"format_version": 99}', "update ldm_hf"),
    ],
)
def test_a_damaged_index_is_one_clear_error(tmp_path, hub, index, message):
    hub.repos["datasets", "someone/toys"] = {"index.json": index}
    code = "from ldm_hf.trajectories import open_dataset\nopen_dataset('someone/toys')"
    result = python(code, tmp_path, hub, check=False)
    assert "DatasetError: the index.json of someone/toys" in result.stderr and message in result.stderr


def test_training_on_a_dataset_of_the_hub_is_training_on_its_folder(tmp_path, hub):
    """Also where other processes read it."""
    write_toys(tmp_path / "data")
    assert ldm(tmp_path, hub, "push", "data", "someone/toys").returncode == 0
    script = Path(__file__).parents[2] / "examples/pretrain.py"
    weights = set()
    for place, workers in (("someone/toys", "0"), ("someone/toys", "2"), ("data", "0")):
        for folder in (hub.home, tmp_path / "model"):  # nothing is fetched yet
            shutil.rmtree(folder, ignore_errors=True)
        options = ["--dataset", place, "--output_dir", "model", "--max_steps", "2", "--batch_size", "2"]
        options += ["--num_workers", workers]
        code = f"import runpy, sys; sys.argv = {[str(script), *options]}\n"
        code += "runpy.run_path(sys.argv[0], run_name='__main__')"
        python(code, tmp_path, hub)
        weights.add((tmp_path / "model" / "model.safetensors").read_bytes())
    assert len(weights) == 1
    result = ldm(tmp_path, hub, "push", "model", "someone/ldm-toy", "--private")
    assert result.returncode == 0, result.stderr
    pushed = set(hub.repos["models", "someone/ldm-toy"])
    assert {"config.json", "model.safetensors", "processor_config.json"} <= pushed
    assert not any(name.startswith("checkpoint-") for name in pushed)


def test_push_a_space(tmp_path, hub):
    shutil.copytree(Path(__file__).parents[2] / "spaces/ldm", tmp_path / "space")
    (tmp_path / "space/.secret").write_text("left here")
    result = ldm(tmp_path, hub, "push", "space", "someone/plays")
    assert result.returncode == 0, result.stderr
    pushed = set(hub.repos["spaces", "someone/plays"])
    assert {"app.py", "README.md", "requirements.txt", "ldm_hf/demo/page.py", "ldm_hf/demo/blind.json"} <= pushed
    assert not any(name.endswith(".pyc") or ".secret" in name for name in pushed)


def test_what_cannot_be_pushed_is_one_clear_error(tmp_path, hub):
    (tmp_path / "empty").mkdir()
    result = ldm(tmp_path, hub, "push", "empty", "someone/nothing")
    assert result.returncode == 1 and "error: empty is neither a model" in result.stderr
    write_toys(tmp_path / "data")
    result = ldm(tmp_path, hub, "push", "data", "someone/toys", offline=True)
    assert result.returncode == 1 and "error: someone/toys could not be uploaded" in result.stderr
    assert "Traceback" not in result.stderr


def test_trust_remote_code_runs_without_the_package(model, processor, tmp_path, hub):
    batch = rich_batch(processor, labels=False)
    torch.save(dict(batch), tmp_path / "batch.pt")
    torch.save(model(**batch).logits, tmp_path / "logits.pt")
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    write_code(tmp_path / "model")
    code = """
        import torch
        from transformers import AutoModel, AutoProcessor
        torch.set_num_threads(1)
        model = AutoModel.from_pretrained("model", trust_remote_code=True)
        processor = AutoProcessor.from_pretrained("model", trust_remote_code=True)
        logits = model(**torch.load("batch.pt")).logits
        print(type(model).__name__, processor.num_choices, torch.equal(logits, torch.load("logits.pt")))
        """
    printed = python(code, tmp_path, hub, offline=True, hide=True).stdout
    assert printed.split() == ["LDMForActionPrediction", "21", "True"]
    code = code.replace("trust_remote_code=True", "trust_remote_code=False")
    refused = python(code, tmp_path, hub, offline=True, hide=True, check=False)
    assert refused.returncode != 0 and "trust_remote_code" in refused.stderr


def test_whoever_trusts_the_code_of_a_repo_gets_its_agent(model, processor, tmp_path, hub):
    """Its actions are those of the agent of this package, and of one around what the Auto classes load."""
    processor.add_environment("Toy-v0", *SPACES, task="go")
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    assert ldm(tmp_path, hub, "push", "model", "someone/ldm-toy").returncode == 0
    code = """
        import numpy as np
        from gymnasium import spaces
        from transformers import AutoModel, AutoProcessor
        from transformers.dynamic_module_utils import get_class_from_dynamic_module
        pair = (spaces.Box(-1, 1, (3,)), spaces.Discrete(4))
        LDMAgent = get_class_from_dynamic_module("agent.LDMAgent", "someone/ldm-toy")
        parts = [kind.from_pretrained("someone/ldm-toy", trust_remote_code=True) for kind in (AutoModel, AutoProcessor)]
        for agent in (
            LDMAgent.from_pretrained("someone/ldm-toy", pair, environment="Toy-v0"),
            LDMAgent(*parts, pair, environment="Toy-v0"),
            LDMAgent(*parts, pair, num_envs=2),
        ):
            rng, actions = np.random.default_rng(0), []
            for step in range(20):
                feedback = () if step == 0 else (0.5, step % 5 == 0, False)
                observation = rng.normal(size=(agent.num_envs, 3) if agent.batched else 3).astype(np.float32)
                actions.append(np.ravel(agent.act(observation, *feedback)).tolist())
            print("actions:", type(agent).__module__.split(".")[0], actions)
        """
    hidden = python(code, tmp_path, hub, hide=True).stdout.split("actions:")[1:]
    ours = python(
        code.replace(
            'get_class_from_dynamic_module("agent.LDMAgent", "someone/ldm-toy")',
            '__import__("ldm_hf").LDMAgent',
        ),
        tmp_path,
        hub,
    ).stdout.split("actions:")[1:]
    assert [row.split()[0] for row in hidden] == ["transformers_modules"] * 3
    assert [row.split()[0] for row in ours] == ["ldm_hf"] * 3
    actions = [[row.split(maxsplit=1)[1] for row in rows] for rows in (hidden, ours)]
    assert actions[0] == actions[1] and actions[0][0] == actions[0][1] != actions[0][2]


def test_the_published_model_runs_without_the_package(tmp_path, hub):
    """What is pushed has the code, which the repo of this project need not hold."""
    assert ldm(tmp_path, hub, "push", str(PUBLISHED), "someone/ldm-nano").returncode == 0
    pushed = hub.repos["models", "someone/ldm-nano"]
    assert {"modeling_ldm.py", "agent.py", "errors.py"} <= set(pushed) and not list(PUBLISHED.glob("*.py"))
    code = """
        from transformers import AutoModel, AutoProcessor
        model = AutoModel.from_pretrained("someone/ldm-nano", trust_remote_code=True)
        processor = AutoProcessor.from_pretrained("someone/ldm-nano", trust_remote_code=True)
        known = processor.layout("CartPole-v1").mean
        print(type(model).__module__.startswith("ldm_hf"), model.dtype, len(processor.environments), len(known))
        """
    assert python(code, tmp_path, hub, hide=True).stdout.split()[-4:] == ["False", "torch.float32", "500", "4"]
