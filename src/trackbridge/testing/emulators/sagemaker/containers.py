"""SageMaker's containers: they see ``/opt/ml``, and have the keys of a role."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from trackbridge.testing.emulators import containers as shared
from trackbridge.testing.emulators.containers import Container, Launch
from trackbridge.testing.emulators.sagemaker import opt_ml
from trackbridge.testing.emulators.sagemaker.core import Cloud


class Containers(shared.Containers):
    """All containers of an emulator, and what each of them gets."""

    def __init__(self, cloud: Cloud) -> None:
        super().__init__("bridge-sagemaker-", (opt_ml.ROOT,))
        self.cloud = cloud

    def start(
        self,
        command: Sequence[str],
        *,
        folder: Path,
        role: str = "",
        environment: Mapping[str, str],
        on_line: Callable[[str], None],
    ) -> Container:
        """Start a program, with the keys of a role.

        Raises:
            OSError: It is not there, or the emulator was closed.
        """
        variables = self.variables(role) | dict(environment)
        return self.launch(Launch(command, folder, variables, on_line))

    def variables(self, role: str = "") -> dict[str, str]:
        """Return what a container with a role has before its own variables."""
        place = {"AWS_REGION": self.cloud.region, "AWS_DEFAULT_REGION": self.cloud.region}
        return {**place, **self.cloud.role_environment(role)}
