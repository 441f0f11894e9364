#!/usr/bin/env python
"""Time and memory of importing a large CSV file: hourly rows of many stations, mixed, with 36 sensors each.

python benchmarks/importing.py --gigabytes 0.2 2 --json outputs/benchmarks/importing.json
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as arrow_csv
import yaml
from common import Row, parser, show

from ldm_hf.trajectories import open_dataset

STATIONS, SENSORS = 200, 36
COLUMNS = {
    "name": "Stations-v0",
    "time": "time",
    "entity": "station",
    "step": "1h",
    "observation": {"sensors": {"columns": "sensor*"}, "weather": {"missing": "previous"}},
    "action": {"valve": {"low": 0, "high": 100}, "mode": {"values": ["off", "low", "high"]}},
    "reward": "profit",
}


def write(path: Path, size: float) -> int:
    """Writes a CSV file of at least so many bytes, hour after hour; returns its number of rows."""
    rng = np.random.default_rng(0)
    rows, hour = 0, pd.Timestamp("2020-01-01")
    names = [f"station {number:03}" for number in range(STATIONS)]
    with path.open("wb") as file:
        while file.tell() < size:
            hours = 24
            count = hours * STATIONS
            times = pd.date_range(hour, periods=hours, freq="h").strftime("%Y-%m-%d %H:%M")
            weather = np.repeat(
                np.where(rng.random(hours) < 0.1, "", rng.choice(["dry", "rain", "snow"], hours)), STATIONS
            )
            columns = {"time": np.repeat(times, STATIONS), "station": names * hours, "weather": weather}
            columns |= {f"sensor {at}": rng.normal(100, 10, count).round(3) for at in range(SENSORS)}
            columns |= {
                "valve": rng.uniform(0, 100, count).round(2),
                "mode": rng.choice(["off", "low", "high"], count),
            }
            columns["profit"] = rng.normal(size=count).round(2)
            options = arrow_csv.WriteOptions(include_header=rows == 0, quoting_style="none")
            arrow_csv.write_csv(pa.table(columns), file, options)
            rows, hour = rows + count, hour + pd.Timedelta(hours=hours)
    return rows


# what the kernel knows of this process alone; the resource usage of a child counts the memory that its parent had
RUN = """
import atexit, sys
from ldm_hf.cli.app import app
peak = sys.argv.pop()
def note():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    open(peak, "w").write(status["VmHWM"].split()[0])
atexit.register(note)
app()
"""


def measure(path: Path, folder: Path) -> Row:
    """Runs `ldm import` and asks the system what it took."""
    columns, peak = path.with_suffix(".yaml"), path.with_suffix(".peak")
    columns.write_text(yaml.safe_dump(COLUMNS))
    command = [sys.executable, "-c", RUN, "import", str(path), "--from", "table", "--columns", str(columns)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--to", str(folder), str(peak)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    assert status == 0, f"the import ended with {status}"
    return {
        "time (s)": time.perf_counter() - started,
        "processor (s)": used.ru_utime + used.ru_stime,
        "peak memory (MB)": int(peak.read_text()) * 1024 / 1e6,
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--gigabytes", type=float, nargs="+", default=[0.2, 2.0], help="sizes of the file")
    args = made.parse_args()
    table: list[Row] = []
    for size in args.gigabytes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "stations.csv"
            rows = write(path, size * 1e9)
            found = measure(path, Path(folder) / "data")
            steps = open_dataset(Path(folder) / "data")["Stations-v0"].num_steps
            assert steps == rows, f"{steps} of {rows} rows arrived"
            table.append({"file (GB)": path.stat().st_size / 1e9, "rows": rows, **found})
    show(f"Import of a CSV file: {STATIONS} stations, mixed row by row, {SENSORS + 5} columns", table, args)


if __name__ == "__main__":
    main()
