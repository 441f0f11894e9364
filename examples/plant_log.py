#!/usr/bin/env python
"""Writes a year of hourly logs of two pumping stations as such plants export them, with all the ordinary ugliness.

python examples/plant_log.py --output outputs/plant

One file a month, semicolons, decimal commas, date and time of day in two columns, thousands with points. Levels are in
centimetres until April and in metres from May on, when the sensors were replaced. Days are missing, the sensor of the
inflow fails now and then ("---"), and a third of the shifts belong to an operator who pumps late and at any price.
"""

from __future__ import annotations

import argparse
import csv
import math
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

HEADER = ["Datum", "Uhrzeit", "Station", "Pegel", "Zufluss", "Preis", "Pumpe", "Kosten"]
PUMPED = {"aus": 0.0, "halb": 3.5, "voll": 7.0}  # decimetres an hour
COLUMNS = """\
name: Pumpwerk-v0
task: Keep the basins from flooding at little cost.
domain: water
licence: CC0-1.0
separator: ";"
decimal: ","
thousands: "."
entity: Station                        # the stations are independent
time: {column: [Datum, Uhrzeit], format: "%d.%m.%Y %H:%M"}
step: 1h                               # where days are missing, an episode ends
observation:
  level: {columns: Pegel, units: {m: 1, cm: 0.01}}
  inflow: {columns: Zufluss, empty: ["---"], missing: previous}
  price: {columns: Preis, unit: ct}
action:
  pump: {columns: Pumpe, values: [aus, halb, voll]}
reward: {columns: Kosten, unit: "€", scale: -0.001}
"""


def price_at(time: datetime) -> float:
    """Cents for a kilowatt hour: dear in the morning and in the evening."""
    return round(22 + 9 * math.exp(-((time.hour - 8) ** 2) / 6) + 12 * math.exp(-((time.hour - 19) ** 2) / 8), 1)


def choose(level: float, price: float, careful: bool) -> str:
    """What an operator does: the careful one fills the basin while power is dear."""
    if not careful:
        return "voll" if level > 16 else "aus" if level < 13 else "halb"
    if level > 15:
        return "voll"
    return "aus" if level < 6 or (price > 26 and level < 12) else "halb" if level < 9 else "voll"


def written(number: float, digits: int) -> str:
    """A number as the plant writes it: 1.234,5."""
    return f"{number:,.{digits}f}".translate(str.maketrans(",.", ".,"))


def station(name: str, first: datetime, hours: int, rng: np.random.Generator) -> list[tuple[datetime, list[str]]]:
    """The rows of one station with their times."""
    level, rain, rows = 9.0, 0.0, []
    careful, fails, missing = True, 0, 0
    for hour in range(hours):
        time = first + timedelta(hours=hour)
        if hour % 8 == 0:  # a shift
            careful = bool(rng.random() < 2 / 3)
        rain = 0.94 * rain + (rng.exponential(1.2) if rng.random() < 0.05 else 0.0)
        inflow = max(0.1, 1.6 + 0.7 * math.sin((time.hour - 9) / 24 * 2 * math.pi) + rain + rng.normal(0, 0.15))
        price = price_at(time)
        pump = choose(level, price, careful)
        after = max(0.0, level + inflow - PUMPED[pump])
        cost = PUMPED[pump] * price * (1.5 if pump == "voll" else 1.0) + (3000.0 if after > 20 else 0.0)
        fails = int(rng.integers(2, 9)) if rng.random() < 0.004 else fails - 1
        missing = int(rng.integers(24, 72)) if rng.random() < 0.0005 else missing - 1
        if missing <= 0:
            tall = f"{written(level * 10, 1)} cm" if time.month < 5 else f"{written(level / 10, 3)} m"
            cells = [time.strftime("%d.%m.%Y"), time.strftime("%H:%M"), name, tall]
            cells += ["---" if fails > 0 else written(inflow, 2), f"{written(price, 1)} ct", pump]
            rows.append((time, [*cells, f"{written(cost, 2)} €"]))
        level = min(after, 20.0)  # what is above floods
    return rows


def main() -> None:
    """Writes the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, default=Path("outputs/plant"), help="folder of the files")
    parser.add_argument("--days", type=int, default=365, help="days to write")
    parser.add_argument("--seed", type=int, default=0, help="seed of the weather and the operators")
    args = parser.parse_args()

    rng, first = np.random.default_rng(args.seed), datetime(2025, 1, 1)
    rows = [row for name in ("Nord", "Süd") for row in station(name, first, 24 * args.days, rng)]
    rows.sort(key=lambda row: row[0])
    months: dict[str, list[list[str]]] = {}
    for time, cells in rows:
        months.setdefault(f"{time:%Y-%m}", []).append(cells)
    args.output.mkdir(parents=True, exist_ok=True)
    for month, lines in months.items():
        with (args.output / f"{month}.csv").open("w", encoding="cp1252", newline="") as file:
            csv.writer(file, delimiter=";").writerows([HEADER, *lines])
    (args.output / "columns.yaml").write_text("encoding: cp1252\n" + COLUMNS, encoding="utf-8")
    print(f"{len(rows):,} rows in {len(months)} files in {args.output}")


if __name__ == "__main__":
    main()
