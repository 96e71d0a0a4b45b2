"""Models with the extra ``mlflow`` alone: ours, and mlflow's own client through ``bridge:``."""

from __future__ import annotations

import trackbridge as tb

ROWS = [[0.0], [1.0], [2.0]]


def main() -> None:
    """Log a model, register and load it; then do the same as a program that knows mlflow alone."""
    import mlflow
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(ROWS, [1.0, 3.0, 5.0])
    tb.set_tracking_uri("./store")
    tb.set_experiment("models")
    with tb.start_run():
        tb.log_model(model, name="model", registered_model_name="line")
    tb.flush()
    assert [round(float(value)) for value in tb.load_model("models:/line/1").predict(ROWS)] == [1, 3, 5]

    mlflow.set_tracking_uri("bridge:./store")
    mlflow.set_experiment("theirs")
    with mlflow.start_run() as run:
        mlflow.log_param("lr", 0.1)
        mlflow.log_metric("loss", 0.5)
    assert mlflow.get_run(run.info.run_id).data.metrics == {"loss": 0.5}
    assert tb.get_run(run.info.run_id).data.params == {"lr": "0.1"}


if __name__ == "__main__":
    main()
