"""Folders that cannot be written, several writers, full disks, and outputs that know no Unicode."""

import errno
import io
import json
import multiprocessing
import os
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from ldm_hf.cli.app import run
from ldm_hf.collection import Plan, collect
from ldm_hf.environments.checking import check
from ldm_hf.errors import CheckpointError, DatasetError, LDMError
from ldm_hf.evaluation import evaluate
from ldm_hf.evaluation.playing import play
from ldm_hf.training import checkpoints
from ldm_hf.training.arguments import TrainingRun
from ldm_hf.training.checkpoints import Progress, save_checkpoint
from ldm_hf.training.launching import sole_writer
from ldm_hf.trajectories import card, open_dataset, write_readme
from ldm_hf.utils.display import print_anywhere
from ldm_hf.utils.files import STALE, check_writable, save_json, unfinished_file, write_atomically

from ..trajectories.test_trajectories import make_episodes, write

TEXT = json.dumps(list(range(100_000)))


@pytest.fixture()
def blocked(tmp_path):
    """A place in which nothing can be made, whoever runs the tests."""
    (tmp_path / "file").write_text("in the way")
    return tmp_path / "file" / "below"


# --- several writers -------------------------------------------------------------------------------------------------


def rewrite(path, count, failed):
    for _ in range(count):
        try:
            write_atomically(path, TEXT)
        except LDMError:
            failed.value += 1


def test_writers_of_the_same_file_do_not_disturb_one_another(tmp_path):
    path, context = tmp_path / "results.json", multiprocessing.get_context("fork")
    write_atomically(path, TEXT)
    failed = context.Value("i", 0)
    writers = [context.Process(target=rewrite, args=(path, 30, failed)) for _ in range(2)]
    for writer in writers:
        writer.start()
    reads = 0
    while any(writer.is_alive() for writer in writers):
        assert path.read_text() == TEXT
        reads += 1
    assert reads and failed.value == 0 and [file.name for file in tmp_path.iterdir()] == ["results.json"]


@pytest.mark.parametrize("name", [".unfinished-{}", ".tmp{}"])  # ours, and safetensors'
def test_what_a_killed_writer_has_left_is_removed_after_a_day(tmp_path, name):
    old, new = tmp_path / name.format("old123"), tmp_path / name.format("new123")
    for left, age in ((old, STALE + 60), (new, 60)):
        left.mkdir()
        os.utime(left, (time.time() - age,) * 2)
    write_atomically(tmp_path / "a.json", "{}")
    assert not old.exists() and new.exists()


def test_a_file_that_cannot_be_renamed_leaves_nothing(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError), unfinished_file(tmp_path / "a") as temporary:
        temporary.write_text("x")
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


# --- what cannot be written ------------------------------------------------------------------------------------------


def test_every_writer_names_the_file_and_the_cure(blocked):
    for attempt in (
        lambda: save_json({}, blocked / "r.json"),
        lambda: check_writable(blocked / "r.json"),
        lambda: play("model", "CartPole-v1", blocked / "v.gif"),
        lambda: check([], blocked / "e.json"),
        lambda: collect([], Plan(str(blocked / "data"))),
        lambda: sole_writer(blocked).__enter__(),
    ):
        with pytest.raises(LDMError, match=r"below.* cannot be written \(Not a directory\); choose a place that can"):
            attempt()


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(LDMError, match=r"cannot be written.*Is a directory"):
        check_writable(tmp_path)


def test_an_output_that_cannot_be_written_costs_no_measurement(blocked, model, processor, tmp_path):
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    with pytest.raises(LDMError, match="cannot be written"):
        evaluate(
            tmp_path / "model",
            ["CartPole-v1"],
            output=blocked / "r.json",
            executor=lambda *_, **__: pytest.fail("measured"),
        )


def test_a_cache_that_cannot_be_made_is_an_error_with_a_cure(blocked, tmp_path, monkeypatch):
    write(tmp_path / "data", make_episodes())
    monkeypatch.setenv("LDM_HF_CACHE", str(blocked / "cache"))
    with pytest.raises(DatasetError, match=r"decoding Toy-v0 into .*below/cache failed .*set LDM_HF_CACHE"):
        open_dataset(tmp_path / "data")


def test_a_damaged_cache_is_named(tmp_path):
    write(tmp_path / "data", make_episodes())
    open_dataset(tmp_path / "data")
    (decoded,) = (tmp_path / "cache").iterdir()
    (decoded / "0.npy").write_bytes(b"\x93NUMPY")
    with pytest.raises(DatasetError, match=f"the cache .*{decoded.name} is damaged .*; remove it"):
        open_dataset(tmp_path / "data")


def test_a_complete_card_is_not_written_again(tmp_path, monkeypatch):
    write(tmp_path, make_episodes())
    write_readme(tmp_path)
    monkeypatch.setattr(card, "write_atomically", lambda *_: pytest.fail("written"))
    write_readme(tmp_path)


@pytest.mark.parametrize("header", ["[", "!!python/name:os.system", "a: b: c", "tags: 5"])
def test_a_damaged_card_is_named_or_repaired(header, tmp_path):
    write(tmp_path, make_episodes())
    path = tmp_path / "README.md"
    path.write_text(f"---\n{header}\n---\nmine\n")
    try:
        write_readme(tmp_path)
    except DatasetError as error:
        assert str(path) in str(error)
    else:
        assert "mine" in path.read_text() and "Toy-v0" in path.read_text()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 704 vs 598"),
        checkpoints.SafetensorError("I/O error: No space left on device (os error 28)"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_full_disk_in_a_checkpoint_says_how_to_go_on(error, tmp_path):
    def save_state(folder):
        os.mkdir(folder)
        raise error

    (tmp_path / "checkpoint-2").mkdir()
    accelerator = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None, save_state=save_state)
    args = TrainingRun(dataset="data", output_dir=str(tmp_path))
    with pytest.raises(CheckpointError, match=r"checkpoint-4 cannot be written \(.*pos|pace.*Up to .*checkpoint-2"):
        save_checkpoint(accelerator, args, Progress(step=4))
    assert [folder.name for folder in tmp_path.iterdir()] == ["checkpoint-2"]


def test_other_errors_in_a_checkpoint_stay_what_they_are(tmp_path):
    def save_state(folder):
        raise RuntimeError("CUDA error")

    accelerator = SimpleNamespace(is_main_process=True, wait_for_everyone=lambda: None, save_state=save_state)
    with pytest.raises(RuntimeError, match="CUDA error"):
        save_checkpoint(accelerator, TrainingRun(dataset="data", output_dir=str(tmp_path)), Progress(step=4))


def test_a_file_that_the_user_named_and_nobody_can_read_is_one_line():
    def command():
        raise PermissionError(errno.EACCES, "Permission denied", "/secret/list.txt")

    with pytest.raises(SystemExit) as ended:
        run(command)
    assert ended.value.code == "error: /secret/list.txt: Permission denied"


# --- terminals -------------------------------------------------------------------------------------------------------


def test_output_without_unicode_gets_a_question_mark(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    print_anywhere()
    print("≥ 80 % \udc80")
    sys.stdout.flush()
    assert written.getvalue() == b"? 80 % ?\n"


def test_the_command_prints_anywhere(tmp_path):
    code = "from ldm_hf.cli.app import run\nfrom ldm_hf.cli.options import console\nrun(lambda: console.print('≥ 80'))"
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True)
    assert (result.returncode, result.stdout) == (0, b"? 80\n"), result.stderr[-2000:]
