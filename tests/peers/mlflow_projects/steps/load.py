"""Writes a table."""

import argparse
import csv
import tempfile
from pathlib import Path

import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=float)
rows = int(parser.parse_args().rows)
with mlflow.start_run(), tempfile.TemporaryDirectory() as folder:
    table = Path(folder, "table.csv")
    with table.open("w", newline="") as file:
        csv.writer(file).writerows((x, 2 * x + x % 3) for x in range(rows))
    mlflow.log_artifact(str(table), "tables")
    mlflow.log_metric("rows", rows)
