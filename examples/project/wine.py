"""The wine data that ships with scikit-learn, always split in the same way."""

from __future__ import annotations

from typing import Any

from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split


def split() -> tuple[Any, Any, Any, Any]:
    features, classes = load_wine(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        features, classes, test_size=0.3, random_state=7, stratify=classes
    )
    mean, spread = train_x.mean(axis=0), train_x.std(axis=0)
    return (train_x - mean) / spread, (test_x - mean) / spread, train_y, test_y
