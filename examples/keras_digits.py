"""Train a Keras 3 network on scikit-learn's handwritten digits; a callback tracks it, and it stops by itself.

python examples/keras_digits.py

Needs the extra mlflow, keras, torch and scikit-learn. Keras runs on PyTorch here, unless KERAS_BACKEND says
tensorflow or jax: the callback is the same.
"""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")  # before keras is imported

import keras
from sklearn.datasets import load_digits

import trackbridge as tb


class Track(keras.callbacks.Callback):
    """Log the loss of each step and the values of each epoch, and how the network is built."""

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self.step = 0
        tb.log_params({"layers": len(self.model.layers), "weights": self.model.count_params()})
        tb.log_params({"epochs": self.params["epochs"], "rate": float(self.model.optimizer.learning_rate)})
        tb.log_text(self.model.to_json(indent=2), "network.json")

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        tb.log_metric("loss", float((logs or {})["loss"]), step=self.step)
        self.step += 1

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        tb.log_metrics({f"epoch/{name}": float(value) for name, value in (logs or {}).items()}, step=epoch)


keras.utils.set_random_seed(7)
digits = load_digits()
images, labels = digits.images[..., None].astype("float32") / 16, digits.target
network = keras.Sequential(
    [
        keras.layers.Input((8, 8, 1)),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.Flatten(),
        keras.layers.Dense(10, activation="softmax"),
    ]
)
network.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])

tb.set_experiment("digits")
with tb.start_run(run_name="keras"):
    until_no_better = keras.callbacks.EarlyStopping("val_accuracy", patience=2, restore_best_weights=True)
    network.fit(
        images[:1437],
        labels[:1437],
        batch_size=128,
        epochs=5,
        validation_split=0.2,
        callbacks=[Track(), until_no_better],
        verbose=0,
    )
    accuracy = network.evaluate(images[1437:], labels[1437:], verbose=0, return_dict=True)["accuracy"]
    tb.log_metric("test_accuracy", accuracy)
    tb.log_model(network, name="model", input_example=images[:1], registered_model_name="digits-keras")
print(f"{accuracy:.1%} right")
