"""Gradient descent with momentum down a parabola."""

import argparse

import mlflow

parser = argparse.ArgumentParser()
parser.add_argument("--rate", type=float)
parser.add_argument("--momentum", type=float)
given = parser.parse_args()
place, speed = 3.0, 0.0
with mlflow.start_run():
    for step in range(5):
        speed = given.momentum * speed - given.rate * 2 * place
        place += speed
        mlflow.log_metric("loss", place * place, step=step)
