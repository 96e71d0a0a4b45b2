"""A world without real time: waiting moves the clock."""

import random

import pytest

from trackbridge.calls import World
from trackbridge.ports.capabilities import SUPPORTED, Absence, Capabilities, Feature, absent


class Clock:
    def __init__(self):
        self.now_s = 1000.0
        self.waits = []

    def __call__(self):
        return self.now_s

    def wait(self, seconds):
        self.waits.append(seconds)
        self.now_s += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def world(clock):
    return World(clock_s=clock, rng=random.Random(7), wait=clock.wait)


@pytest.fixture
def capabilities():
    return Capabilities(
        adapter="fake",
        features={
            Feature.TRACKING_METRIC_HISTORY: SUPPORTED,
            Feature.TRACKING_TRACES: absent(Absence.NOT_OFFERED, "it has no traces"),
        },
    )
