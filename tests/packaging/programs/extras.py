"""One use of each extra: ``extras.py NAME`` ends with 0 where it works, else with the hint of the error.

Where the extra is installed alone, its use works. Where the core is alone, each says which extra is missing.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import trackbridge as tb
from trackbridge.errors import AuthError, ConfigError, MissingExtra, NotFound

BRIDGE = str(Path(sys.executable).parent / "bridge")


def system() -> None:
    from trackbridge.api.system_metrics import MachineReadings, SystemMetricsSampler

    sampler = SystemMetricsSampler(lambda sample: None)
    assert any(name.startswith("system/") for name in MachineReadings(sampler._psutil).sample())


def frames() -> None:
    with tb.start_run():
        tb.log_metric("loss", 0.5)
    for library in ("pandas", "polars"):
        assert tb.search_runs().to_frame(library).shape[0] == 1


def images() -> None:
    from trackbridge.api.extras import require

    numpy = require("numpy", extra="images", purpose="the test")
    with tb.start_run() as run:
        tb.log_image(numpy.zeros((4, 4, 3), dtype="uint8"), "black.png")
    assert "black.png" in [item.path for item in tb.Client().list_artifacts(run.info.run_id)]


def demo() -> None:
    from trackbridge.api.extras import require

    for module in ("sklearn", "matplotlib"):
        require(module, extra="demo", purpose="bridge demo")


def mlflow() -> None:
    tb.autolog()


def serve() -> None:
    from trackbridge.serving.packages import SERVE_PACKAGES, require

    for module in SERVE_PACKAGES:
        require(module, extra="serve")


def ui() -> None:
    command = [BRIDGE, "ui", "--port", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stderr is not None
        line = server.stdout.readline()
        if '"ready"' not in line:
            raise MissingExtra("no pages", hint=line + server.stderr.read())
        import json

        import requests

        url = json.loads(line)["url"]
        assert "<html" in requests.get(url, timeout=60).text
        server.terminate()


def jobs() -> None:
    from trackbridge.operations.job_sources.documents import read_document

    Path("job.yaml").write_text("command: python train.py\n")
    read_document(Path("job.yaml"))
    with tb.start_run():
        tb.log_dict({"a": 1}, "a.yaml")


def sweeps() -> None:
    Path("train.py").write_text(
        "import sys, trackbridge as tb\n"
        "with tb.start_run():\n"
        "    tb.log_metric('loss', float(sys.argv[sys.argv.index('--lr') + 1]))\n"
    )
    space = ["-P", "lr=loguniform(1e-4, 1e-1)", "--metric", "loss", "--trials", "2", "--sampler", "tpe"]
    command = [BRIDGE, "sweep", "start", "train.py", *space, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingExtra("no sweep", hint=done.stdout + done.stderr)


def drift() -> None:
    from trackbridge.operations.drift_figures import require_scipy

    require_scipy()


def otel() -> None:
    from trackbridge.operations.telemetry import OtlpExporter

    OtlpExporter("http://127.0.0.1:9")


def databricks() -> None:
    buckets()
    try:
        tb.Client("databricks:").search_experiments()
    except MissingExtra:
        raise
    except (AuthError, ConfigError):  # nobody is signed in, which is asked after everything is there
        pass


def buckets() -> None:
    from trackbridge.operations.uri_files import open_files

    open_files("gs://bucket/folder")


def azure() -> None:
    tb.Client("azureml://00000000-0000-0000-0000-000000000000/group/workspace").get_experiment("1")


def aws() -> None:
    tb.Client("sagemaker://eu-west-1").get_experiment("1")


def spark() -> None:
    done = subprocess.run([BRIDGE, "doctor", "spark:local[1]"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise MissingExtra("no Spark", hint=done.stdout)


def emulators() -> None:
    done = subprocess.run(
        [BRIDGE, "emulate", "sagemaker", "--", sys.executable, "-c", "import os; os.environ['AWS_REGION']"],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise MissingExtra("no emulator", hint=done.stderr)


USES: dict[str, Callable[[], None]] = {
    use.__name__: use
    for use in (
        *(system, frames, images, demo, mlflow, serve, ui, jobs, sweeps, drift, otel, databricks, buckets),
        *(azure, aws, spark, emulators),
    )
}

if __name__ == "__main__":
    try:
        USES[sys.argv[1]]()
    except (MissingExtra, NotFound) as error:
        sys.exit(f"{type(error).__name__}: {error}; {error.hint}")
