"""A program for mlflow alone; only the tracking URI, its first argument, is ours or not."""

import sys

import mlflow
import numpy as np
from mlflow import MlflowClient
from mlflow.models import infer_signature
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

mlflow.set_tracking_uri(sys.argv[1])
mlflow.set_experiment("program")
mlflow.set_experiment_tag("team", "vision")
client, start = MlflowClient(), 1_760_000_000_000
inputs = np.random.default_rng(7).normal(size=(120, 3))
target = (inputs[:, 0] + inputs[:, 1] > 0).astype(int)

mlflow.sklearn.autolog()
with mlflow.start_run(run_name="automatic"):
    found = LogisticRegression(C=0.5, max_iter=200).fit(inputs, target)
    found.score(inputs[:60], target[:60])
mlflow.sklearn.autolog(disable=True)

with mlflow.start_run(run_name="sweep", description="two fits", tags={"stage": "exploration"}) as sweep:
    mlflow.log_params({"solver": "lbfgs", "tolerance": 1e-4, "note": "µ = 0"})
    for number, strength in enumerate((0.1, 1.0)):
        with mlflow.start_run(run_name=f"fit-{number}", nested=True) as child:
            mlflow.log_param("C", strength)
            for step in range(5):
                mlflow.log_metric("loss", strength / (step + 1), step=step, timestamp=start + 1000 * step)
            mlflow.log_metrics({"accuracy": 0.8 + number / 10, "nothing": float("nan")}, timestamp=start)
            model = LogisticRegression(C=strength).fit(inputs, target)
            info = mlflow.sklearn.log_model(
                model,
                name="model",
                signature=infer_signature(inputs, target),
                registered_model_name="wine",
                pip_requirements=["scikit-learn"],
            )
            mlflow.log_text(f"strength {strength}\n", "notes/strength.txt")
            mlflow.log_dict({"strength": strength}, "notes/strength.json")
    mlflow.sklearn.log_model(StandardScaler().fit(inputs), name="scaler", pip_requirements=["scikit-learn"])
    mlflow.set_tags({"best": "fit-1", "reviewed": "no"})
    mlflow.set_tag("reviewed", "yes")
    client.delete_tag(sweep.info.run_id, "best")

failed = client.create_run(sweep.info.experiment_id, start_time=start, run_name="failed")
client.log_metric(failed.info.run_id, "accuracy", 0.1, timestamp=start + 5, step=3)
client.set_terminated(failed.info.run_id, "FAILED", end_time=start + 60_000)
client.delete_run(client.create_run(sweep.info.experiment_id, run_name="deleted").info.run_id)

again = mlflow.register_model(f"runs:/{child.info.run_id}/model", "wine", tags={"why": "again"})
client.update_registered_model("wine", "red or white")
client.set_registered_model_tag("wine", "owner", "ada")
client.set_model_version_tag("wine", "1", "checked", "yes")
client.update_model_version("wine", "1", "the first")
client.set_registered_model_alias("wine", "champion", "2")
client.set_registered_model_alias("wine", "challenger", again.version)
client.delete_registered_model_alias("wine", "challenger")

good = mlflow.search_runs(
    filter_string="metrics.accuracy > 0.5 and params.C != ''", order_by=["metrics.accuracy"]
)
print("found", list(good["tags.mlflow.runName"]), [round(value, 3) for value in good["metrics.loss"]])
print("champion", mlflow.sklearn.load_model("models:/wine@champion").predict(inputs[:5]).tolist())
print("by run", mlflow.pyfunc.load_model(f"runs:/{child.info.run_id}/model").predict(inputs[:5]).tolist())
print("text", mlflow.artifacts.load_text(f"runs:/{child.info.run_id}/notes/strength.txt").strip())
