"""Folders that go to another machine, and what comes back of them."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from ldm_hf.errors import LDMError, UnwritableError
from ldm_hf.utils import shipping
from ldm_hf.utils.shipping import SCRATCH, YOUNG, Changes, Scratch, apply, changes, pack, state, unpack


def contents(folder):
    return {path: bytes(content) for path, content in pack(folder).items()}


@pytest.fixture()
def here(tmp_path):
    folder = tmp_path / "here" / "Pole"
    (folder / "deep").mkdir(parents=True)
    for name in ("old", "kept", "deep/same", ".unfinished-1"):
        (folder / name).write_text(name)
    return folder


def worked_on(here, there):
    """What a task does to a copy of a folder."""
    unpack(pack(here), there)
    before = state(there)
    (there / "new").write_text("new")
    (there / "kept").write_text("KEPT")  # as long as before
    (there / "old").unlink()
    return changes(there, before)


def test_what_a_task_changes_comes_back_and_nothing_else(here, tmp_path):
    before = state(here)
    found = worked_on(here, tmp_path / "there")
    assert sorted(found.written) == ["kept", "new"] and found.removed == ["old"]
    apply(found, here, before)
    assert contents(here) == {"kept": b"KEPT", "new": b"new", "deep/same": b"deep/same"}
    assert os.listdir(here.parent) == ["Pole"]


def test_a_new_folder_comes_back(tmp_path):
    unpack({}, tmp_path / "there")
    (tmp_path / "there" / "a").write_text("a")
    apply(changes(tmp_path / "there", {}), tmp_path / "here" / "Pole", {})
    assert contents(tmp_path / "here" / "Pole") == {"a": b"a"}


def test_a_folder_that_another_has_changed_is_left_alone(here, tmp_path):
    before, found = state(here), worked_on(here, tmp_path / "there")
    (here / "other").write_text("of another command")
    now = contents(here)
    with pytest.raises(LDMError, match="let only one command write there"):
        apply(found, here, before)
    assert contents(here) == now


def test_a_full_disk_changes_nothing(here, tmp_path, monkeypatch):
    before, found = state(here), worked_on(here, tmp_path / "there")

    def full(_):
        raise OSError(28, "No space left on device")

    now = contents(here)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwritableError, match="No space left"):
        apply(found, here, before)
    assert contents(here) == now and os.listdir(here.parent) == ["Pole"]


@pytest.mark.parametrize("path", ["../a", "/tmp/a", "deep/../../a", "", "."])
def test_no_path_leads_out_of_the_folder(here, path):
    before = state(here)
    for found in (Changes({path: np.zeros(1, np.uint8)}, []), Changes({}, [path])):
        with pytest.raises(LDMError, match="no path of a file"):
            apply(found, here, before)
    assert state(here) == before and not (here.parent / "a").exists()


def test_what_a_killed_process_has_left_is_removed(tmp_path, monkeypatch):
    monkeypatch.setattr(shipping.tempfile, "tempdir", str(tmp_path))
    used = Scratch()
    (left := tmp_path / f"{SCRATCH}left").mkdir()
    (young := tmp_path / f"{SCRATCH}young").mkdir()
    for folder in (left, used.path):
        (folder / "file").touch()
        os.utime(folder, (time.time() - 2 * YOUNG,) * 2)
    Scratch().remove()
    assert sorted(tmp_path.iterdir()) == sorted([used.path, young])
    used.remove()
    assert not Path(used.path).exists()
