"""Move models from Azure ML to SageMaker, with the runs that made them, unless anything would be lost.

python examples/migrate_azureml_to_sagemaker.py azureml: sagemaker://eu-west-1 'wine*'

The plan is a file that somebody else may read first, and apply: `bridge apply models.plan`. It is refused
when either side has changed since.
"""

from __future__ import annotations

import sys

import trackbridge as tb


def main(source: str = "azureml:", target: str = "sagemaker:", models: str = "*") -> int:
    plan = tb.migrate.plan(source, target, models=[models], transfers=8)
    print(f"{plan}; saved as {plan.save('models.plan')}")

    lost = [loss for loss in plan.losses if not loss.treatment.is_lossless]
    if lost:
        print("SageMaker cannot hold everything:", *lost, sep="\n  ")
        return 3

    report = tb.migrate.load("models.plan").apply(strict=True)
    print(report)
    for outcome in report.remaining:
        print("  remains:", outcome.subject, outcome.error)
    same = tb.migrate.check(source, target, models=[models]).is_same
    print("the same on both sides" if same else "not the same on both sides: bridge check tells where")
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
