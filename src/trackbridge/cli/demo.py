"""``bridge demo``: train on real data, kill a training, see that nothing is lost; serve the best models."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from trackbridge.cli.demo_sweep import CONFIGURATIONS, Configuration, Sweep
from trackbridge.cli.options import example, output_option
from trackbridge.cli.output import Output
from trackbridge.errors import TimedOut

if TYPE_CHECKING:
    from trackbridge.api.client import Client

FLUSH_S = 10.0


@click.command(epilog=example("bridge demo", "bridge demo --home /tmp/demo --runs 3 --json"))
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("bridge-demo"),
    show_default=True,
    help="A folder of its own for the demo; a second demo in it adds its runs.",
)
@click.option(
    "--runs",
    type=click.IntRange(3, len(CONFIGURATIONS)),
    default=5,
    show_default=True,
    help="How many configurations to train.",
)
@click.option(
    "--epochs",
    type=click.IntRange(4, 1000),
    default=30,
    show_default=True,
    help="Passes over the training data, in each run.",
)
@click.option(
    "--parallel",
    type=click.IntRange(1, len(CONFIGURATIONS)),
    default=2,
    show_default=True,
    help="How many runs to train at the same time.",
)
@output_option
def demo(output: Output, home: Path, runs: int, epochs: int, parallel: int) -> None:
    """Train on real data, kill a training, see that nothing is lost; then serve the best models.

    Trains several small networks on the handwritten digits that ship with scikit-learn, in processes of
    their own. One of them is killed (SIGKILL) half-way. Afterwards every call of log_metric that returned,
    by each program's own account, is looked up in the store. Then the best model is registered and deployed
    to a local endpoint, a second one gets 10 % of the requests, and the endpoint is rolled back and deleted.
    """
    from trackbridge.cli.demo_endpoint import ServingDemo
    from trackbridge.cli.demo_report import (
        progress_reporter,
        report_beginning,
        report_end,
        report_results,
    )
    from trackbridge.cli.demo_results import check, read_result, result_record

    _require_packages()
    began = time.monotonic()
    home.mkdir(parents=True, exist_ok=True)
    client = _client(home)
    configurations = CONFIGURATIONS[:runs]
    with _sweep_run(client, configurations, epochs) as parent_run_id:
        report_beginning(output, home, configurations, epochs)
        trainings = Sweep(
            project=home,
            tracking_uri=client.tracking_uri,
            parent_run_id=parent_run_id,
            configurations=configurations,
            epochs=epochs,
            parallel=parallel,
            report=progress_reporter(output),
        ).run()
        results = [read_result(client, training) for training in trainings]
        client.log_dict(parent_run_id, {"runs": [result_record(result) for result in results]}, "proof.json")
    report_results(output, client, results, time.monotonic() - began)
    check(results)
    served = ServingDemo(output, client, results).run()
    report_end(output, home, client, results, served, time.monotonic() - began)


def _require_packages() -> None:
    from trackbridge.api.extras import require

    for module, extra in (
        ("sklearn", "demo"),
        ("matplotlib", "demo"),
        ("mlflow", "mlflow"),
        ("uvicorn", "serve"),
    ):
        require(module, extra=extra, purpose="bridge demo")


def _client(home: Path) -> Client:
    from trackbridge.api.client import Client
    from trackbridge.resolve.home import PROJECT_FOLDER

    return Client(home.resolve() / PROJECT_FOLDER)


@contextlib.contextmanager
def _sweep_run(client: Client, configurations: tuple[Configuration, ...], epochs: int) -> Iterator[str]:
    """Open the run that holds those of the sweep, and end it as the sweep ended."""
    from trackbridge.cli.demo_training import EXPERIMENT

    experiment = client.open_experiment(EXPERIMENT)
    run_id = client.create_run(experiment.experiment_id, run_name="sweep").info.run_id
    client.log_batch(run_id, params={"runs": len(configurations), "epochs": epochs}, tags={"model": "sweep"})
    try:
        yield run_id
    except BaseException as error:
        client.set_terminated(run_id, "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        with contextlib.suppress(TimedOut):  # it is delivered later; what went wrong matters more
            client.flush(FLUSH_S)
        raise
    client.set_terminated(run_id)
    client.flush(FLUSH_S)
