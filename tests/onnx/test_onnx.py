"""An exported step chooses the model's actions, in any spaces, without torch, and faster."""

import json
import os
import subprocess
import sys
import textwrap
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector.utils import batch_space, create_empty_array
from typer.testing import CliRunner

from ldm_hf import LDMAgent, LDMConfig, LDMForActionPrediction, LDMProcessor, OnnxAgent
from ldm_hf.agent import load_model
from ldm_hf.cli.app import app
from ldm_hf.compiled import compiling
from ldm_hf.compiled.exporting import export_step, quantised
from ldm_hf.compiled.running import OnnxStep
from ldm_hf.errors import CheckpointError, LDMError, SpaceMismatchError
from ldm_hf.layout_ldm import EnvironmentLayout
from ldm_hf.observations_ldm import resize_by_numpy
from ldm_hf.onnx.files import GRAPH, SHAPES, export_onnx
from ldm_hf.spaces import stack, unstack

from ..agent.test_state import check_goes_on
from ..conftest import TINY
from ..toys import ACTION, NEXT_STEP, OBSERVATION, STATISTICS, Toy, assert_same_actions, episodes, play, toys

pytest.importorskip("onnxscript")
onnx = pytest.importorskip("onnx")
PUBLISHED = Path(__file__).parents[2] / "model_cards" / "ldm-nano"
RICH_OBSERVATION = spaces.Dict(
    {
        "camera": spaces.Box(0, 255, (20, 24, 3), np.uint8),
        "flags": spaces.MultiBinary(30),
        "grey": spaces.Box(0, 1, (18, 17)),
        "level": spaces.Discrete(9, start=-3),
        "says": spaces.Text(4, charset="ab"),
        "view": spaces.Box(0, 255, (7, 13, 3), np.uint8),
        "x": spaces.Box(-np.inf, np.inf, (20,)),  # more numbers than columns
    }
)
RICH_ACTION = spaces.Dict(
    {
        "choice": spaces.Discrete(50),  # two digits
        "force": spaces.Box(-1, 1, (2,)),
        "free": spaces.Box(-np.inf, np.inf, (1,)),
        "word": spaces.Text(2, charset="ab"),
    }
)
TEN = (  # environments of different spaces that the published model knows
    *("CartPole-v1", "Taxi-v4", "ALE-Freeway-v5", "MiniGrid-DoorKey-8x8-v0", "MinAtar-Breakout"),
    *("metaworld-door-open-v3", "highway-fast-v0", "Swimmer-v5", "BabyAI-GoToRedBall-v0", "FetchReach-v4"),
)


@pytest.fixture(scope="module")
def knowing_both():
    """A model whose layers have windows of their own, and a processor that knows both environments."""
    torch.manual_seed(0)
    config = LDMConfig(**TINY | {"layer_windows": [5, 8]})
    model, processor = LDMForActionPrediction(config).eval(), LDMProcessor.from_config(config)
    processor.add_environment("Toy-v0", OBSERVATION, ACTION, STATISTICS, "push it")
    processor.add_environment("Rich-v0", RICH_OBSERVATION, RICH_ACTION, None, "do it")
    return model, processor


@pytest.fixture(scope="module")
def saved(knowing_both, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    for part in knowing_both:
        part.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def toy(saved, tmp_path_factory):
    """An export for the toy, written by the command."""
    folder = tmp_path_factory.mktemp("toy")
    options = ["--model", saved, "--output", folder, "--format", "onnx", "--env", "Toy-v0"]
    result = CliRunner().invoke(app, ["export", *map(str, options)])
    assert result.exit_code == 0, result.output
    return folder


@pytest.fixture(scope="module")
def rich(saved, tmp_path_factory):
    return export_onnx(saved, tmp_path_factory.mktemp("rich"), "Rich-v0", task="")


def assert_same_path(first, second, lanes, steps, rare=0.0):
    """Two agents choose alike along a random stream, with ends, cut lanes and unknown rewards."""
    layout, rng = first.layout, np.random.default_rng(0)
    space = batch_space(layout.observation_space, lanes)
    space.seed(0)
    out = create_empty_array(layout.action_space, lanes)
    assert out is not None
    for number in range(steps):
        observation = space.sample()
        feedback = (rng.normal(size=lanes), rng.random(lanes) < 0.1, rng.random(lanes) < 0.1) if number % 9 else ()
        if number % 40 == 39:
            for agent in (first, second):
                agent.clear(number % lanes)
        found = (unstack(layout.action_space, agent.act(observation, *feedback), lanes) for agent in (first, second))
        expected, actual = (stack(layout.action_space, actions) for actions in found)
        for path, values in expected.items():
            if values.dtype == object:
                assert list(values) == list(actual[path]), (number, path)
            else:
                np.testing.assert_allclose(
                    actual[path], values, atol=1e-4, rtol=1e-4, err_msg=f"step {number}, leaf {path!r}"
                )


def test_an_exported_step_acts_as_the_model_in_rich_spaces(knowing_both, rich, monkeypatch):
    monkeypatch.setattr("ldm_hf.cache_ldm.REBASE_INTERVAL", 20)
    pair = (RICH_OBSERVATION, RICH_ACTION)
    plain = LDMAgent(*knowing_both, pair, environment="Rich-v0", task="", num_envs=3)
    assert_same_path(plain, OnnxAgent.from_pretrained(rich, num_envs=3), 3, 60)


def test_it_acts_in_a_vector_whose_episodes_end_one_by_one(knowing_both, toy):
    """With NEXT_STEP autoreset, some lanes forget the step that others keep."""
    envs = [toys(NEXT_STEP) for _ in range(2)]
    plain = LDMAgent(*knowing_both, envs[0], environment="Toy-v0")
    for agent, env in ((plain, envs[0]), (OnnxAgent.from_pretrained(toy, envs[1]), envs[1])):
        play(agent, env, 40)
    for expected, found in zip(envs[0].envs, envs[1].envs, strict=True):
        assert_same_actions(found.actions, expected.actions)


def test_it_samples_and_predicts_as_the_model(knowing_both, toy):
    observation = Toy().reset()[0]
    plain = LDMAgent(*knowing_both, (OBSERVATION, ACTION), environment="Toy-v0", deterministic=False, seed=3)
    exported = OnnxAgent.from_pretrained(toy, deterministic=False, seed=3)
    assert_same_actions(*([agent.act(observation) for _ in range(20)] for agent in (exported, plain)))
    states = {agent: None for agent in (plain, exported)}
    for number in range(5):
        actions = []
        for agent in states:
            action, states[agent] = agent.predict(observation, states[agent], np.array([number == 3]), True)
            actions.append([action])
        assert_same_actions(*actions)


def test_it_is_shown_what_others_did(knowing_both, toy):
    agents = (
        LDMAgent(*knowing_both, (OBSERVATION, ACTION), environment="Toy-v0"),
        OnnxAgent.from_pretrained(toy),
    )
    for agent in agents:
        agent.show(episodes(8))
    OBSERVATION.seed(0)
    observation = OBSERVATION.sample()
    assert_same_actions(*([agent.act(observation) for _ in range(4)] for agent in agents))


def test_another_agent_goes_on(knowing_both, toy, tmp_path):
    check_goes_on(partial(OnnxAgent.from_pretrained, toy, deterministic=False, seed=1), tmp_path / "state")
    with pytest.raises(CheckpointError, match="an agent whose model is"):
        LDMAgent(*knowing_both, (OBSERVATION, ACTION), environment="Toy-v0").load_state(tmp_path / "state")


def test_a_compiled_agent_uses_it_where_it_can(knowing_both, monkeypatch):
    compiled, plain = Toy(), Toy()
    agent = LDMAgent(*knowing_both, compiled, environment="Toy-v0", compile=True)
    assert isinstance(agent._run, OnnxStep)
    for actor, env in ((agent, compiled), (LDMAgent(*knowing_both, plain, environment="Toy-v0"), plain)):
        play(actor, env, 40)
    assert_same_actions(compiled.actions, plain.actions)
    monkeypatch.setattr("ldm_hf.compiled.exporting.PACKAGES", ("no_such_package",))
    other = LDMAgent(*knowing_both, plain, compile=True)
    assert isinstance(other._run._call, compiling.CompiledModel)


def test_it_runs_without_torch_and_transformers(knowing_both, rich, tmp_path):
    """Also pixels are resized without torch, to the same bytes."""
    plain = LDMAgent(*knowing_both, (RICH_OBSERVATION, RICH_ACTION), environment="Rich-v0", task="", num_envs=2)
    space = batch_space(RICH_OBSERVATION, 2)
    space.seed(5)
    expected = [plain.act(space.sample(), np.ones(2), *np.zeros((2, 2), bool)) for _ in range(6)]
    code = f"""
        import sys
        for name in ("torch", "transformers", "safetensors", "huggingface_hub", "psutil", "onnx", "onnxscript"):
            sys.modules[name] = None  # an import fails
        import json
        import numpy as np
        from gymnasium.vector.utils import batch_space
        from ldm_hf import OnnxAgent
        agent = OnnxAgent.from_pretrained({str(rich)!r}, num_envs=2)
        space = batch_space(agent.layout.observation_space, 2)
        space.seed(5)
        for _ in range(6):
            action = agent.act(space.sample(), np.ones(2), *np.zeros((2, 2), bool))
            print(json.dumps({{name: np.asarray(part).tolist() for name, part in action.items()}}))
        """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    for line, action in zip(result.stdout.splitlines(), expected, strict=True):
        for name, found in json.loads(line).items():
            if name == "word":
                assert found == list(action[name])
            else:
                np.testing.assert_allclose(found, action[name], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("channels", [1, 3, 4, 7])
def test_images_are_resized_as_torch_does(channels):
    rng = np.random.default_rng(channels)
    for height, width, size in ((20, 24, 28), (84, 84, 56), (210, 160, 56), (56, 160, 56), (17, 300, 28), (28, 9, 28)):
        images = rng.integers(0, 256, (2, channels, height, width), np.uint8)
        images[1] = np.where(images[1] > 127, 255, 0)
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(images), (size, size), mode="bilinear", antialias=True
        )
        assert np.array_equal(resize_by_numpy(images, size), expected.numpy()), (height, width, size)


def test_weights_of_8_bits_change_the_actions_little(toy, tmp_path):
    graph = quantised(onnx.load(toy / GRAPH))
    (tmp_path / GRAPH).write_bytes(graph.SerializeToString())
    (tmp_path / SHAPES).write_bytes((toy / SHAPES).read_bytes())
    full, small = (OnnxAgent.from_pretrained(folder) for folder in (toy, tmp_path))
    assert "MatMulInteger" in {node.op_type for node in graph.graph.node}
    OBSERVATION.seed(0)
    observations = [OBSERVATION.sample() for _ in range(20)]
    forces = [[agent.act(observation)["force"] for observation in observations] for agent in (full, small)]
    assert 0 < np.abs(np.subtract(*forces)).max() < 0.3


def test_what_is_exported_says_what_goes_in(toy):
    told = json.loads((toy / SHAPES).read_text())
    assert told["environment"] == "Toy-v0" and told["task"] == "push it" and told["statistics"] == STATISTICS
    assert told["inputs"]["keys.1"] == {"shape": ["lanes", 2, 8, 16], "type": "float32"}
    assert told["outputs"]["next.keys.1"] == told["inputs"]["keys.1"]
    assert told["outputs"]["logits"] == {"shape": [3, "lanes", 21], "type": "float32"}
    assert {path.name for path in toy.iterdir()} == {GRAPH, SHAPES}


def test_other_spaces_are_refused(toy):
    with pytest.raises(SpaceMismatchError, match=r"the action space of Toy-v0 differs.*choice: n 5 expected, 6 found"):
        OnnxAgent.from_pretrained(toy, (OBSERVATION, spaces.Dict({**ACTION.spaces, "choice": spaces.Discrete(6)})))


def change(**fields):
    def apply(folder):
        told = json.loads((folder / SHAPES).read_text())
        (folder / SHAPES).write_text(json.dumps(told | fields))

    return apply


@pytest.mark.parametrize(
    ("damage", "file"),
    [
        (lambda folder: (folder / SHAPES).unlink(), SHAPES),
        (lambda folder: (folder / GRAPH).unlink(), GRAPH),
        (lambda folder: (folder / SHAPES).write_text("[" * 100_000), SHAPES),
        (lambda folder: (folder / SHAPES).write_text("[]"), SHAPES),
        (change(format_version=9), SHAPES),
        (change(sizes={"num_choices": 21}), SHAPES),
        (change(observation_space={"type": "Sequence"}), SHAPES),
        (change(action_space={"type": "Discrete", "dtype": "int64", "n": 5, "start": 0}), GRAPH),
        (change(observation_space={"type": "Discrete", "dtype": "int64", "n": 5, "start": 0}), GRAPH),
        (lambda folder: (folder / GRAPH).write_bytes((folder / GRAPH).read_bytes()[:5000]), GRAPH),
        (lambda folder: (folder / GRAPH).write_bytes(b"\x00" * 100), GRAPH),
    ],
)
def test_damage_is_one_error_that_names_the_file(toy, tmp_path, damage, file):
    for name in (GRAPH, SHAPES):
        (tmp_path / name).write_bytes((toy / name).read_bytes())
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=file.replace(".", r"\.")):
        OnnxAgent.from_pretrained(tmp_path)


def test_what_cannot_be_exported_says_why():
    result = CliRunner().invoke(app, ["export", "--model", "m", "--output", "o", "--format", "onnx"])
    assert isinstance(result.exception, LDMError) and "--env" in str(result.exception)
    mamba = {"model_type": "mamba2", "hidden_size": 32, "num_heads": 4, "head_dim": 16, "state_size": 8}
    config = LDMConfig(**TINY | {"backbone_config": mamba | {"num_hidden_layers": 1, "n_groups": 1}, "window": 8})
    model = LDMForActionPrediction(config)
    layout = EnvironmentLayout(LDMProcessor.from_config(config).sizes, *(spaces.Discrete(2),) * 2)
    with pytest.raises(CheckpointError, match=r"mamba2.*layers without attention"):
        export_step(model, layout, layout.task_ids)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["qwen2", "llama", "mistral", "olmo2", "granite"])
def test_every_backbone_that_attends_is_exported(kind, tmp_path):
    backbone = {name: value for name, value in TINY["backbone_config"].items() if "layers" not in name}
    sizes = backbone | {"model_type": kind, "num_hidden_layers": 2}
    config = LDMConfig(**TINY | {"backbone_config": sizes, "window": 8})
    model, processor = LDMForActionPrediction(config).eval(), LDMProcessor.from_config(config)
    processor.add_environment("Toy-v0", OBSERVATION, ACTION)
    for part in (model, processor):
        part.save_pretrained(tmp_path / "model")
    plain = LDMAgent(model, processor, (OBSERVATION, ACTION), "Toy-v0", num_envs=2)
    exported = export_onnx(tmp_path / "model", tmp_path / "exported", "Toy-v0")
    assert_same_path(plain, OnnxAgent.from_pretrained(exported, num_envs=2), 2, 50)


@pytest.mark.soak
@pytest.mark.parametrize("name", TEN)
@pytest.mark.parametrize("lanes", [1, 3])
def test_the_published_model_acts_alike_for_two_thousand_steps(name, lanes, tmp_path):
    model, processor = load_model(PUBLISHED)
    layout = processor.layout(name)
    plain = LDMAgent(model, processor, (layout.observation_space, layout.action_space), name, num_envs=lanes)
    exported = OnnxAgent.from_pretrained(export_onnx(PUBLISHED, tmp_path, name), num_envs=lanes)
    assert_same_path(plain, exported, lanes, 2_000)
