"""Containers without docker, for every emulated cloud: the programs that jobs and models run as."""

from __future__ import annotations

from trackbridge.testing.emulators.containers.images import COMMAND_VARIABLE, Image, Images
from trackbridge.testing.emulators.containers.pool import Containers, base_variables
from trackbridge.testing.emulators.containers.process import Container, Launch, Watchdog
from trackbridge.testing.emulators.containers.serving import Answered, NotServing, Server, free_port

__all__ = [
    "COMMAND_VARIABLE",
    "Answered",
    "Container",
    "Containers",
    "Image",
    "Images",
    "Launch",
    "NotServing",
    "Server",
    "Watchdog",
    "base_variables",
    "free_port",
]
