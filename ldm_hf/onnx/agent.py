"""An exported model as an agent: onnxruntime in the place of torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..agent import EnvironmentOrSpaces, LDMAgent
from ..compiled.running import OnnxStep
from ..layout_ldm import EnvironmentLayout
from ..spaces import check_same
from .files import GRAPH, SHAPES, read_layout


class OnnxAgent(LDMAgent):
    """Acts in the environment that a model was exported for (`ldm export --format onnx`), as `LDMAgent` does.

    It needs gymnasium, numpy and onnxruntime, no torch and no transformers.

    Args:
        step: the exported step.
        layout: the environment.
        env: an environment with the spaces of the export, or a vector of such environments; None: one that has them.
        num_envs: number of lanes, only without an environment.
        deterministic: take the most likely action; otherwise actions are sampled.
        temperature: sampling temperature.
        seed: seed of the sampling.

    Raises:
        SpaceMismatchError: if ``env`` has other spaces; lists the differences.
    """

    def __init__(
        self,
        step: OnnxStep,
        layout: EnvironmentLayout,
        env: EnvironmentOrSpaces | None = None,
        num_envs: int | None = None,
        deterministic: bool = True,
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> None:
        self._run, self._exported = step, layout
        spaces = (layout.observation_space, layout.action_space)
        self._set_up(spaces if env is None else env, layout.name, None, num_envs, deterministic, temperature, seed)

    @classmethod
    def from_pretrained(  # type: ignore[override]  # neither processor nor device
        cls,
        folder: str | Path,
        env: EnvironmentOrSpaces | None = None,
        threads: int | None = 1,
        **kwargs: Any,
    ) -> OnnxAgent:
        """Loads an exported model.

        Args:
            folder: folder that `ldm export --format onnx` wrote.
            env: an environment with the spaces of the export, or a vector of such environments; None: one that has
                them.
            threads: number of threads of a step; None: as many as cores.
            **kwargs: further arguments of the class.

        Raises:
            CheckpointError: if a file is missing or damaged, or they do not belong together; names the file.
            MissingExtraError: if onnxruntime is not installed.
        """
        layout, step = read_layout(Path(folder) / SHAPES), OnnxStep(Path(folder) / GRAPH, threads)
        step.check(layout)
        return cls(step, layout, env, **kwargs)

    def _find_layout(self, environment: str | None) -> EnvironmentLayout:
        layout, interface = self._exported, self.interface
        check_same(layout.observation_space, interface.observation_space, f"the observation space of {layout.name}")
        check_same(layout.action_space, interface.action_space, f"the action space of {layout.name}")
        return layout
