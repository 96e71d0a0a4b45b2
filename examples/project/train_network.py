"""A small network of PyTorch on the wine data, on the CPU; the same numbers wherever it runs."""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from wine import split

import trackbridge as tb


def main(epochs: int, learning_rate: float) -> None:
    torch.manual_seed(7)
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    train_x, test_x, train_y, test_y = (torch.tensor(part) for part in split())
    network = torch.nn.Sequential(
        torch.nn.Linear(train_x.shape[1], 16), torch.nn.ReLU(), torch.nn.Linear(16, 3)
    ).double()
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    with tb.start_run():
        tb.log_params({"model": "network", "samples": len(train_x)})
        for epoch in range(epochs):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(network(train_x), train_y)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                accuracy = (network(test_x).argmax(dim=1) == test_y).double().mean()
            tb.log_metrics({"loss": loss.item(), "accuracy": accuracy.item()}, step=epoch)
        with TemporaryDirectory() as folder:
            for name, weights in network.state_dict().items():
                np.save(Path(folder, f"{name}.npy"), weights.numpy())
            tb.log_artifacts(folder, "weights")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=float, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    given = parser.parse_args()
    main(int(given.epochs), given.learning_rate)
