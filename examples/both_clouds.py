"""Track to the old place and the new one at once while a team moves; one that is down delays only itself.

python examples/both_clouds.py azureml: sagemaker://eu-west-1

Each place has a queue of its own in the journal: what one of them cannot take now is delivered later, also
after this program has ended, by a process in the background or by `bridge sync run`; `bridge sync status`
shows what is left. Runs of the time before are copied by `bridge migrate OLD NEW`.
"""

from __future__ import annotations

import sys

from sklearn.datasets import load_diabetes
from sklearn.linear_model import SGDRegressor
from sklearn.preprocessing import StandardScaler

import trackbridge as tb

EPOCHS = 30


def main(old: str, new: str) -> None:
    rows, progression = load_diabetes(return_X_y=True)
    rows = StandardScaler().fit_transform(rows)
    tb.set_tracking_uri([old, new])  # searches and models are read from the first
    tb.set_experiment("diabetes")
    with tb.start_run(run_name="both") as run:
        model = SGDRegressor(eta0=0.001, random_state=7)
        tb.log_params({"eta0": 0.001, "epochs": EPOCHS})
        for epoch in range(EPOCHS):
            model.partial_fit(rows, progression)
            tb.log_metric("r2", model.score(rows, progression), step=epoch)
        tb.log_dict({"coefficients": model.coef_.tolist()}, "model.json")
    print(f"run {run.info.run_id}, the same id in both places")


if __name__ == "__main__":
    main(*sys.argv[1:])
