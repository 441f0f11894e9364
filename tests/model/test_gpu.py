"""What only a GPU can show: it computes the same, alone and compiled, and the training scripts run on it."""

import copy
import shutil
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ldm_hf import LDMAgent, LDMConfig, LDMForActionPrediction
from ldm_hf.cache_ldm import RingBufferCache
from ldm_hf.training.optimisation import compile_for_training

from ..conftest import TINY
from ..runs import EXAMPLES, launch, log_of, write_dataset, write_model
from ..toys import NEXT_STEP, Toy, assert_same_actions, play, toys
from .test_model import PER_STEP, rich_batch

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]
STEPS = 70


@pytest.fixture(scope="module")
def on_gpu(tiny):
    model, processor = tiny
    return copy.deepcopy(model).to("cuda"), processor


@pytest.fixture()
def often_rebased(monkeypatch):
    monkeypatch.setattr("ldm_hf.cache_ldm.REBASE_INTERVAL", 20)


def actions_of(parts, number=0, **options):
    """Of an agent that is cleared once."""
    env = Toy(number)
    agent = LDMAgent(*parts, env, **options)
    for _ in range(2):
        play(agent, env, STEPS)
        agent.reset()
    return env.actions


@pytest.mark.parametrize("compile", [False, True], ids=["plain", "compiled"])
def test_an_agent_acts_on_a_gpu_as_on_the_cpu(tiny, on_gpu, often_rebased, compile):
    assert_same_actions(actions_of(on_gpu, compile=compile), actions_of(tiny))


def test_a_compiled_agent_acts_in_a_vector_of_environments(tiny, on_gpu, often_rebased):
    envs = [toys(NEXT_STEP) for _ in range(2)]
    for env, parts, compile in zip(envs, (tiny, on_gpu), (False, True), strict=True):
        play(LDMAgent(*parts, env, compile=compile), env, STEPS)
    for expected, found in zip(envs[0].envs, envs[1].envs, strict=True):
        assert_same_actions(found.actions, expected.actions)


def test_threads_with_a_compiled_agent_each_share_a_model(tiny, on_gpu):
    expected = [actions_of(tiny, number) for number in range(3)]
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda number: actions_of(on_gpu, number, compile=True), range(3)))
    for first, second in zip(found, expected, strict=True):
        assert_same_actions(first, second)


@torch.inference_mode()
def test_half_precision_follows_full_precision_with_and_without_a_cache(processor):
    torch.manual_seed(0)
    model = LDMForActionPrediction(LDMConfig(**TINY | {"initializer_range": 0.05})).eval()
    batch = rich_batch(processor, labels=False)
    expected = model(**batch).means
    half, batch = model.to("cuda", torch.bfloat16), batch.to("cuda")
    cache = RingBufferCache.from_config(half.config, 2, half.device)
    whole, steps = half(**batch).means, []
    for step in range(batch["feedback"].shape[1]):
        one = {name: value[:, step : step + 1] if name in PER_STEP else value for name, value in batch.items()}
        steps.append(half(**one, cache=cache).means)
    for found in (whole, torch.cat(steps, dim=1)):
        assert (found.cpu() - expected).norm() / expected.norm() < 0.03


def test_a_compiled_training_step_has_the_same_loss_and_gradients(config, processor):
    torch.manual_seed(0)
    plain = LDMForActionPrediction(config).to("cuda")
    fast = copy.deepcopy(plain)
    compile_for_training(fast, fast.device)
    assert fast.model.backbone.config._attn_implementation == "flex_attention"
    for length, rows in ((40, 2), (40, 3)):  # more elements of actions
        batch = rich_batch(processor, length, rows).to("cuda")
        losses = [model(**batch).loss for model in (plain, fast)]
        torch.testing.assert_close(*losses, rtol=1e-4, atol=1e-5)
        for loss in losses:
            loss.backward()
    others = dict(fast.named_parameters())
    for name, parameter in plain.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(others[name].grad, parameter.grad, rtol=1e-2, atol=1e-4, msg=name)


def test_device_map_auto_takes_the_gpu(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert LDMForActionPrediction.from_pretrained(tmp_path, device_map="auto").device.type == "cuda"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gpu")
    write_dataset(folder / "data")
    write_model(folder / "start")
    return folder


def accelerated(folder, output, configuration, *options):
    """The training script by `accelerate launch`, on one GPU whatever the configuration says."""
    launcher = ("-m", "accelerate.commands.launch", "--quiet", "--num_processes", "1", "--config_file")
    launcher = (*launcher, str(EXAMPLES / "accelerate" / configuration))
    return launch(folder, output, *options, launcher=launcher, gpu=True)


def losses_of(output):
    return [line["loss"] for line in log_of(output)]


@pytest.fixture(scope="module")
def expected(folder):
    """Losses of a run on the CPU."""
    return losses_of(accelerated(folder, folder / "cpu", "cpu.yaml"))


@pytest.mark.parametrize("configuration", ["gpu.yaml", "gpus8.yaml", "fsdp2.yaml"])
def test_a_run_on_a_gpu_learns_what_one_on_the_cpu_does_and_resumes(folder, expected, configuration):
    whole = accelerated(folder, folder / configuration, configuration)
    losses = losses_of(whole)
    assert losses[0] == pytest.approx(expected[0], rel=0.02)
    assert losses == pytest.approx(expected, rel=0.2)  # in half precision, rounding grows from update to update
    model = LDMForActionPrediction.from_pretrained(whole)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    broken = folder / f"{configuration}-broken"
    shutil.copytree(whole / "checkpoint-3", broken / "checkpoint-3")
    accelerated(folder, broken, configuration, "--resume_from_checkpoint", "latest")
    assert losses_of(broken) == pytest.approx(losses[3:], rel=0.01)


@pytest.mark.parametrize(("precision", "rel"), [("no", 0.01), ("bf16", 0.2)])  # rounding grows from update to update
def test_a_compiled_run_learns_the_same(folder, expected, precision, rel):
    options = ("--compile", "--gradient_checkpointing", "--mixed_precision", precision)
    assert losses_of(accelerated(folder, folder / precision, "gpu.yaml", *options)) == pytest.approx(expected, rel=rel)
