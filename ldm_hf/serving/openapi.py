"""The description of the HTTP interface that ``/openapi.json`` gives."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

_OBSERVATION: Json = {
    "description": "what env.reset or env.step returned; arrays as nested lists, one more axis first with lanes"
}
_ACTION: Json = {"description": "a member of the action space; one more axis first with lanes"}
_FLAG: Json = {"description": "true or false, or a list with one for each lane"}
_LANES: Json = {"type": "array", "items": {"type": "integer"}, "description": "numbers of lanes; all by default"}
_SPACE: Json = {"type": "object", "description": "a space as ldm_hf.spaces.space_to_json writes it"}
_SETTINGS: Json = {
    "deterministic": {"type": "boolean", "description": "take the most likely action instead of a sample"},
    "temperature": {"type": "number", "exclusiveMinimum": 0, "description": "temperature of the samples"},
}
_STEP: Json = {
    "observation": _OBSERVATION,
    "reward": {"description": "a number, or a list with one for each lane; left out after env.reset"},
    "terminated": _FLAG,
    "truncated": _FLAG,
    "info": {"type": "object", "description": "only action_mask is read: the legal choices"},
    "present": _FLAG,
    "episode_start": {"description": "given in the place of reward and flags: act without rewards"},
}
_EPISODES: Json = {
    "type": "array",
    "items": {"type": "object"},
    "description": "observation, action, reward, and perhaps terminated and truncated: T steps each, as nested lists",
}
_OPEN: Json = {
    "environment": {"type": "string", "description": "an environment that the model knows"},
    "observation_space": _SPACE,
    "action_space": _SPACE,
    "lanes": {"type": "integer", "minimum": 1, "description": "environments that are stepped together"},
    "autoreset": {"type": "string", "enum": ["SameStep", "NextStep", "Disabled"]},
    "task": {"type": "string", "description": "task text; by default that of the environment"},
    "seed": {"type": "integer", "minimum": 0},
    **_SETTINGS,
}
METHODS: dict[str, tuple[str, Json, list[str]]] = {
    "act": ("Chooses the next action.", _STEP | _SETTINGS, ["observation"]),
    "show": (
        "Takes in whole episodes of somebody else.",
        {"episodes": _EPISODES, "lanes": _LANES},
        ["episodes"],
    ),
    "watch": (
        "Takes in a step that somebody else decides; says what the model would do.",
        _STEP | {"action": _ACTION},
        ["observation", "action"],
    ),
    "executed": (
        "Tells what was done in the place of the action chosen last.",
        {"action": _ACTION, "lanes": _LANES},
        ["action"],
    ),
    "clear": ("Cuts the history of some lanes.", {"lanes": _LANES}, []),
    "reset": ("Forgets everything.", {}, []),
}
"""The methods of a stream that are called by POST: what they do, their arguments, and those that are needed."""


def document(about: Json) -> Json:
    """The description of a server, in OpenAPI 3.1."""
    by_id = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    paths: Json = {
        "/healthz": {"get": _operation("Says that the server lives.")},
        "/metrics": {"get": _operation("Counts for Prometheus.", kind="text/plain")},
        "/v1/model": {"get": _operation("The model, its environments and the limits of the server.")},
        "/v1/environments/{name}": {
            "get": _operation("The spaces of an environment that the model knows."),
            "parameters": [by_id[0] | {"name": "name"}],
        },
        "/v1/streams": {"post": _operation("Opens a stream: one client's history.", _schema(_OPEN, []), status="201")},
        "/v1/streams/{id}": {
            "get": _operation("What the stream is."),
            "delete": _operation("Closes the stream.", status="204"),
            "parameters": by_id,
        },
        "/v1/streams/{id}/state": {
            "get": _operation("The history as a file, which LDMAgent.load_state reads, too.", kind=_BYTES),
            "put": _operation(
                "Goes on with such a file.", {_BYTES: {"schema": {"type": "string", "format": "binary"}}}
            ),
            "parameters": by_id,
        },
    }
    for name, (summary, properties, needed) in METHODS.items():
        paths[f"/v1/streams/{{id}}/{name}"] = {
            "post": _operation(summary, _schema(properties, needed)),
            "parameters": by_id,
        }
    return {
        "openapi": "3.1.0",
        "info": {"title": f"{about['model']} behind ldm serve", "version": about["server"].split()[-1]},
        "paths": paths,
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}],
    }


_BYTES = "application/octet-stream"


def _schema(properties: Json, needed: list[str]) -> Json:
    return {"application/json": {"schema": {"type": "object", "properties": properties, "required": needed}}}


def _operation(summary: str, body: Json | None = None, status: str = "200", kind: str = "application/json") -> Json:
    error = {"description": 'what is wrong and how to cure it: {"error": {"type", "message"}}'}
    answer: Json = {"description": "done"} | ({} if status == "204" else {"content": {kind: {}}})
    made: Json = {"summary": summary, "responses": {status: answer, "default": error}}
    return made if body is None else made | {"requestBody": {"required": True, "content": body}}
