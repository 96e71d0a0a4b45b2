"""Train a pipeline of scikit-learn; mlflow's autolog tracks all of it, through trackbridge.

python examples/sklearn_autolog.py

Needs the extra mlflow, and scikit-learn. One line of it is ours: the tracking URI `bridge:` sends what mlflow
logs wherever BRIDGE_TRACKING_URI points, by default to the folder .bridge.
"""

from __future__ import annotations

import mlflow
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

mlflow.set_tracking_uri("bridge:")
mlflow.set_experiment("autolog")
mlflow.autolog()

rows, kinds = load_breast_cancer(return_X_y=True, as_frame=True)
train_x, test_x, train_y, test_y = train_test_split(rows, kinds, random_state=7, stratify=kinds)
pipeline = make_pipeline(StandardScaler(), LogisticRegression(C=0.5))
with mlflow.start_run(run_name="pipeline"):
    pipeline.fit(train_x, train_y)
    accuracy = pipeline.score(test_x, test_y)  # autolog keeps this one as well
print(f"{accuracy:.1%} right")
