"""One-time runs, clusters and secrets of the Databricks double; a run really executes its program.

The program runs as Databricks runs it: not as a process of its own, but executed within one that is killed
when the run is cancelled or its cluster ends, with everything that it has started. It sees volumes below the
folder that ``BRIDGE_VOLUMES_ROOT`` names: only on a real cluster they are at ``/Volumes``.

=================  ==========================================================================
limit              source (docs.databricks.com/api: Jobs 2.2, and databricks-sdk-py)
=================  ==========================================================================
idempotency_token  64 characters; the same token is the same run
run_name           4,096 bytes in UTF-8
parameters         10,000 bytes as JSON
logs of an output  the last 5 MB
runs of a listing  1 to 24
=================  ==========================================================================
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trackbridge.testing.emulators.databricks_volumes import MountedVolumes
from trackbridge.testing.emulators.databricks_workspace import refused
from trackbridge.testing.emulators.front import Result, json_result

TOKEN_CHARS_MAX = 64
NAME_BYTES_MAX = 4096
PARAMETERS_BYTES_MAX = 10_000
LOG_BYTES_MAX = 5 * 1024 * 1024
LIST_RUNS_MAX = 24
DEFAULT_NAME = "Untitled"
RUN_VARIABLE = "DATABRICKS_DOUBLE_RUN"
SYSTEM_VARIABLES = ("PATH", "HOME", "LANG", "PYTHONPATH", "COVERAGE_PROCESS_START")
COMPUTE = ("new_cluster", "existing_cluster_id", "environment_key")
ENDED = "TERMINATED"

_TASK_KEY = re.compile(r"[A-Za-z0-9_\-]{1,100}")
_SECRET = re.compile(r"\{\{secrets/([^/{}]+)/([^/{}]+)\}\}")
_SHELL = (
    "import sys; sys.argv = sys.argv[1:]\n"
    "exec(compile(open(sys.argv[0]).read(), sys.argv[0], 'exec'), {'__name__': '__main__'})"
)
"""How Databricks starts a file: within its own Python."""


@dataclass
class Run:
    """One run and how it stands."""

    run_id: int
    user: str
    request: dict[str, Any]
    start_ms: int
    state: str = "QUEUED"
    code: str = ""
    message: str = ""
    begun_ms: int = 0
    done_ms: int = 0
    end_ms: int = 0
    logs: bytes = b""
    is_cancelled: bool = False
    has_timed_out: bool = False
    process: subprocess.Popen[bytes] | None = None
    thread: threading.Thread | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def task(self) -> dict[str, Any]:
        """Its only task."""
        found: dict[str, Any] = self.request["tasks"][0]
        return found


class Jobs:
    """The Jobs API's one-time runs, with the compute and the secrets that they may use.

    Args:
        now_s: The double's clock.
        volumes: What its programs see of volumes.
    """

    def __init__(self, now_s: Callable[[], float], volumes: MountedVolumes) -> None:
        self.clusters: dict[str, str] = {"0101-000000-shared": "shared"}
        """Names of the clusters that are there, by their ids."""
        self.node_types = ["i3.xlarge", "m5d.large", "Standard_DS3_v2"]
        self.runtimes = {
            "14.3.x-scala2.12": "14.3 LTS (includes Apache Spark 3.5.0, Scala 2.12)",
            "15.4.x-scala2.12": "15.4 LTS (includes Apache Spark 3.5.0, Scala 2.12)",
            "15.4.x-cpu-ml-scala2.12": "15.4 LTS ML (includes Apache Spark 3.5.0, Scala 2.12)",
            "16.1.x-scala2.12": "16.1 (includes Apache Spark 3.5.0, Scala 2.12)",
        }
        self.secrets: dict[tuple[str, str], str] = {}
        """Values by scope and key."""
        self.holds = threading.Event()
        """Runs wait for their machine until it is set."""
        self.holds.set()
        self.runs: dict[int, Run] = {}
        self._tokens: dict[str, int] = {}
        self._now_s = now_s
        self._volumes = volumes
        self._lock = threading.Lock()

    def clear(self) -> None:
        """End all runs and forget them."""
        self.holds.set()
        for run in list(self.runs.values()):
            self._cancel(run)
        for run in list(self.runs.values()):
            if run.thread is not None:
                run.thread.join()
        self.runs.clear()
        self._tokens.clear()
        self.secrets.clear()

    def lose_machine(self, run_id: int) -> None:
        """Kill all processes of a run at once, as when its machine has gone."""
        run = self.runs[run_id]
        run.code, run.message = "CLOUD_FAILURE", "The driver's machine was lost"
        _kill(run)

    def answer(self, method: str, path: str, user: str, request: dict[str, Any]) -> Result | None:
        """Answer a route of jobs, clusters or secrets; None for any other."""
        known: dict[tuple[str, str], Callable[[str, dict[str, Any]], Result]] = {
            ("POST", "/api/2.2/jobs/runs/submit"): self._submit,
            ("GET", "/api/2.2/jobs/runs/get"): self._get,
            ("GET", "/api/2.2/jobs/runs/get-output"): self._output,
            ("GET", "/api/2.2/jobs/runs/list"): self._list,
            ("POST", "/api/2.2/jobs/runs/cancel"): self._asked_to_cancel,
            ("GET", "/api/2.1/clusters/list"): self._list_clusters,
            ("GET", "/api/2.1/clusters/list-node-types"): self._list_node_types,
            ("GET", "/api/2.1/clusters/spark-versions"): self._list_runtimes,
            ("GET", "/api/2.0/secrets/list"): self._list_secrets,
        }
        route = known.get((method, path))
        return None if route is None else route(user, request)

    # Submission.

    def _submit(self, user: str, request: dict[str, Any]) -> Result:
        token = str(request.get("idempotency_token") or "")
        with self._lock:
            if token and token in self._tokens:
                return json_result(200, {"run_id": self._tokens[token]})
            problem = self._problem(request)
            if problem is not None:
                return refused(400, "INVALID_PARAMETER_VALUE", problem)
            run_id = 1000 + len(self.runs)
            run = Run(run_id=run_id, user=user, request=request, start_ms=self._now_ms())
            run.thread = threading.Thread(target=self._execute, args=(run,), daemon=True)
            self.runs[run_id] = run
            if token:
                self._tokens[token] = run_id
        run.thread.start()
        return json_result(200, {"run_id": run_id})

    def _problem(self, request: dict[str, Any]) -> str | None:
        """Return why a request is wrong."""
        if len(str(request.get("idempotency_token") or "")) > TOKEN_CHARS_MAX:
            return f"The idempotency token is longer than {TOKEN_CHARS_MAX} characters"
        if len(str(request.get("run_name") or "").encode()) > NAME_BYTES_MAX:
            return f"The run name is longer than {NAME_BYTES_MAX} bytes"
        tasks = request.get("tasks")
        if not isinstance(tasks, list) or len(tasks) != 1:
            return "The double runs one task"
        task = tasks[0]
        if not _TASK_KEY.fullmatch(str(task.get("task_key") or "")):
            return "The task key is missing or wrong"
        if sum(name in task for name in COMPUTE) != 1:
            return f"A task has exactly one of {', '.join(COMPUTE)}"
        return _program_problem(task) or self._compute_problem(task, request)

    def _compute_problem(self, task: dict[str, Any], request: dict[str, Any]) -> str | None:
        if "existing_cluster_id" in task:
            cluster_id = task["existing_cluster_id"]
            return None if cluster_id in self.clusters else f"Cluster {cluster_id} does not exist"
        if "environment_key" in task:
            keys = {item.get("environment_key") for item in request.get("environments") or ()}
            is_there = task["environment_key"] in keys
            return None if is_there else f"There is no environment {task['environment_key']!r}"
        cluster = task["new_cluster"]
        if cluster.get("node_type_id") not in self.node_types:
            return f"Node type {cluster.get('node_type_id')!r} is not supported"
        if cluster.get("spark_version") not in self.runtimes:
            return f"Spark version {cluster.get('spark_version')!r} is not supported"
        is_single = (cluster.get("spark_conf") or {}).get("spark.databricks.cluster.profile") == "singleNode"
        if not isinstance(cluster.get("num_workers"), int) or (cluster["num_workers"] == 0) != is_single:
            return "A cluster without workers, and no other, has the profile singleNode"
        return None

    # Execution.

    def _execute(self, run: Run) -> None:
        run.state = "PENDING"
        while not self.holds.wait(0.02):
            if run.is_cancelled:
                break
        variables, problem = self._variables(run)
        with tempfile.TemporaryDirectory(prefix="trackbridge-machine-", ignore_cleanup_errors=True) as disk:
            with run.lock:
                if not run.is_cancelled and problem is None:
                    problem = self._start(run, {**variables, "TMPDIR": disk})
            if run.process is not None:
                self._await(run)
        self._volumes.read()
        self._end(run, problem)

    def _variables(self, run: Run) -> tuple[dict[str, str], str | None]:
        """Return the environment of a run's cluster, and what of it is wrong."""
        variables = {name: os.environ[name] for name in SYSTEM_VARIABLES if name in os.environ}
        variables |= {"DATABRICKS_RUNTIME_VERSION": "15.4", "MLFLOW_TRACKING_URI": "databricks"}
        variables |= {RUN_VARIABLE: str(run.run_id), "BRIDGE_VOLUMES_ROOT": self._volumes.mount()}
        for name, value in ((run.task.get("new_cluster") or {}).get("spark_env_vars") or {}).items():
            match = _SECRET.fullmatch(value)
            if match is not None and (match[1], match[2]) not in self.secrets:
                return variables, f"Secret does not exist with scope: {match[1]} and key: {match[2]}"
            variables[name] = value if match is None else self.secrets[match[1], match[2]]
        return variables, None

    def _start(self, run: Run, variables: dict[str, str]) -> str | None:
        program = run.task["spark_python_task"]
        path = variables["BRIDGE_VOLUMES_ROOT"] + program["python_file"]
        if not os.path.isfile(path):
            return f"Cannot read the python file {program['python_file']}"
        words = [word.replace("{{job.run_id}}", str(run.run_id)) for word in program.get("parameters") or ()]
        run.begun_ms = self._now_ms()
        run.process = subprocess.Popen(
            [sys.executable, "-c", _SHELL, path, *words],
            env=variables,
            cwd=variables["TMPDIR"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        run.state = "RUNNING"
        return None

    def _await(self, run: Run) -> None:
        """Wait until the program has ended, then end what it has left behind, as its cluster's end does."""
        assert run.process is not None
        limit_s = run.request.get("timeout_seconds") or None
        try:
            run.logs = run.process.communicate(timeout=limit_s)[0]
        except subprocess.TimeoutExpired:
            run.has_timed_out = True
            _kill(run)
            run.logs = run.process.communicate()[0]
        run.done_ms = self._now_ms()
        run.state = "TERMINATING"
        _kill(run)

    def _end(self, run: Run, problem: str | None) -> None:
        run.end_ms = self._now_ms()
        code = run.process.returncode if run.process is not None else None
        if run.is_cancelled:
            run.code, run.message = "USER_CANCELED", f"Run cancelled by {run.user}"
        elif run.has_timed_out:
            run.code, run.message = "CANCELED", "The run has timed out"
        elif problem is not None:
            run.code, run.message = "INVALID_CLUSTER_REQUEST", problem
        elif not run.code:
            run.code = "SUCCESS" if code == 0 else "RUN_EXECUTION_ERROR"
            run.message = "" if code == 0 else "Workload failed, see run output for details"
        run.state = ENDED

    def _cancel(self, run: Run) -> None:
        with run.lock:
            if run.state == ENDED:
                return
            run.is_cancelled = True
            if run.process is not None:
                _kill(run)

    # What is told.

    def _found(self, request: dict[str, Any]) -> Run | None:
        text = str(request.get("run_id") or "")
        return self.runs.get(int(text)) if text.isdecimal() else None

    def _get(self, user: str, request: dict[str, Any]) -> Result:
        run = self._found(request)
        return _absent(request) if run is None else json_result(200, self._described(run))

    def _output(self, user: str, request: dict[str, Any]) -> Result:
        run = self._found(request)
        if run is None:
            return _absent(request)
        logs = run.logs[-LOG_BYTES_MAX:] if run.state == ENDED else b""
        answer = {
            "metadata": self._described(run),
            "logs": logs.decode("utf-8", "replace"),
            "logs_truncated": len(run.logs) > LOG_BYTES_MAX,
        }
        return json_result(200, answer)

    def _asked_to_cancel(self, user: str, request: dict[str, Any]) -> Result:
        run = self._found(request)
        if run is None:
            return _absent(request)
        self._cancel(run)
        return json_result(200, {})

    def _list(self, user: str, request: dict[str, Any]) -> Result:
        limit = int(request.get("limit") or 20)
        if not 0 < limit <= LIST_RUNS_MAX:
            return refused(400, "INVALID_PARAMETER_VALUE", f"limit is {limit}, not 1 to {LIST_RUNS_MAX}")
        try:
            start = int(base64.b64decode(request.get("page_token") or "MA==", validate=True))
        except ValueError:
            return refused(400, "INVALID_PARAMETER_VALUE", "The page token is wrong")
        until = int(request.get("start_time_to") or 2**63)
        runs = [run for run in self.runs.values() if run.start_ms <= until]
        runs.sort(key=lambda run: (run.start_ms, run.run_id), reverse=True)
        page = [self._described(run) for run in runs[start : start + limit]]
        if request.get("expand_tasks") != "true":
            for described in page:
                del described["tasks"]
        answer: dict[str, Any] = {"runs": page}
        if len(runs) > start + limit:
            answer["next_page_token"] = base64.b64encode(str(start + limit).encode()).decode()
        return json_result(200, answer)

    def _described(self, run: Run) -> dict[str, Any]:
        """Return a run as the service does: of its states the old and the new form."""
        state, ended = run.state, run.state == ENDED
        status: dict[str, Any] = {"state": state}
        old: dict[str, Any] = {"life_cycle_state": state, "state_message": run.message}
        if ended:
            kind = "SUCCESS" if run.code == "SUCCESS" else "CLIENT_ERROR"
            status["termination_details"] = {"code": run.code, "type": kind, "message": run.message}
            old["result_state"] = _result_state(run)
        task = {
            **run.task,
            "run_id": run.run_id + 10**12,
            "start_time": run.start_ms,
            "setup_duration": run.begun_ms - run.start_ms if run.begun_ms else 0,
            "execution_duration": run.done_ms - run.begun_ms if run.done_ms else 0,
            "cleanup_duration": run.end_ms - run.done_ms if ended and run.done_ms else 0,
        }
        return {
            "run_id": run.run_id,
            "run_name": run.request.get("run_name") or DEFAULT_NAME,
            "run_type": "SUBMIT_RUN",
            "creator_user_name": run.user,
            "start_time": run.start_ms,
            "end_time": run.end_ms if ended else 0,
            "run_page_url": f"https://double.example/?o=1#job/{run.run_id}/run/1",
            "state": old,
            "status": status,
            "tasks": [task],
        }

    def _list_clusters(self, user: str, request: dict[str, Any]) -> Result:
        found = [{"cluster_id": key, "cluster_name": name} for key, name in self.clusters.items()]
        return json_result(200, {"clusters": found})

    def _list_node_types(self, user: str, request: dict[str, Any]) -> Result:
        return json_result(200, {"node_types": [{"node_type_id": name} for name in self.node_types]})

    def _list_runtimes(self, user: str, request: dict[str, Any]) -> Result:
        found = [{"key": key, "name": name} for key, name in self.runtimes.items()]
        return json_result(200, {"versions": found})

    def _list_secrets(self, user: str, request: dict[str, Any]) -> Result:
        scope = str(request.get("scope") or "")
        keys = [key for owner, key in self.secrets if owner == scope]
        if not keys:
            return refused(404, "RESOURCE_DOES_NOT_EXIST", f"Scope {scope} does not exist!")
        return json_result(200, {"secrets": [{"key": key, "last_updated_timestamp": 1} for key in keys]})

    def _now_ms(self) -> int:
        return int(self._now_s() * 1000)


def _program_problem(task: dict[str, Any]) -> str | None:
    program = task.get("spark_python_task") or {}
    path = str(program.get("python_file") or "")
    if not path.startswith("/"):
        return "The double runs files of volumes"
    parameters = program.get("parameters") or []
    if not all(isinstance(word, str) for word in parameters):
        return "A parameter is no text"
    if len(json.dumps(parameters).encode()) > PARAMETERS_BYTES_MAX:
        return f"The parameters are longer than {PARAMETERS_BYTES_MAX} bytes"
    return None


def _result_state(run: Run) -> str:
    if run.is_cancelled:
        return "CANCELED"
    if run.has_timed_out:
        return "TIMEDOUT"
    return "SUCCESS" if run.code == "SUCCESS" else "FAILED"


def _absent(request: dict[str, Any]) -> Result:
    return refused(400, "INVALID_PARAMETER_VALUE", f"Run {request.get('run_id')} does not exist.")


def _kill(run: Run) -> None:
    """Kill all processes of a run: its machine ends, or it is cancelled."""
    mark = f"{RUN_VARIABLE}={run.run_id}".encode()
    root = str(run.process.pid) if run.process is not None else ""
    for _ in range(2):  # what was started meanwhile
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            with suppress(OSError):
                if folder.name == root or mark in (folder / "environ").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)
