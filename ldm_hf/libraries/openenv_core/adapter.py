"""OpenEnv: environments behind a server. The messages are those of `openenv.core.EnvClient` 0.3, whose import takes eight seconds of CPU time."""

from __future__ import annotations

import json
import string
from typing import Any
from urllib.request import urlopen

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.errors import UnsupportedSpaceError
from ldm_hf.spaces import space_from_json

BESIDE = ("done", "reward", "metadata")  # fields of every observation or action that carry none
TEXT = 1_000  # characters of an observed text whose length the server does not limit; what is longer is cut off
CHARACTERS = frozenset(string.printable)
SECONDS = 10.0
LARGEST = 100 * 2**20  # bytes of a message


class OpenEnv(gymnasium.Env):
    """A session of a running OpenEnv server.

    The spaces follow from the JSON schemas that the server publishes, and from the first observation where these leave something open. A field
    without bounds that an action needs has to be told; one that it does not need keeps the server's default. An action or observation of one field
    is that field; of several, a Dict of them.

    Args:
        url: of the server, ``http://localhost:8000``.
        observation_space: as `spaces.space_to_json` describes it, a Dict over the fields to see; by default all that can be.
        action_space: likewise, a Dict over the fields to send; others keep the server's defaults.

    Raises:
        UnsupportedSpaceError: if a field of an action, or all of an observation, has no space; names the field.
    """

    metadata = {"render_modes": ["ansi"]}

    def __init__(
        self,
        url: str,
        observation_space: dict[str, Any] | None = None,
        action_space: dict[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        from websockets.sync.client import connect

        self.render_mode = render_mode
        with urlopen(f"{url}/schema", timeout=SECONDS) as reply:
            schemas = json.load(reply)
        self._socket = connect(f"ws{url.removeprefix('http')}/ws", open_timeout=SECONDS, max_size=LARGEST)
        first = self._ask("reset", {})["observation"]
        self._observations = _Fields("observation", schemas["observation"], observation_space, first)
        self._actions = _Fields("action", schemas["action"], action_space)
        self.observation_space, self.action_space = self._observations.space, self._actions.space

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        told = {} if seed is None else {"seed": seed}
        self.latest = self._ask("reset", told | (options or {}))
        return self._observations.read(self.latest["observation"]), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.latest = self._ask("step", self._actions.write(action))
        reward, done = float(self.latest["reward"] or 0), bool(self.latest["done"])
        return self._observations.read(self.latest["observation"]), reward, done, False, {}

    def render(self) -> str:
        """The last observation as the server sent it, and the reward."""
        return f"{json.dumps(self.latest['observation'])} {self.latest['reward']}"

    def close(self) -> None:
        self._socket.close()

    def _ask(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        self._socket.send(json.dumps({"type": kind, "data": data}))
        reply = json.loads(self._socket.recv())  # the worker's time limit holds
        if reply["type"] == "error":
            raise RuntimeError(f"the server says: {reply['data'].get('message')}")
        return reply["data"]


class _Fields:
    """The fields of an action or an observation as one space, and the way from JSON to its members and back."""

    def __init__(
        self, role: str, schema: dict[str, Any], told: dict[str, Any] | None, example: dict[str, Any] | None = None
    ) -> None:
        self._schemas = {
            name: _resolved(field, schema)
            for name, field in schema.get("properties", {}).items()
            if name not in BESIDE
        }
        if told is not None:
            space = space_from_json(told)
            assert isinstance(space, spaces.Dict)
            self._spaces = dict(space.spaces)
        else:
            found = {name: _space(field, (example or {}).get(name)) for name, field in self._schemas.items()}
            required = schema.get("required", ()) if role == "action" else ()
            missing = [name for name in found if found[name] is None and name in required]
            self._spaces = {name: space for name, space in found.items() if space is not None}
            if missing or not self._spaces:
                raise UnsupportedSpaceError(
                    f"the OpenEnv server does not bound the field(s) {', '.join(missing or found)} of its {role}; say what they may be: "
                    f"kwargs of the row, {role}_space, a Dict as space_to_json describes it"
                )
        self._single = next(iter(self._spaces)) if len(self._spaces) == 1 else None
        self.space = self._spaces[self._single] if self._single else spaces.Dict(self._spaces)

    def read(self, values: dict[str, Any]) -> Any:
        """From JSON to a member of the space."""
        members = {name: _member(space, values.get(name), self._choices(name)) for name, space in self._spaces.items()}
        return members[self._single] if self._single else members

    def write(self, member: Any) -> dict[str, Any]:
        """From a member of the space to JSON."""
        members = {self._single: member} if self._single else member
        return {
            name: choices[int(members[name])] if (choices := self._choices(name)) else _plain(members[name])
            for name in self._spaces
        }

    def _choices(self, name: str) -> list[Any] | None:
        return self._schemas.get(name, {}).get("enum")


def _resolved(field: Any, schema: dict[str, Any]) -> Any:
    """A schema without references into its root, and without the ``null`` of what may be missing."""
    if isinstance(field, list):
        return [_resolved(item, schema) for item in field]
    if not isinstance(field, dict):
        return field
    if "$ref" in field:
        return _resolved(schema["$defs"][field["$ref"].rpartition("/")[2]], schema)
    options = [option for option in field.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        return _resolved(options[0], schema)
    return {key: _resolved(value, schema) for key, value in field.items()}


def _space(field: dict[str, Any], example: Any = None) -> gymnasium.Space | None:
    """The space of a field; None if neither the schema nor an example bounds it."""
    kind = field.get("type")
    if "enum" in field:
        return spaces.Discrete(len(field["enum"]))
    if kind == "boolean":
        return spaces.Discrete(2)
    if kind == "string" and ("maxLength" in field or example is not None):
        return spaces.Text(field.get("maxLength", TEXT), min_length=0, charset=CHARACTERS)
    if kind in ("integer", "number"):
        low, high = _bounds(field)
        if kind == "number":
            return spaces.Box(low, high, (), np.float64)
        if np.isfinite([low, high]).all():
            return spaces.Discrete(int(high - low) + 1, start=int(low))
        return None if example is None else spaces.Box(low, high, (), np.float64)
    if kind == "array":
        return _list_space(field, example)
    if kind == "object":
        found = {name: _space(child, (example or {}).get(name)) for name, child in field.get("properties", {}).items()}
        whole = {name: child for name, child in found.items() if child is not None}
        if found and len(whole) == len(found):
            return spaces.Dict(whole)
    return None


def _list_space(field: dict[str, Any], example: Any) -> gymnasium.Space | None:
    """A list, or lists of lists, of numbers of one kind."""
    shape: list[int] = []
    while field.get("type") == "array":
        known = field.get("minItems") is not None and field.get("minItems") == field.get("maxItems")
        if not known and not example:
            return None
        shape.append(field["minItems"] if known else len(example))
        field, example = field.get("items", {}), example[0] if example else None
    if field.get("type") not in ("integer", "number"):
        return None
    low, high = _bounds(field)
    return spaces.Box(low, high, tuple(shape), np.float64)


def _bounds(field: dict[str, Any]) -> tuple[float, float]:
    step = 1 if field["type"] == "integer" else 0
    low = field.get("minimum", field.get("exclusiveMinimum", -np.inf) + step)
    high = field.get("maximum", field.get("exclusiveMaximum", np.inf) - step)
    return low, high


def _member(space: gymnasium.Space, value: Any, choices: list[Any] | None = None) -> Any:
    """The member of a space that a JSON value stands for; zeros where it is missing."""
    if isinstance(space, spaces.Dict):
        return {name: _member(child, (value or {}).get(name)) for name, child in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(_member(child, item) for child, item in zip(space.spaces, value, strict=True))
    if isinstance(space, spaces.Text):
        text = "".join(character if character in space.character_set else "?" for character in str(value or ""))
        return text[: space.max_length]
    if isinstance(space, spaces.Discrete):
        if value is None:
            return np.int64(space.start)
        return np.int64(choices.index(value) if choices else value)
    return np.zeros(space.shape, space.dtype) if value is None else np.asarray(value, space.dtype)


def _plain(member: Any) -> Any:
    """A member of a space as JSON."""
    if isinstance(member, dict):
        return {name: _plain(value) for name, value in member.items()}
    if isinstance(member, tuple):
        return [_plain(value) for value in member]
    return member.tolist() if isinstance(member, np.ndarray | np.generic) else member
