"""Search the best rate of a training by many jobs, each with a run of its own, and register the best model.

python examples/sweep.py
python examples/sweep.py azureml: cpu-cluster
bridge sweep examples/remote_job/job.yaml -P rate=0.001,0.01,0.1 --metric loss --mode min --register wine

The last is the same from the command line. Needs the extras jobs and mlflow, and scikit-learn. Interrupted,
it goes on where it was when it is run again, since its key names it: no trial runs twice.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trackbridge as tb

FOLDER = Path(__file__).parent / "remote_job"


def main(place: str = "local", compute: str = "") -> None:
    needed = (FOLDER / "requirements.txt").read_text().split()
    elsewhere = {} if place == "local" else {"requirements": tuple(needed), "compute": compute or None}
    result = tb.sweep(
        FOLDER / "job.yaml",
        {"rate": [0.001, 0.01, 0.1], "epochs": 5},
        metric="loss",
        mode="min",
        parallel=2,
        key="wine-rate",
        register="wine",
        on=place,
        **elsewhere,
    )
    for trial in result.trials:
        print(f"rate {trial.params['rate']}: loss {trial.value:.4f}")
    print(f"the best rate is {result.best.params['rate']}; its model is wine/{result.version.version}")


if __name__ == "__main__":
    main(*sys.argv[1:])
