"""Trains with several rates, each a run of its own below this one, and keeps the best."""

import argparse

import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--runs", type=float)
parser.add_argument("--metric")
given = parser.parse_args()
with mlflow.start_run():
    losses = {}
    for number in range(int(given.runs)):
        rate = (number + 1) / 10
        with mlflow.start_run(nested=True) as child:
            place = 3.0
            for step in range(5):
                place -= rate * 2 * place
                mlflow.log_metric(given.metric, place * place, step=step)
            mlflow.log_param("rate", rate)
        losses[rate] = place * place
    best = min(losses, key=losses.get)
    mlflow.log_metric(f"best_{given.metric}", losses[best])
    mlflow.set_tag("best_rate", str(best))
