"""OpenEnv: environments behind a server, whose spaces follow from JSON schemas.

The messages are those of `openenv.core.EnvClient` 0.3; that client is not used, since its import takes eight seconds
of CPU time.
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from typing import Any, TypedDict
from urllib.request import urlopen

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.errors import UnsupportedSpaceError
from ldm_hf.spaces import Action, Info, Observation, SpaceJson, space_from_json

Json = Any
"""A JSON value."""
Fields = dict[str, Json]
"""Values of an observation or an action by the name of the field, as JSON."""
Schema = dict[str, Json]
"""A JSON schema, or that of one field."""
Space = gymnasium.Space[Any]

# fields of the schemas that are no part of an observation or action
BESIDE = ("done", "reward", "metadata")
# characters of an observed text whose length the server does not limit; longer texts are cut off
TEXT = 1_000
CHARACTERS = frozenset(string.printable)
SECONDS = 10.0  # time limit to connect
LARGEST = 100 * 2**20  # bytes of a message


class Reply(TypedDict):
    """What the server answers to a reset or a step."""

    observation: Fields
    reward: float | None
    done: bool


class OpenEnv(gymnasium.Env):
    """A session of a running OpenEnv server.

    The spaces follow from the JSON schemas that the server publishes, and from the first observation where these leave
    something open. A required field of an action that has no bounds must be described by ``action_space``; a field
    that is not required keeps the server's default. An action or observation of one field is that field; of several,
    a Dict of them.

    Args:
        url: address of the server, such as ``http://localhost:8000``.
        observation_space: Dict over the fields to see, as `spaces.space_to_json` describes it; by default all fields
        that
            have a space.
        action_space: Dict over the fields to send, as `spaces.space_to_json` describes it; the others keep the
        server's
            defaults.
        render_mode: Gymnasium's.

    Raises:
        UnsupportedSpaceError: if a required field of an action, or every field of an observation, has no space; names
        the
            fields.
    """

    metadata = {"render_modes": ["ansi"]}

    def __init__(
        self,
        url: str,
        observation_space: SpaceJson | None = None,
        action_space: SpaceJson | None = None,
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

    def reset(self, *, seed: int | None = None, options: dict[str, object] | None = None) -> tuple[Observation, Info]:
        seeded = {} if seed is None else {"seed": seed}
        self.latest = self._ask("reset", seeded | (options or {}))
        return self._observations.read(self.latest["observation"]), {}

    def step(self, action: Action) -> tuple[Observation, float, bool, bool, Info]:
        self.latest = self._ask("step", self._actions.write(action))
        reward, done = float(self.latest["reward"] or 0), bool(self.latest["done"])
        return self._observations.read(self.latest["observation"]), reward, done, False, {}

    def render(self) -> str:
        """The last observation as the server sent it, and the reward."""
        return f"{json.dumps(self.latest['observation'])} {self.latest['reward']}"

    def close(self) -> None:
        self._socket.close()

    def _ask(self, kind: str, data: Fields) -> Reply:
        self._socket.send(json.dumps({"type": kind, "data": data}))
        message = json.loads(self._socket.recv())  # no time limit here: the worker process has one
        if message["type"] == "error":
            raise RuntimeError(f"the server says: {message['data'].get('message')}")
        reply: Reply = message["data"]
        return reply


class _Fields:
    """The fields of an action or an observation as one space, and the way from JSON to its members and back.

    Args:
        role: ``action`` or ``observation``.
        schema: what the server publishes of it.
        described: the space that the user gave, as JSON; None to derive it from the schema.
        example: values of an observation, which bound what the schema leaves open.

    Raises:
        UnsupportedSpaceError: if a required field of an action, or every field, has no space.
    """

    def __init__(self, role: str, schema: Schema, described: SpaceJson | None, example: Fields | None = None) -> None:
        properties = schema.get("properties", {})
        self._schemas: dict[str, Schema] = {
            name: _resolved(field, schema) for name, field in properties.items() if name not in BESIDE
        }
        if described is not None:
            space = space_from_json(described)
            assert isinstance(space, spaces.Dict)
            self._spaces = dict(space.spaces)
        else:
            found = {name: _space(field, (example or {}).get(name)) for name, field in self._schemas.items()}
            required = schema.get("required", ()) if role == "action" else ()
            missing = [name for name in found if found[name] is None and name in required]
            self._spaces = {name: space for name, space in found.items() if space is not None}
            if missing or not self._spaces:
                raise UnsupportedSpaceError(
                    f"the OpenEnv server does not bound the field(s) {', '.join(missing or found)} of its {role}; "
                    f"describe them in the row: kwargs, {role}_space, a Dict as space_to_json writes it"
                )
        self._single = next(iter(self._spaces)) if len(self._spaces) == 1 else None
        self.space = self._spaces[self._single] if self._single else spaces.Dict(self._spaces)

    def read(self, values: Fields) -> Observation:
        """The member of the space that JSON values stand for."""
        members = {name: _member(space, values.get(name), self._choices(name)) for name, space in self._spaces.items()}
        return members[self._single] if self._single else members

    def write(self, member: Action) -> Fields:
        """A member of the space as JSON values."""
        members = {self._single: member} if self._single else member
        return {
            name: choices[int(members[name])] if (choices := self._choices(name)) else _plain(members[name])
            for name in self._spaces
        }

    def _choices(self, name: str) -> list[Json]:
        """The values of an enumeration, in the order of their numbers; empty for other fields."""
        return list(self._schemas.get(name, {}).get("enum", ()))


def _resolved(field: Json, schema: Schema) -> Json:
    """A part of a schema without references to definitions, and without the ``null`` of values that may be missing."""
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


def _space(field: Schema, example: Json = None) -> Space | None:
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


def _list_space(field: Schema, example: Json) -> Space | None:
    """The space of a list of numbers, or of lists of lists; None if its lengths are not known."""
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


def _bounds(field: Schema) -> tuple[float, float]:
    """The smallest and the largest number that a field may have."""
    step = 1 if field["type"] == "integer" else 0
    low = field.get("minimum", field.get("exclusiveMinimum", -np.inf) + step)
    high = field.get("maximum", field.get("exclusiveMaximum", np.inf) - step)
    return low, high


def _member(space: Space, value: Json, choices: Sequence[Json] = ()) -> Observation:
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


def _plain(member: Action) -> Json:
    """A member of a space as JSON."""
    if isinstance(member, dict):
        return {name: _plain(value) for name, value in member.items()}
    if isinstance(member, tuple):
        return [_plain(value) for value in member]
    return member.tolist() if isinstance(member, np.ndarray | np.generic) else member
