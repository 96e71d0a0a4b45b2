"""The sampler logs mlflow's names, ends with its program's word, and never hurts the program."""

import os
import sys
import threading
import types
import warnings
from typing import Any

import pytest

from trackbridge.api.system_metrics import GpuReadings, MachineReadings, SystemMetricsSampler
from trackbridge.errors import InvalidInput, MissingExtra

WAIT_S = 30


class Log:
    """Keeps samples, and tells when the first has come."""

    def __init__(self) -> None:
        self.samples: list[dict[str, float]] = []
        self.threads: set[str] = set()
        self.has_sample = threading.Event()

    def __call__(self, sample: dict[str, float]) -> None:
        self.samples.append(sample)
        self.threads.add(threading.current_thread().name)
        self.has_sample.set()


def wait_for_end(sampler: SystemMetricsSampler) -> None:
    thread = sampler._thread
    assert thread is not None
    thread.join(WAIT_S)
    assert not sampler.is_running


def test_samples_have_mlflows_names_and_are_numbers() -> None:
    log = Log()
    sampler = SystemMetricsSampler(log, interval_s=0.1)
    sampler.start()
    sampler.start()
    assert log.has_sample.wait(WAIT_S)
    sampler.stop()
    assert not sampler.is_running
    assert log.threads == {"trackbridge-system"}
    sample = log.samples[0]
    for name in (
        "cpu_utilization_percentage",
        "system_memory_usage_megabytes",
        "system_memory_usage_percentage",
        "disk_usage_percentage",
        "disk_usage_megabytes",
        "disk_available_megabytes",
        "process_memory_rss_megabytes",
    ):
        assert sample[f"system/{name}"] >= 0
    assert sample["system/process_memory_rss_megabytes"] > 1
    assert all(type(value) is float for value in sample.values())


def test_nothing_is_logged_after_stop_and_it_can_begin_again() -> None:
    log = Log()
    sampler = SystemMetricsSampler(log, interval_s=0.1)
    sampler.stop()
    for _ in range(2):
        log.has_sample.clear()
        sampler.start()
        assert log.has_sample.wait(WAIT_S)
        sampler.stop()
        wait_for_end(sampler)
    sampler.stop()


def test_a_run_shorter_than_the_interval_has_a_sample(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trackbridge.api.system_metrics.INTERVAL_S_MIN", 0.0)
    log = Log()
    sampler = SystemMetricsSampler(log, interval_s=3600)
    sampler.start()
    sampler.stop()
    wait_for_end(sampler)
    assert len(log.samples) == 1


def test_stop_from_the_log_itself_ends_the_sampler() -> None:
    samplers: list[SystemMetricsSampler] = []
    sampler = SystemMetricsSampler(lambda sample: samplers[0].stop(), interval_s=0.1)
    samplers.append(sampler)
    sampler.start()
    wait_for_end(sampler)


def test_an_error_ends_the_sampler_with_one_warning() -> None:
    def fail(sample: dict[str, float]) -> None:
        raise OSError("disk is gone")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sampler = SystemMetricsSampler(fail, interval_s=0.1)
        sampler.start()
        wait_for_end(sampler)
        sampler.stop()
    messages = [str(warning.message) for warning in caught if warning.category is RuntimeWarning]
    assert messages == ["system metrics are no longer logged: OSError: disk is gone"]


@pytest.mark.parametrize("interval_s", [0, -1, 0.01, float("nan"), float("inf")])
def test_an_impossible_interval_is_refused(interval_s: float) -> None:
    with pytest.raises(InvalidInput):
        SystemMetricsSampler(Log(), interval_s=interval_s)


def test_without_psutil_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    with pytest.raises(MissingExtra) as raised:
        SystemMetricsSampler(Log())
    assert raised.value.hint == "pip install 'trackbridge[system]'"


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_no_sampler_and_stops_without_waiting() -> None:
    sampler = SystemMetricsSampler(Log(), interval_s=0.1)
    sampler.start()
    # As it is when the fork comes while the sampler's thread holds the lock of its event.
    with sampler._stopping._cond:  # type: ignore[attr-defined]
        child = os.fork()
        if child == 0:
            exit_code = 1
            try:
                was_running = sampler.is_running
                sampler.stop()
                exit_code = 3 if was_running else 0
            finally:
                os._exit(exit_code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert sampler.is_running
    sampler.stop()
    wait_for_end(sampler)


class FakePsutil(types.SimpleNamespace):
    """A machine whose counters are set by the test."""

    def __init__(self) -> None:
        memory = types.SimpleNamespace(used=2_000_000, percent=50.0, rss=3_000_000)
        super().__init__(
            disk_bytes=0,
            network_bytes=0,
            Process=lambda: types.SimpleNamespace(memory_info=lambda: memory),
            virtual_memory=lambda: memory,
            disk_usage=lambda path: types.SimpleNamespace(used=4e6, free=5e6, percent=44.4),
            cpu_percent=lambda: 7.0,
        )

    def disk_io_counters(self) -> Any:
        return types.SimpleNamespace(read_bytes=self.disk_bytes, write_bytes=2 * self.disk_bytes)

    def net_io_counters(self) -> Any:
        if self.network_bytes is None:
            return None
        return types.SimpleNamespace(bytes_recv=self.network_bytes, bytes_sent=3 * self.network_bytes)


def test_rates_are_taken_between_samples_and_traffic_since_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("trackbridge.api.system_metrics.time.monotonic", lambda: clock[0])
    machine = FakePsutil()
    machine.network_bytes = 1_000_000_000
    readings = MachineReadings(machine)
    for _ in range(2):
        machine.disk_bytes += 10_000_000
        machine.network_bytes += 4_000_000
        clock[0] += 2
        sample = readings.sample()
    assert sample["system/disk_read_megabytes_per_second"] == 5
    assert sample["system/disk_write_megabytes_per_second"] == 10
    assert sample["system/network_receive_megabytes_per_second"] == 2
    assert sample["system/network_receive_megabytes"] == 8
    assert sample["system/network_transmit_megabytes"] == 24
    assert sample["system/system_memory_usage_megabytes"] == 2
    assert "system/disk_read_megabytes" not in sample


def test_counters_that_a_container_hides_or_that_wrap_do_no_harm() -> None:
    machine = FakePsutil()
    machine.network_bytes = None
    machine.disk_bytes = 100
    readings = MachineReadings(machine)
    machine.disk_bytes = 0
    sample = readings.sample()
    assert sample["system/disk_read_megabytes_per_second"] == 0
    assert not [name for name in sample if "network" in name]


def fake_nvml(*, has_driver: bool) -> types.ModuleType:
    nvml = types.ModuleType("pynvml")

    class NVMLError(Exception):
        """What pynvml raises."""

    def fail(*arguments: object) -> None:
        raise NVMLError

    functions = {
        "NVMLError": NVMLError,
        "nvmlInit": (lambda: None) if has_driver else fail,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUtilizationRates": lambda handle: types.SimpleNamespace(gpu=10 + handle),
        "nvmlDeviceGetMemoryInfo": lambda handle: types.SimpleNamespace(used=1e6, total=4e6),
        "nvmlDeviceGetPowerUsage": lambda handle: 50_000 if handle == 0 else fail(),
        "nvmlDeviceGetEnforcedPowerLimit": lambda handle: 200_000,
    }
    for name, function in functions.items():
        setattr(nvml, name, function)
    return nvml


def test_gpus_are_read_and_what_one_does_not_report_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", fake_nvml(has_driver=True))
    assert GpuReadings().sample() == {
        "gpu_0_utilization_percentage": 10,
        "gpu_0_memory_usage_megabytes": 1,
        "gpu_0_memory_usage_percentage": 25,
        "gpu_0_power_usage_watts": 50,
        "gpu_0_power_usage_percentage": 25,
        "gpu_1_utilization_percentage": 11,
        "gpu_1_memory_usage_megabytes": 1,
        "gpu_1_memory_usage_percentage": 25,
    }


@pytest.mark.parametrize("module", [None, fake_nvml(has_driver=False)])
def test_without_a_gpu_there_are_no_gpu_metrics(module: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", module)
    assert GpuReadings().sample() == {}
