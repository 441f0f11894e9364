"""The notebooks run from their first cell to their last."""

import os
import sys
from pathlib import Path

import pytest

from . import fork_server

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "docs/notebooks").glob("*.ipynb"))


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    for name in ("model_cards", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    small = {"LDM_HF_NOTEBOOK_STEPS": "300", "LDM_HF_NOTEBOOK_DAYS": "130", "LDM_HF_NOTEBOOK_MINUTES": "0.05"}
    small |= {"LDM_HF_NOTEBOOK_EPISODES": "1", "LDM_HF_NOTEBOOK_UPDATES": "2"}
    for name, value in {**small, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    monkeypatch.setenv("PATH", fork_server.commands(), prepend=os.pathsep)
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert any(cell.get("outputs") for cell in notebook.cells)  # people read it
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
