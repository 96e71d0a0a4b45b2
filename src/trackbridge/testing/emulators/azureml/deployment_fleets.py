"""The instances that serve a deployment: each is a process of this machine, with a folder of its own."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from trackbridge.testing.emulators.azureml.containers import Containers
from trackbridge.testing.emulators.azureml.core import Cloud
from trackbridge.testing.emulators.azureml.deployment_programs import Program, fetch
from trackbridge.testing.emulators.azureml.scored_requests import Event, Happenings, Line, Usage
from trackbridge.testing.emulators.containers import Answered, Launch, NotServing, Server, free_port

PROCESSES_MAX = 3
"""How many instances are really there; more are counted, and told, but are not started."""
DRAIN_S = 10.0
USAGE_EVERY_S = 1.0


class Limits(NamedTuple):
    """The request settings of a deployment: how many requests an instance gets at once, and for how long."""

    at_once: int
    timeout_s: float


class TooMany(Exception):
    """More requests are pending than the deployment takes."""


class Instance:
    """One process: its name, its folder, and how it is asked."""

    def __init__(self, cloud: Cloud, endpoint_id: str, deployment: str) -> None:
        self._cloud, self.endpoint_id, self.deployment = cloud, endpoint_id.lower(), deployment.lower()
        self.name = f"{deployment}-{secrets.token_hex(4)}"
        self.folder = cloud.part(Containers).folder(self.name)
        self.server = Server(cloud.part(Containers), ready="/")
        self.used = (0.0, time.monotonic())

    def prepare(self, workspace_id: str, program: Program, files: Mapping[str, str]) -> None:
        """Fetch the model and the code.

        Raises:
            NotServing: One of them is not there.
        """
        for asset in program.assets:
            count = fetch(self._cloud, workspace_id, asset, self.folder)
            self.log(f"Downloaded {count} files of {asset.uri} to {asset.target}", "storage-initializer")
        for path, text in files.items():
            target = self.folder / path.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")

    def start(self, program: Program, seconds: float, is_wanted: Callable[[], bool]) -> None:
        """Start the process, and wait until it is ready.

        Raises:
            NotServing: It is not, in time.
        """
        self.server = Server(self._cloud.part(Containers), ready=program.ready, port=free_port())
        command, variables = program.at(self.server.port)
        self.server.run(Launch(command, self.folder, variables, self.log, roots=program.roots))
        self.server.wait_until_ready(seconds, is_wanted)
        self.measure(is_forced=True)
        self.tell("ContainerReady", f"Container of {self.deployment} is ready")

    def stop(self) -> None:
        """End the process, and remove its folder."""
        self.tell("ContainerStopped", f"Container of {self.deployment} was stopped")
        self.server.end()
        self._cloud.part(Containers).discard(None, self.folder)

    def log(self, text: str, container: str = "inference-server") -> None:
        """Keep a line of its output."""
        line = Line(
            time_s=self._cloud.now_s(),
            endpoint_id=self.endpoint_id,
            deployment=self.deployment,
            instance=self.name,
            container=container,
            text=text,
        )
        self._cloud.part(Happenings).add(line)

    def tell(self, name: str, text: str) -> None:
        """Keep an event of its life."""
        event = Event(
            time_s=self._cloud.now_s(),
            endpoint_id=self.endpoint_id,
            deployment=self.deployment,
            instance=self.name,
            name=name,
            text=text,
        )
        self._cloud.part(Happenings).add(event)

    def measure(self, *, is_forced: bool = False) -> None:
        """Keep what it uses of the machine; not more often than each second unless it is forced."""
        container = self.server.container
        before_s, at_s = self.used
        now_s = time.monotonic()
        if container is None or (now_s - at_s < USAGE_EVERY_S and not is_forced):
            return
        found = usage_of(container.group)
        if found is None:
            return
        cpu_s, memory = found
        self.used = (cpu_s, now_s)
        share = 100.0 * (cpu_s - before_s) / max(now_s - at_s, 1e-3) / (os.cpu_count() or 1)
        usage = Usage(
            time_s=self._cloud.now_s(),
            endpoint_id=self.endpoint_id,
            deployment=self.deployment,
            instance=self.name,
            cpu=min(100.0, max(0.0, share)),
            memory=memory,
        )
        self._cloud.part(Happenings).add(usage)


class Fleet:
    """What serves a deployment from one start to the next.

    Args:
        cloud: Where it is.
        deployment_id: Whose.
        program: What runs.
        limits: Request settings.
        files: Further files of each container, by the path that it sees.
    """

    def __init__(
        self, cloud: Cloud, deployment_id: str, program: Program, limits: Limits, files: Mapping[str, str]
    ) -> None:
        self._cloud, self.deployment_id, self.program, self.limits = cloud, deployment_id, program, limits
        self._files = dict(files)
        self._endpoint_id, _, self._name = deployment_id.rsplit("/", 2)
        self._workspace_id = deployment_id.partition("/onlineEndpoints/")[0]
        self._free = threading.Condition()
        self._pending = self._busy = self._turn = 0
        self._is_closed = False
        self._reviving = threading.Lock()
        self.instances: list[Instance] = []
        self.capacity = 0

    def scale(self, capacity: int, seconds: float, is_wanted: Callable[[], bool]) -> None:
        """Start instances, or end those that are too many.

        Raises:
            NotServing: One does not come up; those that were there go on.
        """
        wanted = min(capacity, PROCESSES_MAX)
        made: list[Instance] = []
        try:
            while len(self.instances) + len(made) < wanted:
                try:
                    made.append(Instance(self._cloud, self._endpoint_id, self._name))
                except OSError as error:
                    raise NotServing(str(error)) from error
                made[-1].prepare(self._workspace_id, self.program, self._files)
                made[-1].start(self.program, seconds, is_wanted)
        except BaseException:
            for each in made:
                each.tell("ContainerFailed", "Container did not come up")
                each.stop()
            raise
        with self._free:
            self.instances += made
            gone, self.instances = self.instances[wanted:], self.instances[:wanted]
            self.capacity = capacity
            self._free.notify_all()
        for each in gone:
            each.stop()

    @property
    def pending_max(self) -> int:
        """How many requests may be there at once: twice what is worked on."""
        return 2 * self.limits.at_once * self.capacity

    def ask(
        self, method: str, target: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[Answered, Instance]:
        """Hand a request to an instance that is free, after waiting for one.

        Raises:
            TooMany: Too many are waiting (429).
            TimeoutError: No answer in time (408).
            NotServing: The process is gone; it is started again for those who come later.
        """
        until_s = time.monotonic() + self.limits.timeout_s
        instance = self._enter(until_s)
        try:
            left_s = max(0.001, until_s - time.monotonic())
            answer = instance.server.ask(target, body, headers, left_s, method=method)
            return answer, instance
        except NotServing:
            self._revive(instance)
            raise
        finally:
            instance.measure()
            with self._free:
                self._busy -= 1
                self._pending -= 1
                self._free.notify_all()

    def _enter(self, until_s: float) -> Instance:
        with self._free:
            if self._pending >= self.pending_max:
                raise TooMany
            self._pending += 1
            is_free = self._free.wait_for(
                lambda: self._is_closed or self._busy < self.limits.at_once * self.capacity,
                until_s - time.monotonic(),
            )
            if not is_free or self._is_closed or not self.instances:
                self._pending -= 1
                if is_free:
                    raise NotServing("there is no instance any more")
                raise TimeoutError("no instance was free in time")
            self._busy += 1
            self._turn += 1
            return self.instances[self._turn % len(self.instances)]

    def _revive(self, instance: Instance) -> None:
        """Start a process again that has ended, in a thread; Azure restarts containers so."""
        if instance.server.is_running() or self._is_closed or not self._reviving.acquire(blocking=False):
            return
        instance.tell("ContainerRestarted", "Container has ended, and is started again")

        def work() -> None:
            try:
                with suppress(NotServing):
                    instance.start(self.program, self.limits.timeout_s + 60, lambda: not self._is_closed)
            finally:
                self._reviving.release()

        threading.Thread(target=work, daemon=True).start()

    def is_healthy(self) -> bool:
        """Say whether all instances answer their liveness route."""
        return all(each.server.ping(self.program.live) for each in self.instances)

    def drain(self) -> None:
        """Wait for the requests that are here, then end all instances."""
        with self._free:
            self._free.wait_for(lambda: not self._busy, DRAIN_S)
        self.stop()

    def stop(self) -> None:
        """End all instances."""
        with self._free:
            self._is_closed = True
            gone, self.instances = self.instances, []
            self._free.notify_all()
        for each in gone:
            each.stop()


def usage_of(group: int) -> tuple[float, float] | None:
    """Return the CPU seconds and the share of memory (percent) of a process group; None off Linux."""
    pages = ticks = 0
    if not Path("/proc/self/stat").exists():
        return None
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, IndexError, ValueError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group:
                ticks += int(fields[11]) + int(fields[12])
                pages += int(fields[21])
    total = os.sysconf("SC_PHYS_PAGES")
    return ticks / os.sysconf("SC_CLK_TCK"), 100.0 * pages / total
