"""Train a small CNN on scikit-learn's handwritten digits with PyTorch; killed at any point, it can go on.

python examples/pytorch_digits.py --epochs 5
python examples/pytorch_digits.py --epochs 5 --resume RUN_ID     # the id that the first one has printed

Needs the extra mlflow, torch and scikit-learn. Tracked: the loss of every step, loss and accuracy of every
epoch, a checkpoint an epoch as an artifact, the model in the end, which becomes a version of "digits".
"""

from __future__ import annotations

import argparse
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.functional import cross_entropy

import trackbridge as tb

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TEST = 360


def new_network() -> nn.Sequential:
    torch.manual_seed(7)
    first = [nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    second = [nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(32 * 2 * 2, 10)).to(DEVICE)


def save(state: dict[str, Any]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, f"epoch-{state['epoch']:04}.pt")
        torch.save(state, path)
        tb.log_artifact(path, "checkpoints")


def last_checkpoint(run_id: str) -> dict[str, Any]:
    with TemporaryDirectory() as folder:
        paths = [file.path for file in tb.Client().list_artifacts(run_id, "checkpoints")]
        if not paths:
            return {}
        return torch.load(tb.Client().download_artifacts(run_id, max(paths), folder), map_location=DEVICE)


def main(epochs: int, batch: int, rate: float, resume: str | None) -> None:
    digits = load_digits()
    images = torch.tensor(digits.images / 16, dtype=torch.float32, device=DEVICE).unsqueeze(1)
    labels = torch.tensor(digits.target, device=DEVICE)
    network, step, first = new_network(), 0, 0
    optimizer = torch.optim.Adam(network.parameters(), lr=rate)
    tb.set_experiment("digits")
    with tb.start_run(resume) as run:
        if resume and (kept := last_checkpoint(resume)):
            network.load_state_dict(kept["network"])
            optimizer.load_state_dict(kept["optimizer"])
            step, first = kept["step"], kept["epoch"] + 1
        print(f"run {run.info.run_id}, from epoch {first} on", flush=True)
        tb.log_params({"batch": batch, "rate": rate, "device": DEVICE})
        for epoch in range(first, epochs):
            order = torch.randperm(len(images) - TEST, generator=torch.Generator().manual_seed(epoch))
            for chosen in order.split(batch):
                optimizer.zero_grad()
                loss = cross_entropy(network(images[chosen]), labels[chosen])
                loss.backward()
                optimizer.step()
                tb.log_metric("loss", loss.item(), step=step)
                step += 1
            with torch.no_grad():
                right = (network(images[-TEST:]).argmax(dim=1) == labels[-TEST:]).float().mean().item()
            tb.log_metric("accuracy", right, step=epoch)
            state = {"network": network.state_dict(), "optimizer": optimizer.state_dict()}
            save({**state, "step": step, "epoch": epoch})
            print(f"epoch {epoch}: {right:.1%} right", flush=True)
        example = images[:2].cpu().numpy()
        tb.log_model(network.cpu(), name="model", input_example=example, registered_model_name="digits")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--resume", metavar="RUN_ID")
    main(**vars(parser.parse_args()))
