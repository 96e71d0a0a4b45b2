"""Programs that end in every way: ``python processes.py FOLDER HOW...``, each in a fork, so that mlflow is
imported once; ``FOLDER/HOW`` is where it runs, and logs to ``store``, and ``FOLDER/HOW/stderr`` what it says.
"""

import os
import signal
import sys
import threading

os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"

import mlflow


def killed() -> None:
    mlflow.start_run(run_name="killed")
    for step in range(1000):
        mlflow.log_metric("loss", step, step=step, timestamp=step)
    os.kill(os.getpid(), signal.SIGKILL)


def left_open() -> None:
    mlflow.start_run(run_name="outer")
    mlflow.start_run(run_name="inner", nested=True)
    mlflow.log_metric("loss", 1)
    mlflow.MlflowClient().create_run("0", run_name="client's")


def raising() -> None:
    mlflow.start_run(run_name="raising")
    raise ValueError("the training diverged")


def in_a_block() -> None:
    with mlflow.start_run(run_name="block"):
        raise ValueError("the training diverged")


def in_a_thread() -> None:
    thread = threading.Thread(target=lambda: mlflow.start_run(run_name="thread"))
    thread.start()
    thread.join()


def forked() -> None:
    with mlflow.start_run(run_name="parent") as run:
        mlflow.log_metric("before", 1)
        if os.fork() == 0:
            assert mlflow.active_run() is None
            mlflow.MlflowClient().log_metric(run.info.run_id, "by child", 2, timestamp=5)
            with mlflow.start_run(run_name="child's own"):
                mlflow.log_metric("own", 3)
            sys.exit(0)
        _, status = os.wait()
        assert status == 0
        mlflow.log_metric("after", 4)


def sampled() -> None:
    os.environ["MLFLOW_SYSTEM_METRICS_SAMPLING_INTERVAL"] = "0.1"
    mlflow.start_run(run_name="sampled", log_system_metrics=True)
    mlflow.log_metric("loss", 1)


def shared() -> None:
    import trackbridge as tb

    tb.set_tracking_uri(mlflow.get_tracking_uri().removeprefix("bridge+"))
    tb.autolog()
    tb.start_run(run_name="shared")
    mlflow.log_metric("loss", 1)
    mlflow.start_run(run_name="nested", nested=True)


def main(folder: str, *ways: str) -> None:
    for way in ways:
        if os.fork() == 0:
            os.makedirs(f"{folder}/{way}")
            os.chdir(f"{folder}/{way}")
            os.environ["BRIDGE_HOME"] = f"{folder}/{way}/.bridge"
            os.dup2(os.open("stderr", os.O_CREAT | os.O_WRONLY), 2)
            mlflow.set_tracking_uri(f"bridge+file:{folder}/{way}/store")
            globals()[way]()
            return
        os.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
