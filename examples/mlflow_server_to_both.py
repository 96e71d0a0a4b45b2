"""Move an MLflow server to Azure ML and to SageMaker, and keep both up to date while it is still in use.

python examples/mlflow_server_to_both.py http://mlflow:5000 azureml: sagemaker://eu-west-1

Run it as often as you like, by cron for example: each time it copies what is new or has changed since. One
target that is down does not keep the other from being brought up to date.
"""

from __future__ import annotations

import sys

import trackbridge as tb


def main(source: str, *targets: str) -> int:
    worst = 0
    for target in targets:
        try:
            report = tb.migrate.plan(source, target).apply()
        except tb.BridgeError as error:
            print(f"{target}: {error}")
            worst = max(worst, error.exit_code)
            continue
        print(f"{target}: {report}")
        for outcome in report.remaining:
            print("  remains:", outcome.subject, outcome.error)
        worst = max(worst, report.exit_code)
    return worst


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
