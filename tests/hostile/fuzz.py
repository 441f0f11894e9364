"""Reads mutated files. Each must end in an error of this package or in a sound result, within time and memory bounds.

    python -m tests.hostile.fuzz --count 1000 --output found.json --seconds 100

A mutation follows from its kind and its number alone. The same command goes on where it was stopped.
"""

import argparse
import contextlib
import json
import math
import os
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1"}
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

import torch
from transformers.utils import logging

from ldm_hf.errors import LDMError

from .kinds import KINDS
from .mutations import MODULE

PIECE = 50  # mutations after which counts are written
SECONDS = 10.0  # CPU time of reading one file
MEMORY = 2**30  # bytes that reading one file may add to the largest so far
ADDRESS_SPACE = 3 * 2**30  # bytes that it may ask for


class OverTime(BaseException):
    """Reading a file took too long."""


def fuzz(name: str, first: int, count: int) -> tuple[Counter[str], list[str]]:
    """Reads ``count`` mutations of a kind of file from the number ``first`` on.

    Returns:
        How many were refused, read as if nothing had happened, and read as something else that is sound; what should
        not have happened, with the number of the mutation.
    """
    kind, outcomes, findings = KINDS[name], Counter(), []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "outer" / "inner"
        folder.mkdir(parents=True)
        os.environ["LDM_HF_CACHE"] = str(folder / "cache")
        path = kind.make(folder)
        good = path.read_bytes()
        expected = kind.read(folder)
        assert kind.read(folder) == expected
        before = set(Path(scratch).glob("outer/*")) | set(Path(scratch).glob("*"))
        for number in range(first, first + count):
            path.write_bytes(kind.mutate(random.Random(f"{name} {number}"), good))
            try:
                with bounded():
                    outcomes["equal" if kind.read(folder) == expected else "other"] += 1
            except LDMError as error:
                outcomes["refused"] += 1
                if not str(error) or len(str(error)) > 5000:
                    findings.append(f"{name} {number}: an error of {len(str(error))} characters")
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                where = traceback.extract_tb(error.__traceback__)[-1]
                findings.append(
                    f"{name} {number}: {type(error).__name__}: {error!s:.200} ({where.filename}:{where.lineno})"
                )
            outside = set(Path(scratch).glob("outer/*")) | set(Path(scratch).glob("*"))
            if outside != before or Path("/tmp/escaped-ldm-hf").exists():
                findings.append(f"{name} {number}: wrote {outside - before} outside of its folder")
            if MODULE in sys.modules:
                findings.append(f"{name} {number}: imported {MODULE}")
                del sys.modules[MODULE]
            if kind.strict and outcomes["other"]:
                findings.append(f"{name} {number}: read as something else")
                del outcomes["other"]
    return outcomes, findings


@contextlib.contextmanager
def bounded():
    """Bounds time and memory of what is done in the block."""

    def end(*_):
        raise OverTime(f"more than {SECONDS:g} s")

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESS_SPACE, hard))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        signal.setitimer(signal.ITIMER_PROF, 0)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak) * 1024
    if grown > MEMORY:
        raise MemoryError(f"took {grown / 2**20:.0f} MiB more")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=sorted(KINDS), default=sorted(KINDS))
    parser.add_argument("--first", type=int, default=0, help="number of the first mutation")
    parser.add_argument("--count", type=int, default=100, help="number after the last mutation of each kind")
    parser.add_argument("--output", type=Path, help="JSON file of counts; what it has is not done again")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no other piece after so many seconds")
    args = parser.parse_args()
    torch.set_num_threads(1)
    logging.set_verbosity(logging.CRITICAL)
    kept = json.loads(args.output.read_text()) if args.output and args.output.exists() else {}
    started = time.monotonic()
    for name in args.kinds:
        entry = kept.setdefault(name, {"done": args.first, "outcomes": {}, "findings": []})
        while entry["done"] < args.count and time.monotonic() - started < args.seconds:
            piece = min(PIECE, args.count - entry["done"])
            outcomes, findings = fuzz(name, entry["done"], piece)
            entry["done"] += piece
            entry["outcomes"] = dict(sorted((Counter(entry["outcomes"]) + outcomes).items()))
            entry["findings"] += findings
            print("".join(f"{finding}\n" for finding in findings), end="", flush=True)
            if args.output:
                args.output.write_text(json.dumps(kept, indent=1) + "\n")
        print(f"{name}: {entry['done']} {entry['outcomes']}, {len(entry['findings'])} findings", flush=True)
    sys.exit(any(kept[name]["findings"] or kept[name]["done"] < args.count for name in args.kinds))


if __name__ == "__main__":
    main()
