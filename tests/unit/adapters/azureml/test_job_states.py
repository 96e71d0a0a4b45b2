"""States and logs of jobs, of what Azure says and does not say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.scripted_servers import Answer, Request, ScriptedServer, scripted_server
from trackbridge.domain.jobs import JobStatus
from trackbridge.errors import InvalidInput, Transient
from trackbridge.transport.http import HttpClient
from trackbridge_adapters._jobs.plan import JobResult
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.jobs_logs import PIECE_BYTES, JobLogs
from trackbridge_adapters.azureml.jobs_states import JobStates

STARTED, ENDED = "2026-11-22T03:00:00.5000000Z", "2026-11-22T03:01:40.7500000+00:00"
OURS = {
    "bridge.job.spec": "d",
    "bridge.job.name": "mine",
    "bridge.job.attempts": "3",
    "bridge.job.spot": "true",
}


class Results:
    """Result files; counts how often one was asked for."""

    def __init__(self, result: JobResult | None = None) -> None:
        self.result = result
        self.asked: list[tuple[str | None, str]] = []

    def find(self, uri: str | None, *, job: str, experiment: str) -> JobResult | None:
        self.asked.append((uri, experiment))
        return self.result


def states(details: dict[str, Any], results: Results | None = None) -> JobStates:
    given: Any = results or Results()
    return JobStates(
        Workspace("S", "G", "W"), lambda name: details, given, lambda name: f"https://studio/{name}"
    )


def job(status: str, ours: dict[str, str] | None = None, **more: Any) -> dict[str, Any]:
    properties = {"status": status, "displayName": "shown", "properties": ours or {}, **more}
    return {"name": "one", "properties": properties, "systemData": {"createdAt": "2026-11-22T02:59:00Z"}}


@pytest.mark.parametrize(
    ("word", "status"),
    [
        ("NotStarted", JobStatus.QUEUED),
        ("Provisioning", JobStatus.QUEUED),
        ("Queued", JobStatus.QUEUED),
        ("Paused", JobStatus.QUEUED),
        ("Running", JobStatus.RUNNING),
        ("NotResponding", JobStatus.RUNNING),
        ("CancelRequested", JobStatus.RUNNING),
        ("Finalizing", JobStatus.RUNNING),
        ("SomethingNew", JobStatus.RUNNING),
        ("Completed", JobStatus.SUCCEEDED),
        ("Failed", JobStatus.FAILED),
        ("Canceled", JobStatus.CANCELLED),
    ],
)
def test_azures_words(word: str, status: JobStatus) -> None:
    assert states({}).of(job(word)).status is status


def test_the_end_is_told_whole() -> None:
    result = JobResult(
        job_id="one", attempt=2, exit_code=-9, reason="killed", start_time=1, end_time=2, interruptions=1
    )
    details = {"startTimeUtc": STARTED, "endTimeUtc": ENDED, "experimentId": "e"}

    found = states(details, Results(result)).of(job("Failed", {**OURS, "bridge.job.run": "r" * 32}))

    assert (found.name, found.exit_code, found.reason, found.attempt) == ("mine", -9, "killed", 2)
    assert (found.run_id, found.native_url) == ("r" * 32, "https://studio/one")
    assert found.end_time is not None
    assert found.start_time is not None
    assert (found.end_time - found.start_time, found.facts.billed_s) == (100_250, 101)
    assert (found.facts.interruptions, found.facts.is_spot) == (1, True)
    assert found.kept_uri.endswith("/workspaces/W/jobs/one/outputs/artifacts/paths/outputs/bridge")


@pytest.mark.parametrize(
    ("told", "code"),
    [
        ("User process 'bash' exited with status code 3. Please", 3),
        ("User process 'bash' exited with status code 137. Please", -9),
        ("The node was lost", None),
    ],
)
def test_without_a_result_file_the_platform_is_believed(told: str, code: int | None) -> None:
    details = {
        "startTimeUtc": STARTED,
        "endTimeUtc": ENDED,
        "error": {"error": {"message": f"\x1b[31m{told}"}},
    }

    found = states(details).of(job("Failed", OURS))

    assert (found.exit_code, found.reason) == (code, told)


def test_an_attempt_that_never_ended_says_nothing_of_the_end() -> None:
    result = JobResult(job_id="one", attempt=2, exit_code=None, start_time=1)
    details = {"startTimeUtc": STARTED, "error": {"error": {"message": "lost"}}}

    found = states(details, Results(result)).of(job("Failed", OURS))

    assert (found.attempt, found.exit_code, found.reason) == (2, None, "lost")


def test_an_end_is_asked_for_once_and_success_needs_no_file() -> None:
    results = Results()
    read = states({"startTimeUtc": STARTED, "endTimeUtc": ENDED, "experimentId": "e"}, results)
    plain = {**OURS, "bridge.job.attempts": "1", "bridge.job.spot": "false"}

    assert read.of(job("Completed", plain)).exit_code == 0
    assert results.asked == []
    again = states({"startTimeUtc": STARTED, "endTimeUtc": ENDED, "experimentId": "e"}, results)
    first = again.of(job("Failed", OURS))
    assert again.of(job("Failed", OURS)) is first
    assert results.asked == [(None, "e")]


# Logs.


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as made:
        yield made


def logs(server: ScriptedServer, *paths: str) -> JobLogs:
    files = {path: f"{server.url}/{path}?sig=x" for path in paths or ("user_logs/std_log.txt",)}
    return JobLogs(HttpClient(adapter="azureml"), lambda name: files)


def ranged(content: bytes) -> Any:
    def answer(request: Request) -> Answer:
        start = int(request.headers["Range"].removeprefix("bytes=").partition("-")[0])
        if start >= len(content):
            return Answer(status=416, headers={"x-ms-error-code": "InvalidRange"})
        return Answer(status=206, body=content[start : start + PIECE_BYTES])

    return answer


def test_a_character_is_waited_for(server: ScriptedServer) -> None:
    server.answer = ranged("ä€"[:1].encode() + "€".encode()[:2])
    first = logs(server).read("one", "", is_final=False)
    server.answer = ranged("ä€".encode())
    second = logs(server).read("one", first.cursor, is_final=True)
    third = logs(server).read("one", second.cursor, is_final=True)

    assert (first.text, second.text, third.text) == ("ä", "€", "")
    assert (first.done, second.done, third.done) == (False, False, True)


def test_half_a_character_at_the_end_is_replaced(server: ScriptedServer) -> None:
    server.answer = ranged("€".encode()[:2])

    assert logs(server).read("one", "", is_final=False).text == ""
    assert logs(server).read("one", "", is_final=True).text == "\ufffd"


def test_what_came_before_a_break_is_kept(server: ScriptedServer) -> None:
    whole = b"0123456789" * 10_000
    server.answer = lambda request: Answer(status=206, body=whole, fault="half")
    begun = logs(server).read("one", "", is_final=True)
    server.answer = ranged(whole)
    rest = logs(server).read("one", begun.cursor, is_final=True)

    assert 0 < len(begun.text) < len(whole)
    assert begun.text + rest.text == whole.decode()
    assert not begun.done


def test_a_break_before_anything_came_is_no_end(server: ScriptedServer) -> None:
    server.answer = lambda request: Answer(status=206, body=b"short", fault="half")

    with pytest.raises(Transient):
        logs(server).read("one", "", is_final=True)


def test_a_server_that_ignores_ranges_sends_no_text_twice(server: ScriptedServer) -> None:
    server.answer = lambda request: Answer(status=200, body=b"begun\n")
    first = logs(server).read("one", "", is_final=False)
    server.answer = lambda request: Answer(status=200, body=b"begun\nended\n")

    assert logs(server).read("one", first.cursor, is_final=True).text == "ended\n"


def test_an_outage_of_storage_is_an_error_to_try_again(server: ScriptedServer) -> None:
    server.answer = lambda request: Answer(status=503)

    with pytest.raises(Transient):
        logs(server).read("one", "", is_final=True)


def test_processes_and_restarts_are_read_in_their_order(server: ScriptedServer) -> None:
    paths = [
        "user_logs/std_log_process_10.txt",
        "retry_001/user_logs/std_log.txt",
        "user_logs/std_log_process_2.txt",
        "system_logs/lifecycler.log",
    ]
    server.answer = lambda request: ranged(f"{request.path.partition('?')[0]}\n".encode())(request)
    read, cursor, text = logs(server, *paths), "", ""
    while not (chunk := read.read("one", cursor, is_final=True)).done:
        text, cursor = text + chunk.text, chunk.cursor

    assert text.split() == [f"/{paths[2]}", f"/{paths[0]}", f"/{paths[1]}"]
    with pytest.raises(InvalidInput):
        read.read("another", cursor, is_final=True)
