"""The training that ``bridge demo`` runs, and an example of how a program is tracked.

It learns to read the handwritten digits that ship with scikit-learn, with a small neural network. Run by
itself, it tracks to whatever ``BRIDGE_TRACKING_URI`` says::

    python -m trackbridge.cli.demo_training --solver adam --learning-rate 0.01 --hidden-units 64
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trackbridge as tb
from trackbridge.cli.demo_proof import Witness

EXPERIMENT = "digits"
MODEL = "model"
BATCH_SIZE = 32
SEED = 0

LogMetric = Callable[[str, float, int], None]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train once, as the command line says."""
    options = _options(arguments)
    data = load_digits()
    tb.set_experiment(EXPERIMENT)
    with ExitStack() as stack:
        run = stack.enter_context(
            tb.start_run(run_name=options.run_name, parent_run_id=options.parent_run_id)
        )
        log_metric: LogMetric = tb.log_metric
        if options.account is not None:  # the demo wants a witness of every call
            log_metric = stack.enter_context(Witness(options.account, run.info.run_id)).log_metric
        train(data, options, log_metric)


def train(data: dict[str, Any], options: argparse.Namespace, log_metric: LogMetric) -> None:
    """Train in the active run, and log how it goes.

    Args:
        data: ``training``, ``validation`` and ``test``, each (images as N x 64, N labels).
        options: What to train; see ``_options``.
        log_metric: ``tb.log_metric``, or something that watches it.
    """
    import numpy as np
    from sklearn import metrics, neural_network  # type: ignore[import-untyped,unused-ignore]

    tb.log_params(
        {
            "solver": options.solver,
            "learning_rate": options.learning_rate,
            "hidden_units": options.hidden_units,
            "epochs": options.epochs,
            "batch_size": BATCH_SIZE,
            "seed": SEED,
        }
    )
    tb.set_tag("model", "multilayer perceptron")
    for part, (images, _) in data.items():
        tb.log_input(images, context=part, name="digits")
    images, labels = data["training"]
    validation_images, validation_labels = data["validation"]
    shuffle = np.random.default_rng(SEED)
    batches = round(len(images) / BATCH_SIZE)
    network = neural_network.MLPClassifier(
        (options.hidden_units,),
        solver=options.solver,
        learning_rate_init=options.learning_rate,
        random_state=SEED,
    )
    step = 0
    for epoch in range(options.epochs):
        for chosen in np.array_split(shuffle.permutation(len(images)), batches):
            network.partial_fit(images[chosen], labels[chosen], classes=range(10))
            step += 1
            log_metric("loss", network.loss_, step)
            log_metric("batch_accuracy", network.score(images[chosen], labels[chosen]), step)
        log_metric("epoch", epoch + 1, step)
        log_metric("validation_accuracy", network.score(validation_images, validation_labels), step)
        log_metric(
            "validation_loss",
            metrics.log_loss(validation_labels, network.predict_proba(validation_images)),
            step,
        )
    test_images, test_labels = data["test"]
    log_metric("test_accuracy", network.score(test_images, test_labels), step)
    tb.log_figure(confusion_figure(test_labels, network.predict(test_images)), "confusion.png")
    # mlflow would try skops first, which imports the whole of scikit-learn and does not hold the optimizer.
    tb.log_model(network, MODEL, input_example=images[:2], serialization_format="cloudpickle")
    tb.note(f"{step:,} steps of {options.solver}; the test set was looked at once, after the last of them.")


def load_digits() -> dict[str, Any]:
    """Return 1797 digits, split into 60 % for training and 20 % each for validation and test."""
    from sklearn import datasets, model_selection  # type: ignore[import-untyped,unused-ignore]

    images, labels = datasets.load_digits(return_X_y=True)
    images = images / 16.0  # grey levels are 0 to 16
    split = model_selection.train_test_split(
        images, labels, test_size=0.4, random_state=SEED, stratify=labels
    )
    training_images, rest_images, training_labels, rest_labels = split
    split = model_selection.train_test_split(
        rest_images, rest_labels, test_size=0.5, random_state=SEED, stratify=rest_labels
    )
    validation_images, test_images, validation_labels, test_labels = split
    return {
        "training": (training_images, training_labels),
        "validation": (validation_images, validation_labels),
        "test": (test_images, test_labels),
    }


def confusion_figure(labels: Any, predicted: Any) -> Any:
    """Return a matplotlib figure of how often each digit (row) was read as each other (column)."""
    from matplotlib.figure import Figure
    from sklearn import metrics  # type: ignore[import-untyped,unused-ignore]

    figure = Figure(figsize=(5, 5), layout="tight")
    metrics.ConfusionMatrixDisplay.from_predictions(labels, predicted, ax=figure.subplots(), colorbar=False)
    return figure


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trackbridge.cli.demo_training", description=main.__doc__)
    parser.add_argument("--run-name", help="name of the run; by default a random one")
    parser.add_argument("--parent-run-id", help="the run of the sweep that this one belongs to")
    parser.add_argument("--solver", choices=("adam", "sgd"), default="adam")
    parser.add_argument("--learning-rate", type=float, default=0.01)
    parser.add_argument("--hidden-units", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=40, help="passes over the training data")
    parser.add_argument("--account", type=Path, help="a file for the witness's account of every call")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
