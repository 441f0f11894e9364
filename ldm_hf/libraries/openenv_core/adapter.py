"""OpenEnv: environments behind a server, whose spaces follow from JSON schemas.

The messages are those of `openenv.core.EnvClient` 0.3; that client is not used, since its import takes eight seconds
of CPU time.
"""

from __future__ import annotations

import json
import math
import string
from collections.abc import Sequence
from typing import Any, TypedDict
from urllib.request import urlopen

import gymnasium
import numpy as np
from gymnasium import spaces

from ldm_hf.errors import LDMError, SpaceMismatchError, UnsupportedSpaceError, short
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
SECONDS = 10.0  # time limit to connect
LARGEST = 100 * 2**20  # bytes of a message
PARTS, DEPTH = 10_000, 32  # of a schema, whose references may lead to one another
DAMAGE = (LookupError, ValueError, TypeError, AttributeError, AssertionError, OverflowError, RecursionError)


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
            that have a space.
        action_space: Dict over the fields to send, as `spaces.space_to_json` describes it; the others keep the
            server's defaults.
        render_mode: Gymnasium's.

    Raises:
        UnsupportedSpaceError: if a required field of an action, or every field of an observation, has no space; names
            the fields.
        LDMError: if the address is none of the web, or the server answers something else.
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
        if not url.startswith(("http://", "https://")):
            raise LDMError(f"{short(url)} is no address of a server; give one that begins with http:// or https://")
        with urlopen(f"{url}/schema", timeout=SECONDS) as reply:
            schemas = _message(reply.read(LARGEST), "observation", "action")
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
        return _reply(self._socket.recv())  # no time limit here: the worker process has one


def _message(text: str | bytes, *names: str) -> Fields:
    """A JSON object that a server sent; each of ``names`` is an object in it.

    Raises:
        LDMError: if it is something else.
    """
    try:
        message: Fields = json.loads(text)
        if not all(isinstance(message[name], dict) for name in names):
            raise ValueError(f"no {' and '.join(names)} in it")
        return message
    except DAMAGE as error:
        raise LDMError(f"the OpenEnv server answered {short(text)} ({error!r})") from error


def _reply(text: str | bytes) -> Reply:
    """What the server answers to a reset or a step.

    Raises:
        LDMError: if it is an error, or something else.
    """
    message = _message(text, "data")
    data = message["data"]
    if message.get("type") == "error":
        raise LDMError(f"the server says: {data.get('message')!s:.500}")
    reward, done = data.get("reward"), data.get("done", False)
    if not isinstance(data.get("observation"), dict) or not isinstance(reward, int | float | None):
        raise LDMError(
            f"the OpenEnv server answered {short(text)}, without an observation or a reward that is a number"
        )
    if not math.isfinite(reward or 0):
        raise LDMError(f"the OpenEnv server answered the reward {reward}")
    return {"observation": data["observation"], "reward": reward, "done": bool(done)}


class _Fields:
    """The fields of an action or an observation as one space, and the way from JSON to its members and back.

    Args:
        role: ``action`` or ``observation``.
        schema: what the server publishes of it.
        described: the space that the user gave, as JSON; None to derive it from the schema.
        example: values of an observation, which bound what the schema leaves open.

    Raises:
        UnsupportedSpaceError: if a required field of an action, or every field, has no space, or the schema is
            damaged.
    """

    def __init__(self, role: str, schema: Schema, described: SpaceJson | None, example: Fields | None = None) -> None:
        self._role = role
        try:
            self._describe(schema, described, example)
        except DAMAGE as error:
            raise UnsupportedSpaceError(f"the OpenEnv server's schema of its {role} is damaged ({error!r})") from error

    def _describe(self, schema: Schema, described: SpaceJson | None, example: Fields | None) -> None:
        role, left = self._role, [PARTS]
        properties = schema.get("properties", {})
        self._schemas: dict[str, Schema] = {
            name: _resolved(field, schema, DEPTH, left) for name, field in properties.items() if name not in BESIDE
        }
        if described is not None:
            space = space_from_json(described)
            assert isinstance(space, spaces.Dict)
            self._spaces = dict(space.spaces)
        else:
            found = {name: _space(field, (example or {}).get(name)) for name, field in self._schemas.items()}
            bounded: list[Any] = [[name, space] for name, space in found.items() if space is not None]
            required = schema.get("required", ()) if role == "action" else ()
            missing = [name for name in found if found[name] is None and name in required]
            built = space_from_json({"type": "Dict", "spaces": bounded})
            assert isinstance(built, spaces.Dict)
            self._spaces = {name: built[name] for name, _ in bounded}
            if missing or not self._spaces:
                raise UnsupportedSpaceError(
                    f"the OpenEnv server does not bound the field(s) {', '.join(missing or found)} of its {role}; "
                    f"describe them in the row: kwargs, {role}_space, a Dict as space_to_json writes it"
                )
        self._single = next(iter(self._spaces)) if len(self._spaces) == 1 else None
        self.space = self._spaces[self._single] if self._single else spaces.Dict(self._spaces)

    def read(self, values: Fields) -> Observation:
        """The member of the space that JSON values stand for.

        Raises:
            SpaceMismatchError: if they stand for none.
        """
        try:
            members = {
                name: _member(part, values.get(name), self._choices(name)) for name, part in self._spaces.items()
            }
        except DAMAGE as error:
            raise SpaceMismatchError(f"the OpenEnv server's {self._role} {short(values)}: {error!r}") from error
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


def _resolved(field: Json, schema: Schema, depth: int, left: list[int]) -> Json:
    """A part of a schema without references to definitions, and without the ``null`` of values that may be missing.

    Args:
        field: part of the schema.
        schema: the whole schema, with the definitions.
        depth: number of levels that may be below.
        left: number of parts that may follow.

    Raises:
        ValueError: if there are more levels or parts.
    """
    left[0] -= 1
    if not depth or left[0] < 0:
        raise ValueError(f"more than {PARTS:,} parts or {DEPTH} levels")
    if isinstance(field, list):
        return [_resolved(item, schema, depth - 1, left) for item in field]
    if not isinstance(field, dict):
        return field
    if "$ref" in field:
        return _resolved(schema["$defs"][field["$ref"].rpartition("/")[2]], schema, depth - 1, left)
    options = [option for option in field.get("anyOf", ()) if option.get("type") != "null"]
    if len(options) == 1:
        return _resolved(options[0], schema, depth - 1, left)
    return {key: _resolved(value, schema, depth - 1, left) for key, value in field.items()}


def _space(field: Schema, example: Json = None) -> SpaceJson | None:
    """The space of a field as JSON; None if neither the schema nor an example bounds it."""
    kind = field.get("type")
    if "enum" in field:
        return _choice(len(field["enum"]), 0)
    if kind == "boolean":
        return _choice(2, 0)
    if kind == "string" and ("maxLength" in field or example is not None):
        longest = field.get("maxLength", TEXT)
        return {"type": "Text", "max_length": longest, "min_length": 0, "charset": string.printable}
    if kind in ("integer", "number"):
        low, high = _bounds(field)
        if kind == "integer" and np.isfinite([low, high]).all():
            return _choice(int(high - low) + 1, int(low))
        return None if kind == "integer" and example is None else _numbers(low, high, [])
    if kind == "array":
        return _list_space(field, example)
    if kind == "object":
        found = {name: _space(child, (example or {}).get(name)) for name, child in field.get("properties", {}).items()}
        whole = {name: child for name, child in found.items() if child is not None}
        if found and len(whole) == len(found):
            return {"type": "Dict", "spaces": [[name, child] for name, child in whole.items()]}
    return None


def _choice(count: int, start: int) -> SpaceJson:
    return {"type": "Discrete", "n": count, "start": start}


def _numbers(low: float, high: float, shape: list[int]) -> SpaceJson:
    return {"type": "Box", "dtype": "float64", "shape": shape, "low": low, "high": high}


def _list_space(field: Schema, example: Json) -> SpaceJson | None:
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
    return _numbers(low, high, shape)


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
