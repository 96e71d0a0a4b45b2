"""Track three trainings, find the best of them, register its model and use it by name.

python examples/quickstart.py

Needs the extra mlflow, and scikit-learn. It tracks to a folder, .bridge, unless BRIDGE_TRACKING_URI names
another place; `bridge runs list` shows the runs, `bridge models show wine` the model, `bridge ui` both.
"""

from __future__ import annotations

from sklearn.datasets import load_wine
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

import trackbridge as tb

EPOCHS = 20

rows, kinds = load_wine(return_X_y=True)
train_x, test_x, train_y, test_y = train_test_split(
    StandardScaler().fit_transform(rows), kinds, random_state=7, stratify=kinds
)


def train(rate: float) -> None:
    with tb.start_run(run_name=f"rate-{rate:g}"):
        tb.log_params({"rate": rate, "epochs": EPOCHS})
        model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=rate, random_state=7)
        for epoch in range(EPOCHS):
            model.partial_fit(train_x, train_y, classes=[0, 1, 2])
            tb.log_metric("loss", log_loss(train_y, model.predict_proba(train_x)), step=epoch)
        tb.log_metric("test_loss", log_loss(test_y, model.predict_proba(test_x)))
        tb.log_metric("accuracy", model.score(test_x, test_y))
        tb.log_model(model, name="model", input_example=test_x[:2])


tb.set_experiment("quickstart")
for rate in (0.0001, 0.001, 0.01):
    train(rate)

best = tb.search_runs(filter_string="metrics.accuracy > 0.5", order_by=["metrics.test_loss"])[0]
version = tb.register_model(f"runs:/{best.info.run_id}/model", "wine")
tb.set_registered_model_alias("wine", "champion", version.version)

champion = tb.load_model("models:/wine@champion")  # anywhere, by anybody who may read there
right = (champion.predict(test_x) == test_y).sum()
print(f"{best.info.run_name} is wine/{version.version}, the champion: {right} of {len(test_y)} right")
