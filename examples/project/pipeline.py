"""Steps of the project, one after the other: networks with more and more epochs, until one is good enough."""

from __future__ import annotations

import argparse

import trackbridge as tb


def main(target: float) -> None:
    with tb.start_run():
        for epochs in (2, 8, 32):
            step = tb.run_project(".", "network", {"epochs": epochs}, env_manager="local")
            accuracy = tb.get_run(step.run_id).data.metrics["accuracy"]
            tb.log_metric("accuracy", accuracy, step=epochs)
            if accuracy >= target:
                tb.set_tag("best", step.run_id)
                return
        raise SystemExit(f"no network reaches {target}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--target", type=float, required=True)
    main(parser.parse_args().target)
