"""Mutations of files: flipped bits and cut ends, and values that a stranger would put into JSON, YAML and tables."""

import json
import random
import struct

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

MODULE = "module_of_a_stranger"  # its import is a finding
ESCAPES = ("../escaped", "../../escaped", "/tmp/escaped-ldm-hf", "a/../../escaped", "..", ".", "a/b", "a\\..\\b")
NAMES = (
    "",
    " ",
    "CON",
    "a,b",
    "north*",
    "Maze[8x8]",
    "10:15",
    "\ud800",
    "a\nb",
    "x" * 300,
    f"{MODULE}:X-v0",
    "openenv:http://127.0.0.1:9",
)
NUMBERS = (
    0,
    1,
    -1,
    2**31,
    2**63,
    -(2**63),
    10**9,
    10**12,
    10**30,
    -(10**30),
    0.5,
    1e308,
    1e-320,
    float("nan"),
    float("inf"),
)
OTHERS = (
    None,
    True,
    [],
    {},
    "nan",
    [[[]]],
    [None],
    [10**9, 10**9],
    [10**6] * 3,
    {"type": "Box"},
    "x" * 10**5,
    [1] * 10**4,
)
HUGE = {"type": "Box", "dtype": "float64", "shape": [10**6, 10**6], "low": 0, "high": 1}
SPACES = (
    HUGE,
    {"type": "MultiDiscrete", "dtype": "int64", "shape": [10**10], "nvec": 3, "start": 0},
    {"type": "MultiBinary", "dtype": "int8", "shape": [10**10]},
    {"type": "Text", "max_length": 10**12, "min_length": 0, "charset": "ab"},
    {"type": "Discrete", "dtype": "int64", "n": 10**30, "start": 0},
    {"type": "Tuple", "spaces": [HUGE | {"shape": [4000, 4000]}] * 8},
    {"type": "Box", "dtype": "U1000000000", "shape": [2], "low": 0, "high": 1},
    {"type": "Box", "dtype": "O", "shape": [2], "low": "nan", "high": "1e999"},
    {"type": "Box", "dtype": "float32", "shape": [10**6, 30], "low": [0] * 10**6, "high": 1},
)
VALUES = ESCAPES + NAMES + NUMBERS + OTHERS + SPACES
YAML_LINES = (
    f'!!python/object/apply:os.system ["touch {ESCAPES[2]}"]',
    f"!!python/name:{MODULE}.thing",
    "&a [*a]",
    "!!timestamp x",
    "!!int ''",
    "2001-99-99",
    "=",
    "[&x [1,1,1,1,1,1,1,1], &y [*x,*x,*x,*x,*x,*x,*x,*x], &z [*y,*y,*y,*y,*y,*y,*y,*y], &u [*z,*z,*z,*z,*z,*z,*z,*z],"
    " &v [*u,*u,*u,*u,*u,*u,*u,*u], &w [*v,*v,*v,*v,*v,*v,*v,*v], &t [*w,*w,*w,*w,*w,*w,*w,*w]]",
    "[" * 3000,
)


def mutate_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flips, overwrites, removes, repeats or inserts bytes in one to four places."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        if not changed:
            break
        place, length = rng.randrange(len(changed)), rng.choice((1, 2, 4, 16, 64))
        kind = rng.randrange(7)
        if kind == 0:
            changed[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[place] = rng.randrange(256)
        elif kind == 2:
            changed[place : place + length] = rng.choice((b"\x00", b"\xff")) * min(length, len(changed) - place)
        elif kind == 3:
            del changed[place : place + length]
        elif kind == 4:
            changed[place:place] = changed[place : place + length]
        elif kind == 5:
            changed[place:place] = rng.randbytes(length)
        else:
            del changed[place:]
    return bytes(changed)


def mutate_value(rng: random.Random, value: object) -> object:
    """Changes one to three values, keys or entries somewhere in a nested value."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        value = _changed(rng, value)
    return value


def _places(value: object) -> list[tuple[object, object]]:
    """All (container, key) pairs in a nested value."""
    found, waiting = [], [value]
    while waiting:
        inner = waiting.pop()
        pairs = inner.items() if isinstance(inner, dict) else enumerate(inner) if isinstance(inner, list) else ()
        for key, item in pairs:
            found.append((inner, key))
            waiting.append(item)
    return found


def _changed(rng: random.Random, value: object) -> object:
    places = _places(value)
    if not places or rng.random() < 0.02:
        return rng.choice(VALUES)
    # every depth has the same chance, or long lists of numbers would take all
    keys = sorted({str(key) for _, key in places})
    chosen = rng.choice(keys)
    container, key = rng.choice([place for place in places if str(place[1]) == chosen])
    kind = rng.randrange(5)
    if kind == 0:
        del container[key]
    elif kind == 1 and isinstance(container, dict):
        item = container.pop(key)
        container[str(rng.choice(ESCAPES + NAMES))] = item
    elif kind == 2:
        container[key] = container[rng.choice([k for c, k in places if c is container])]
    elif kind == 3 and isinstance(container[key], int | float):
        container[key] = rng.choice((-container[key], container[key] + 1, container[key] * 10**9, str(container[key])))
    else:
        container[key] = json.loads(json.dumps(rng.choice(VALUES)))
    return value


def mutate_json(rng: random.Random, data: bytes) -> bytes:
    """Changes values, or the bytes themselves."""
    chance = rng.random()
    if chance < 0.35:
        return mutate_bytes(rng, data)
    if chance < 0.38:
        return rng.choice((b"", b"[", b"[" * 10**5, b'{"a":' * 10**5, b"9" * 5000, b"null", b"\xff\xfe", b"{}"))
    return json.dumps(mutate_value(rng, json.loads(data))).encode()


def mutate_lines(rng: random.Random, data: bytes) -> bytes:
    """Changes one of the JSON values of a journal, one a line, or the bytes themselves."""
    if rng.random() < 0.4:
        return mutate_bytes(rng, data)
    lines = data.splitlines(keepends=True)
    place = rng.randrange(len(lines))
    lines[place] = mutate_json(rng, lines[place]) + b"\n"
    if rng.random() < 0.2:
        rng.shuffle(lines)
    return b"".join(lines)


def mutate_yaml(rng: random.Random, data: bytes) -> bytes:
    """Changes values, puts in a hostile line, or changes the bytes themselves."""
    chance = rng.random()
    if chance < 0.35:
        return mutate_bytes(rng, data)
    if chance < 0.5:
        lines = data.decode().splitlines()
        place = rng.randrange(len(lines))
        key, colon, _ = lines[place].partition(":")
        lines[place] = f"{key}{colon} {rng.choice(YAML_LINES)}"
        return "\n".join(lines).encode()
    changed = mutate_value(rng, yaml.safe_load(data))
    return yaml.safe_dump(changed, sort_keys=False).encode("utf-8", errors="replace")


def mutate_safetensors(rng: random.Random, data: bytes) -> bytes:
    """Changes the header, or the bytes themselves."""
    if rng.random() < 0.5:
        return mutate_bytes(rng, data)
    size = struct.unpack("<Q", data[:8])[0]
    header = json.dumps(mutate_value(rng, json.loads(data[8 : 8 + size]))).encode()
    told = len(header) if rng.random() < 0.8 else rng.choice((0, 2**40, len(header) - 1))
    return struct.pack("<Q", told) + header + data[8 + size :]


def mutate_parquet(rng: random.Random, data: bytes) -> bytes:
    """Changes bytes, which no reader may take for data."""
    return mutate_bytes(rng, data)


def mutate_table(rng: random.Random, data: bytes) -> bytes:
    """Changes the columns of a shard and writes it anew: types, lengths, missing values, missing columns."""
    table = pq.read_table(pa.BufferReader(data))
    place = rng.randrange(table.num_columns)
    name, column = table.column_names[place], table.column(place)
    kind, rows = rng.randrange(7), column.to_pylist()
    names, spaces = list(table.column_names), b"ldm_hf.spaces"
    if kind == 0:
        table = table.remove_column(place)
    elif kind == 1:
        names[place] = rng.choice(("x", "", name + ".y"))
        table = table.rename_columns(names)
    elif kind == 2:
        rows[rng.randrange(len(rows))] = None
    elif kind == 3 and isinstance(rows[0], list):
        rows[rng.randrange(len(rows))] = rng.choice(([], rows[0] * 2, [None] * len(rows[0])))
    elif kind == 4 and isinstance(rows[0], list) and isinstance(rows[0][0], list | bytes):
        row = rng.choice([row for row in rows if len(row) > 1] or rows)
        row[0], row[-1] = row[0][:-1], row[-1] + row[0][:1]
    elif kind == 5:
        table = table.set_column(place, name, pa.array([str(row) for row in rows]))
    else:
        table = table.replace_schema_metadata({spaces: mutate_json(rng, table.schema.metadata[spaces])})
    if kind in (2, 3, 4):
        table = table.set_column(place, name, pa.array(rows, column.type))
    out = pa.BufferOutputStream()
    pq.write_table(table, out, write_page_checksum=True)
    return out.getvalue().to_pybytes()
