"""A forest of scikit-learn on the wine data."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score, log_loss
from wine import split

import trackbridge as tb


def main(depth: int, trees: int) -> None:
    train_x, test_x, train_y, test_y = split()
    with tb.start_run():
        tb.log_params({"model": "forest", "samples": len(train_x)})
        for size in range(trees // 4, trees + 1, max(1, trees // 4)):
            forest = RandomForestClassifier(size, max_depth=depth, random_state=7, n_jobs=1)
            forest.fit(train_x, train_y)
            chances = forest.predict_proba(test_x)
            tb.log_metric("loss", log_loss(test_y, chances), step=size)
            tb.log_metric("accuracy", accuracy_score(test_y, chances.argmax(axis=1)), step=size)
        with TemporaryDirectory() as folder:
            table = Path(folder, "chances.npy")
            np.save(table, chances)
            tb.log_artifact(table, "predictions")
        importances = dict(zip(map(str, range(train_x.shape[1])), forest.feature_importances_, strict=True))
        tb.log_text(json.dumps(importances, indent=1), "importances.json")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--depth", type=float, required=True)
    parser.add_argument("--trees", type=float, required=True)
    given = parser.parse_args()
    main(int(given.depth), int(given.trees))
