"""Move everything from SageMaker to Azure ML: plan, show, ask, apply, check.

python examples/migrate_sagemaker_to_azureml.py sagemaker://eu-west-1 azureml: --yes

Credentials are those of the surroundings: `aws configure`, `az login`. Interrupted at any point, the same
command goes on; run again later, it copies what is new or has changed.
"""

from __future__ import annotations

import sys

import trackbridge as tb


def main(source: str = "sagemaker:", target: str = "azureml:", answer: str = "") -> int:
    plan = tb.migrate.plan(source, target)
    print(plan)
    for loss in plan.losses[:20]:  # what Azure ML does not hold as it is, and what is done about it
        print("  ", loss)
    if not plan.changes_something:
        return 0
    if answer != "--yes" and input("Apply this plan? [y/N] ") != "y":
        return 1

    report = plan.apply(on_outcome=lambda outcome: print(outcome.state.value, outcome.subject))
    print(report)
    for outcome in report.remaining:
        print("  remains:", outcome.subject, outcome.error)

    check = tb.migrate.check(source, target, download=True)  # every point and every byte, on both sides
    print(check.counts)
    for item in check.differences:
        print(item.symbol, item.subject, *item.differences)
    return report.exit_code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
