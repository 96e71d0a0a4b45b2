"""A training that was written for mlflow. before.py and after.py differ in one line: the tracking URI.

python examples/mlflow_program/before.py     # to mlflow's own database
python examples/mlflow_program/after.py      # to where BRIDGE_TRACKING_URI points, or the folder .bridge
"""

from __future__ import annotations

import mlflow
from sklearn.datasets import load_iris
from sklearn.linear_model import SGDClassifier
from sklearn.model_selection import train_test_split

mlflow.set_tracking_uri("sqlite:///mlflow.db")
mlflow.set_experiment("iris")

rows, kinds = load_iris(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(rows, kinds, random_state=7, stratify=kinds)

with mlflow.start_run(run_name="linear"):
    model = SGDClassifier(loss="log_loss", random_state=7)
    mlflow.log_params({"loss": "log_loss", "epochs": 10})
    for epoch in range(10):
        model.partial_fit(train_x, train_y, classes=[0, 1, 2])
        mlflow.log_metric("accuracy", model.score(test_x, test_y), step=epoch)
    mlflow.set_tag("data", "iris")
    mlflow.log_dict({"weights": model.coef_.tolist()}, "weights.json")
    mlflow.sklearn.log_model(
        model, name="model", registered_model_name="iris", pip_requirements=["scikit-learn"]
    )

found = mlflow.search_runs(filter_string="metrics.accuracy > 0.5", order_by=["metrics.accuracy DESC"])
mlflow.MlflowClient().set_registered_model_alias("iris", "champion", "1")
champion = mlflow.pyfunc.load_model("models:/iris@champion")
print(f"{len(found)} run found; the champion says {champion.predict(test_x[:5]).tolist()}")
