"""transformers' own Trainer, as it is: exact gradients, checkpoints that act, options."""

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
from gymnasium import spaces
from transformers import Trainer, TrainingArguments

from ldm_hf import LDMAgent, LDMProcessor
from ldm_hf.layout_ldm import EnvironmentLayout

from ..conftest import random_steps
from .test_model import RICH, RICH_ACTION, rich_batch

BOX = spaces.Box(-1, 1, (3,))
PAIRS = ((RICH, RICH_ACTION), (BOX, spaces.Discrete(4)), (spaces.Discrete(5), BOX), (RICH, BOX))


@pytest.fixture()
def segments(processor):
    """Segments of different environments and lengths."""
    return [
        EnvironmentLayout(processor.sizes, *PAIRS[row % 4]).encode_segment(
            random_steps(*PAIRS[row % 4], 6 + 3 * row, seed=row), known_statistics=False
        )
        for row in range(8)
    ]


def trainer(model, folder, rows, collator, processor=None, **options):
    defaults = {"per_device_train_batch_size": 1, "max_steps": 1, "logging_steps": 1, "save_strategy": "no"}
    arguments = TrainingArguments(str(folder), report_to="none", use_cpu=True, disable_tqdm=True, **defaults | options)
    return Trainer(
        model, arguments, train_dataset=rows, eval_dataset=rows, data_collator=collator, processing_class=processor
    )


@pytest.mark.parametrize("micro", [1, 2, 4])
def test_accumulated_gradients_are_those_of_one_batch(model, processor, segments, tmp_path, micro):
    model.train()
    loss = model(**processor(segments)).loss
    loss.backward()
    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    options = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": 8 // micro}
    options |= {"optim": "sgd", "learning_rate": 0.5, "lr_scheduler_type": "constant", "max_grad_norm": 1e9}
    session = trainer(model, tmp_path, segments, processor, processor, **options)
    session.train()
    told = session.state.log_history[0]
    assert told["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert told["grad_norm"] == pytest.approx(norm.item(), rel=1e-3)
    for name, parameter in model.named_parameters():
        change = 0.5 * gradients[name] if name in gradients else 0.0 * before[name]
        torch.testing.assert_close(parameter.detach(), before[name] - change, rtol=1e-3, atol=1e-5, msg=name)


def test_every_checkpoint_acts(model, processor, tmp_path):
    processor.add_environment("Toy-v0", BOX, spaces.Discrete(4), task="go")
    rows = [processor.layout("Toy-v0").encode_segment(random_steps(BOX, spaces.Discrete(4), 9, seed=1))] * 4
    session = trainer(
        model,
        tmp_path,
        rows,
        processor,
        processor,
        max_steps=4,
        save_strategy="steps",
        save_steps=2,
        eval_strategy="steps",
        eval_steps=2,
        learning_rate=1e-2,
    )
    session.train()
    session.save_model(tmp_path / "last")
    told = session.state.log_history
    losses = [row["loss"] for row in told if "loss" in row]
    measured = [row["eval_loss"] for row in told if "eval_loss" in row]
    assert len(losses) == 4 and losses[-1] < losses[0] and len(measured) == 2 and measured[1] < measured[0]
    assert measured[-1] == pytest.approx(model.eval()(**processor(rows)).loss.item(), rel=1e-4)
    actions = []
    for name in ("checkpoint-2", "checkpoint-4", "last"):
        assert LDMProcessor.from_pretrained(tmp_path / name).to_dict() == processor.to_dict()
        agent = LDMAgent.from_pretrained(tmp_path / name, (BOX, spaces.Discrete(4)), environment="Toy-v0")
        actions.append([agent.act(observation) for observation in np.linspace(-1, 1, 12).reshape(4, 3)])
    assert actions[1] == actions[2] and all(action in spaces.Discrete(4) for action in actions[0])
    again = trainer(model, tmp_path, rows, processor, processor, max_steps=6)
    assert again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4")).global_step == 6


@pytest.mark.parametrize(
    "options",
    [
        {"bf16": True},
        {"gradient_checkpointing": True},
        {"train_sampling_strategy": "group_by_length"},
        {"label_names": ["labels"], "prediction_loss_only": False, "eval_accumulation_steps": 1},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_change_how_it_trains_not_what(model, processor, segments, tmp_path, options):
    """Losses stay those of a plain run (of as many rows), but for rounding."""
    plain, other = copy.deepcopy(model), model
    losses = []
    for network, added in ((plain, {}), (other, options)):
        session = trainer(
            network,
            tmp_path,
            segments,
            processor,
            processor,
            per_device_train_batch_size=8,
            per_device_eval_batch_size=3,
            max_steps=2,
            **added,
        )
        session.train()
        losses.append([row["loss"] for row in session.state.log_history if "loss" in row])
        losses[-1].append(session.evaluate()["eval_loss"])
        assert len(session.predict(segments).predictions) == 4  # logits, means, deviations, losses of rows
    np.testing.assert_allclose(*losses, rtol=0.05 if "bf16" in options else 1e-3)


def test_no_input_is_dropped_from_a_row(model, processor, segments, tmp_path):
    """Trainer drops what the model's forward does not name, without a word."""
    batches = [dict(processor([segment])) for segment in segments]
    session = trainer(model, tmp_path, batches, lambda rows: rows[0], per_device_eval_batch_size=1)
    collate = session.get_train_dataloader().collate_fn
    assert [set(collate([batch])) for batch in batches] == [set(batch) for batch in batches]
    assert set().union(*batches) == {*LDMProcessor.model_input_names, "labels"}
    assert session.evaluate()["eval_loss"] == pytest.approx(model.eval()(**processor(segments)).loss.item(), rel=1e-4)


def test_batches_that_are_made_already_are_rows(model, processor, tmp_path):
    batches = [rich_batch(processor, length=8) for _ in range(4)]
    session = trainer(model, tmp_path, batches, lambda rows: rows[0], processor, max_steps=3)
    assert session.train().global_step == 3
    assert not list(Path(tmp_path).glob("checkpoint-*"))


def test_the_processor_has_no_tokenizer(processor):
    for read in (processor.decode, processor.batch_decode):
        with pytest.raises(AttributeError, match="reads steps of environments, no text"):
            read([1])
