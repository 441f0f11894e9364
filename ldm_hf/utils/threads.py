"""How many threads compute on the CPU, and how they wait for each other, so that training and acting get on beside
other processes, too.

torch computes with OpenMP, whose threads wait for the slowest of them at the end of every operation, and for the next
operation: first in a busy loop, so that they notice at once, then asleep. Where other processes want the cores, the
loop burns the time that would get them on, and every operation waits until its slowest thread has had its turn. Hence
a shorter loop, and fewer threads where the cores are busy as work begins. ``benchmarks/threads.py`` measures both.

OpenMP reads its environment once, when torch is imported; importing ``ldm_hf`` first sets what it reads.
"""

from __future__ import annotations

import os

WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY", "KMP_BLOCKTIME")  # whoever sets one of them has decided
SPINS = 100_000  # of GNU's OpenMP, which torch brings on Linux; 300,000 by default
SAMPLE_SECONDS = 0.2


def set_waiting() -> None:
    """Tells OpenMP in this process, if torch is not imported yet, and in those that it starts how to wait, unless the
    user has."""
    if not any(name in os.environ for name in WAITING):
        os.environ["GOMP_SPINCOUNT"] = str(SPINS)


def fair_threads(processes: int = 1) -> int:
    """Threads that make use of this process's share of the cores beside what other processes do at this moment.

    With a thread on each of ``C`` cores, beside ``B`` threads of others, a process gets the share ``C / (C + B)`` of
    them. So many threads, rounded, do not wait for each other longer than they must. It is measured once, as work
    begins, not while it goes on: how many threads add up a sum decides its last digits.

    Args:
        processes: that share the work and do not count as others; where there are several, each gets its part of all
            cores, since what else is
            busy may be one of them.
    """
    mine = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    if processes > 1:
        return max(1, len(mine) // processes)
    import psutil

    used = psutil.cpu_percent(SAMPLE_SECONDS, percpu=True)
    busy = float(sum(used[core] for core in mine if core < len(used))) / 100
    return max(1, round(len(mine) ** 2 / (len(mine) + busy)))


def own_threads() -> int | None:
    """``OMP_NUM_THREADS``, unless a launcher may have set it: `accelerate launch` and `torchrun` do so where the user
    has not."""
    launched = "ACCELERATE_MIXED_PRECISION" in os.environ or "LOCAL_RANK" in os.environ
    told = os.environ.get("OMP_NUM_THREADS", "")
    return int(told) if told.isdigit() and not launched else None
