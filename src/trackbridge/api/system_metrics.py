"""Load of the machine while a run goes on, under mlflow's metric names.

====================================================  ==============================================
``system/cpu_utilization_percentage``                 of all processors, since the sample before
``system/system_memory_usage_megabytes``, ``…_percentage``
``system/disk_usage_megabytes``, ``…_percentage``     of the file system of the current directory
``system/disk_available_megabytes``
``system/disk_read_megabytes_per_second``             of all disks, since the sample before
``system/disk_write_megabytes_per_second``
``system/network_receive_megabytes``                  of all interfaces, since the sampler began
``system/network_transmit_megabytes``
``system/network_receive_megabytes_per_second``       since the sample before
``system/network_transmit_megabytes_per_second``
``system/process_memory_rss_megabytes``               of this process
``system/gpu_<i>_utilization_percentage``             where NVIDIA's library and pynvml are there
``system/gpu_<i>_memory_usage_megabytes``, ``…_percentage``
``system/gpu_<i>_power_usage_watts``, ``…_percentage``
====================================================  ==============================================

A megabyte is 1,000,000 bytes, as in mlflow.
"""

from __future__ import annotations

import importlib
import math
import os
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

from trackbridge.api.extras import require
from trackbridge.errors import InvalidInput

INTERVAL_S_MIN = 0.1  # psutil's own minimum for a meaningful processor load
_STOP_WAIT_S = 2.0
_MEGABYTE = 1e6


class SystemMetricsSampler:
    """Samples the machine on a daemon thread: every ``interval_s``, and once more when it is stopped.

    A forked child has no such thread: the sampler belongs to the process that started it. An error, of
    sampling or of ``log``, ends the sampler with one warning and never reaches the program.

    Args:
        log: Takes the samples, by metric name; called on the sampler's thread.
        interval_s: Seconds from one sample to the next, at least 0.1.

    Raises:
        InvalidInput: The interval is too short or not a finite number.
        MissingExtra: psutil is not installed.
    """

    def __init__(self, log: Callable[[dict[str, float]], None], interval_s: float = 10.0) -> None:
        if not (math.isfinite(interval_s) and interval_s >= INTERVAL_S_MIN):
            raise InvalidInput(
                f"system metrics cannot be sampled every {interval_s} s",
                operation="start_run",
                hint=f"use an interval of {INTERVAL_S_MIN} s or more",
            )
        self._psutil = require("psutil", extra="system", purpose="logging system metrics")
        self._log = log
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._process_id = 0

    @property
    def is_running(self) -> bool:
        """True while samples are taken in this process."""
        thread = self._thread
        return thread is not None and self._process_id == os.getpid() and thread.is_alive()

    def start(self) -> None:
        """Begin; does nothing when it is running."""
        if self.is_running:
            return
        self._stopping = threading.Event()
        self._process_id = os.getpid()
        self._thread = threading.Thread(
            target=self._sample_until_stopped, args=(self._stopping,), name="trackbridge-system", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Take a last sample and end; waits 2 s at most. Stopping again, or after a fork, does nothing."""
        if not self.is_running or self._thread is None:
            return  # after a fork the event's lock may be held by a thread that no longer exists
        self._stopping.set()
        if self._thread is not threading.current_thread():
            self._thread.join(_STOP_WAIT_S)

    def _sample_until_stopped(self, stopping: threading.Event) -> None:
        try:
            readings = MachineReadings(self._psutil)
            while not stopping.wait(self._interval_s):
                self._log(readings.sample())
            if readings.age_s >= INTERVAL_S_MIN:
                self._log(readings.sample())
        except Exception as error:  # a daemon thread has nobody else to tell
            warnings.warn(
                f"system metrics are no longer logged: {type(error).__name__}: {error}",
                RuntimeWarning,
                stacklevel=1,
            )


class MachineReadings:
    """Readings of this machine; rates are taken between one sample and the next.

    Args:
        psutil: The module.
    """

    def __init__(self, psutil: Any) -> None:
        self._psutil = psutil
        self._process = psutil.Process()
        self._gpus = GpuReadings()
        psutil.cpu_percent()  # the first call only begins the measurement
        self._start = self._before = self._counters()
        self._before_s = time.monotonic()

    @property
    def age_s(self) -> float:
        """Seconds since the last sample."""
        return time.monotonic() - self._before_s

    def sample(self) -> dict[str, float]:
        """Return the load since the last sample, by metric name; what cannot be read here is left out."""
        readings = {**self._levels(), **self._flows(), **self._gpus.sample()}
        return {f"system/{name}": float(value) for name, value in readings.items()}

    def _levels(self) -> dict[str, float]:
        memory = self._psutil.virtual_memory()
        disk = self._psutil.disk_usage(".")
        return {
            "cpu_utilization_percentage": self._psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / _MEGABYTE,
            "system_memory_usage_percentage": memory.percent,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / _MEGABYTE,
            "disk_available_megabytes": disk.free / _MEGABYTE,
            "process_memory_rss_megabytes": self._process.memory_info().rss / _MEGABYTE,
        }

    def _flows(self) -> dict[str, float]:
        now, now_s = self._counters(), time.monotonic()
        elapsed_s = max(now_s - self._before_s, 1e-3)
        flows = {
            f"{name}_per_second": max(0.0, now[name] - self._before[name]) / elapsed_s
            for name in now.keys() & self._before.keys()
        }
        flows |= {
            name: max(0.0, now[name] - self._start[name])
            for name in now.keys() & self._start.keys()
            if name.startswith("network_")
        }
        self._before, self._before_s = now, now_s
        return flows

    def _counters(self) -> dict[str, float]:
        """Return what was moved since the machine booted, in megabytes; containers may show none of it."""
        disk, network = self._psutil.disk_io_counters(), self._psutil.net_io_counters()
        counters: dict[str, float] = {}
        if disk is not None:
            counters["disk_read_megabytes"] = disk.read_bytes / _MEGABYTE
            counters["disk_write_megabytes"] = disk.write_bytes / _MEGABYTE
        if network is not None:
            counters["network_receive_megabytes"] = network.bytes_recv / _MEGABYTE
            counters["network_transmit_megabytes"] = network.bytes_sent / _MEGABYTE
        return counters


class GpuReadings:
    """Readings of NVIDIA's GPUs; none where pynvml, the driver or a GPU is missing."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._handles: list[Any] = []
        try:
            nvml: Any = importlib.import_module("pynvml")
        except ImportError:
            return
        try:
            nvml.nvmlInit()
            self._handles = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
        except nvml.NVMLError:  # no driver, or no GPU
            return
        self._nvml = nvml

    def sample(self) -> dict[str, float]:
        """Return the load of each GPU by metric name; what a GPU does not report is left out."""
        readings: dict[str, float] = {}
        for index, handle in enumerate(self._handles if self._nvml else []):
            for read in (self._utilization, self._memory, self._power):
                try:
                    values = read(handle)
                except self._nvml.NVMLError:  # not every model reports everything
                    continue
                readings |= {f"gpu_{index}_{name}": value for name, value in values.items()}
        return readings

    def _utilization(self, handle: Any) -> dict[str, float]:
        return {"utilization_percentage": self._nvml.nvmlDeviceGetUtilizationRates(handle).gpu}

    def _memory(self, handle: Any) -> dict[str, float]:
        memory = self._nvml.nvmlDeviceGetMemoryInfo(handle)
        return {
            "memory_usage_megabytes": memory.used / _MEGABYTE,
            "memory_usage_percentage": memory.used / memory.total * 100,
        }

    def _power(self, handle: Any) -> dict[str, float]:
        used = self._nvml.nvmlDeviceGetPowerUsage(handle) / 1000
        limit = self._nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000
        return {"power_usage_watts": used, "power_usage_percentage": used / limit * 100}
