"""An agent whose model is on a server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np
from gymnasium.vector import AutoresetMode

from ..agent import EnvironmentOrSpaces
from ..demonstrations_ldm import Episodes, read_episodes
from ..errors import ArgumentError, ServerError
from ..interfaces_ldm import by_agent, on_host, read_environment, read_flags, read_step
from ..spaces import Action, Info, Member, Observation, flatten, is_batch, leaves, space_to_json, unflatten
from ..state_ldm import read, write
from .connection import RemoteStream, address_of


class RemoteAgent:
    """Acts in an environment, or in all lanes of a vector environment, by a model on a server (``ldm serve``).

    It has the methods of `LDMAgent`, with the same arguments, results and errors, and needs neither torch nor
    transformers. The history is on the server, one for each agent. An agent is for one thread; another thread makes its
    own.

    Args:
        url: address of the server: ``"ws://host:port"``, ``"wss://host:port"`` with TLS, or ``"host:port"``.
        env: environment to act in; this and the next six are those of `LDMAgent`.
        environment: name under which the model knows it.
        task: task text.
        num_envs: number of lanes.
        deterministic: take the most likely action.
        temperature: sampling temperature.
        seed: seed of the sampling.
        token: what the server wants clients to know.
        certificate: file of the certificates to trust, in PEM; by default those that the system trusts.
        timeout: seconds to wait for an answer.

    Raises:
        ServerError: if the server cannot be reached, is full, or wants another token; by every method, if the
            connection is lost.
    """

    def __init__(
        self,
        url: str,
        env: EnvironmentOrSpaces,
        environment: str | None = None,
        task: str | None = None,
        num_envs: int | None = None,
        deterministic: bool = True,
        temperature: float = 1.0,
        seed: int | None = None,
        token: str | None = None,
        certificate: str | Path | None = None,
        timeout: float = 60.0,
    ) -> None:
        self.url = address_of(url)
        self.interface = read_environment(env, num_envs)
        self.num_envs, self.batched = self.interface.lanes or 1, self.interface.lanes is not None
        self.deterministic, self.temperature = deterministic, temperature
        autoreset = AutoresetMode.NEXT_STEP if self.interface.agents else self.interface.autoreset
        self._hello = {
            "environment": environment,
            "env_id": self.interface.env_id,
            "observation_space": space_to_json(self.interface.observation_space),
            "action_space": space_to_json(self.interface.action_space),
            "task": task,
            "autoreset": autoreset.value,
            "seed": seed,
        }
        self._connection = (token, certificate, timeout)
        self._stream: RemoteStream | None = None
        self._stream = self._connect(self.interface.lanes)

    def _connect(self, lanes: int | None) -> RemoteStream:
        hello = self._hello | {
            "lanes": lanes,
            "deterministic": self.deterministic,
            "temperature": self.temperature,
        }
        return RemoteStream(self.url, hello, *self._connection)

    @property
    def about(self) -> dict[str, Any]:
        """What the server told of itself and of this stream."""
        return self._open.about | self._open.opened

    @property
    def _open(self) -> RemoteStream:
        if self._stream is None:
            raise ServerError(f"this agent is not connected to {self.url}; reset() connects again")
        return self._stream

    def _ask(self, method: str, **message: Any) -> dict[str, Any]:
        return self._open.ask(method, **message)

    def reset(self) -> None:
        """Forgets everything in every lane; connects again if the connection was lost."""
        try:
            self._ask("reset")
        except ServerError:
            self.close()
            self._stream = self._connect(self.interface.lanes)

    def close(self) -> None:
        """Closes the connection; the server forgets the history. `reset` opens another."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def clear(self, lanes: int | Sequence[int] | np.ndarray | None = None) -> None:
        """Cuts the history of some lanes, as `LDMAgent.clear` does."""
        self._ask("clear", lanes=None if lanes is None else np.asarray(lanes))

    def save_state(self, path: str | Path) -> None:
        """Saves the history of all lanes in a file on this machine, which `LDMAgent.load_state` reads, too."""
        write(path, self._ask("save")["state"])

    def load_state(self, path: str | Path) -> None:
        """Goes on where an agent that called `save_state` was; connects again if the connection was lost."""
        state = read(path)
        try:
            self._ask("restore", state=state)
        except ServerError:
            self.reset()
            self._ask("restore", state=state)

    def act(
        self,
        observation: Observation,
        reward: SupportsFloat | np.ndarray | None = None,
        terminated: bool | np.ndarray | None = None,
        truncated: bool | np.ndarray | None = None,
        info: Info | Sequence[Info | None] | None = None,
    ) -> Action:
        """Chooses the next action, as `LDMAgent.act` does."""
        message = self._step(observation, reward, terminated, truncated, info)
        if message is None:  # agents that have all ended
            return {}
        reply = self._ask("act", **message, deterministic=self.deterministic, temperature=self.temperature)
        return self._action(reply)

    def watch(
        self,
        observation: Observation,
        action: Action,
        reward: SupportsFloat | np.ndarray | None = None,
        terminated: bool | np.ndarray | None = None,
        truncated: bool | np.ndarray | None = None,
        info: Info | Sequence[Info | None] | None = None,
    ) -> Action:
        """Watches a step that somebody else decides; the history takes it in as if the agent had acted so.

        Args:
            observation: as for `act`, like the rest.
            action: what is done.
            reward: reward from the last `env.step`.
            terminated: termination flag from the last `env.step`.
            truncated: truncation flag from the last `env.step`.
            info: info that came with the observation.

        Returns:
            What the agent would have done.

        Raises:
            ArgumentError: for a PettingZoo environment.
            SpaceMismatchError: if it is no member of the action space.
        """
        message = self._step(observation, reward, terminated, truncated, info)
        if self.interface.agents or message is None:
            raise ArgumentError("watch() takes the action of one environment or a vector of them")
        return self._action(self._ask("watch", **message, action=action))

    def show(self, episodes: Episodes, lanes: int | Sequence[int] | np.ndarray | None = None) -> None:
        """Shows episodes of somebody else, as `LDMAgent.show` does, each in one message.

        Raises:
            ServerError: if an episode is larger than the server takes.
        """
        interface, some = self.interface, None if lanes is None else np.asarray(lanes)
        for shown in read_episodes(interface.observation_space, interface.action_space, episodes):
            del shown["start"]  # follows from the flags
            self._ask("show", episodes=[shown], lanes=some)

    def _step(self, *step: Any) -> dict[str, Any] | None:
        """The message of a step; None where no lane takes part."""
        told = read_step(self.interface, *step)
        if not told.present.any():
            return None
        message: dict[str, Any] = {"observation": _on_host(told.observation)}
        if told.feedback is not None:
            message |= dict(zip(("reward", "terminated", "truncated"), told.feedback, strict=True))
        if told.mask is not None:
            mask = told.mask
            if isinstance(mask, np.ndarray) and mask.dtype == object and len(mask) == 1:
                mask = mask[0]
            message["info"] = {"action_mask": mask}
        if not told.present.all():
            message["present"] = told.present
        return message

    def _action(self, reply: dict[str, Any], batched: bool | None = None) -> Action:
        space = self.interface.action_space
        parts = _own(space, reply["action"], self.batched if batched is None else batched)
        action = unflatten(space, parts)
        if not self.interface.agents:
            return action
        active = np.asarray(reply.get("active", np.ones(self.num_envs, bool)))
        return by_agent(self.interface, action, active)

    def executed(self, action: Action, lanes: Sequence[int] | np.ndarray | None = None) -> None:
        """Tells what was done in the place of the actions chosen last, as `LDMAgent.executed` does."""
        if self.interface.agents:
            raise ArgumentError("executed() replaces what act() has chosen, in one environment or a vector of them")
        self._ask("executed", action=_on_host(action), lanes=None if lanes is None else np.asarray(lanes))

    def predict(
        self,
        observation: Observation,
        state: RemoteStream | None = None,
        episode_start: np.ndarray | None = None,
        deterministic: bool = False,
    ) -> tuple[Action, RemoteStream]:
        """Chooses actions as `LDMAgent.predict` does; the state is a stream of its own on the server."""
        space, observation = self.interface.observation_space, _on_host(observation)
        batched = self.batched or is_batch(space, observation)
        if state is None:
            count = len(next(iter(flatten(space, observation).values()))) if batched else None
            state = self._connect(count)
        lanes = state.opened["lanes"]
        starts = False if episode_start is None else read_flags("episode_start", episode_start, lanes or 1)
        settings = {"deterministic": deterministic, "temperature": self.temperature}
        reply = state.ask("act", observation=observation, episode_start=starts, **settings)
        return unflatten(
            self.interface.action_space, _own(self.interface.action_space, reply["action"], batched)
        ), state

    def __enter__(self) -> RemoteAgent:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _on_host(value: Member) -> Member:
    """A member with its tensors as arrays."""
    if isinstance(value, dict):
        return {key: _on_host(part) for key, part in value.items()}
    if isinstance(value, tuple):
        return tuple(_on_host(part) for part in value)
    return on_host(value)


def _own(space: Any, action: Any, batched: bool) -> dict[str, Member]:
    """The leaves of an action that came, as `LDMAgent` gives them: arrays that may be written to."""
    parts = flatten(space, action)
    for leaf in leaves(space):
        value = parts[leaf.path]
        if isinstance(value, np.ndarray):
            parts[leaf.path] = value.copy()
        elif batched and isinstance(value, list):  # texts
            parts[leaf.path] = np.array(value, dtype=object)
    return parts


__all__ = ["RemoteAgent", "RemoteStream"]
