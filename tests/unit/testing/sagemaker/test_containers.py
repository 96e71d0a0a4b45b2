"""Containers without docker: what they see, what they get, and that nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path

import pytest

from trackbridge.testing.emulators.balance import Balance
from trackbridge.testing.emulators.containers import mounts
from trackbridge.testing.emulators.sagemaker import event_stream, opt_ml, storage
from trackbridge.testing.emulators.sagemaker.containers import Containers
from trackbridge.testing.emulators.sagemaker.core import Cloud, Refused
from trackbridge.testing.emulators.sagemaker.data_capture import Sampling
from trackbridge.testing.emulators.sagemaker.endpoint_changes import steps
from trackbridge.testing.emulators.sagemaker.images import COMMAND_VARIABLE, Image, Images
from trackbridge.testing.emulators.sagemaker.listing import page

WAIT_S = 60.0


@pytest.fixture
def containers() -> Iterator[Containers]:
    cloud = Cloud(pace=0.01)
    yield cloud.part(Containers)
    cloud.close()


def until(is_right: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end_s = time.monotonic() + WAIT_S
    while not is_right():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def lines_of(containers: Containers, command: list[str], **environment: str) -> tuple[int | None, list[str]]:
    """Run a command to its end; return its exit code and what it said."""
    lines: list[str] = []
    folder = containers.folder("c")
    container = containers.start(command, folder=folder, environment=environment, on_line=lines.append)
    code = container.wait(WAIT_S)
    containers.discard(container, folder)
    return code, lines


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
        if not Path("/proc/self").exists():
            return True
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_output_and_error_come_line_by_line_with_the_exit_code(containers: Containers) -> None:
    told = lines_of(containers, ["/bin/sh", "-c", "echo out; echo err >&2; printf last; exit 5"])
    assert told == (5, ["out", "err", "last"])


def test_a_signal_is_told_as_docker_tells_it(containers: Containers) -> None:
    assert lines_of(containers, ["/bin/sh", "-c", "kill -9 $$"])[0] == 137


def test_a_container_gets_its_own_variables_and_the_clouds_and_no_others(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET_OF_THE_USER", "x")
    containers.cloud.environment = {"AWS_ENDPOINT_URL": "http://here"}
    _, lines = lines_of(containers, ["/usr/bin/env"], MODE="fast")
    told = dict(line.partition("=")[::2] for line in lines)
    assert (told["MODE"], told["AWS_ENDPOINT_URL"]) == ("fast", "http://here")
    assert told["AWS_REGION"] == "us-east-1"
    assert "SECRET_OF_THE_USER" not in told


def test_a_container_sees_its_folder_as_opt_ml_and_nobody_else_does(containers: Containers) -> None:
    before = sorted(os.listdir("/opt"))
    folder = containers.folder("c")
    (folder / "hosts").write_text("127.0.0.1 algo-1\n")
    command = ["/bin/sh", "-c", "echo made > /opt/ml/made; ls -A /opt; cat /etc/hosts; sleep 0.2"]
    lines: list[str] = []
    container = containers.start(command, folder=folder, environment={}, on_line=lines.append)
    until((folder / "opt" / "ml" / "made").exists)
    assert sorted(os.listdir("/opt")) == before
    assert container.wait(WAIT_S) == 0
    if containers.is_mounted:
        assert lines == [*sorted({*before, "ml"}), "127.0.0.1 algo-1"]
    else:
        assert lines[: len(before)] == before


def test_killing_a_container_kills_what_it_started(containers: Containers) -> None:
    lines: list[str] = []
    folder = containers.folder("c")
    command = ["/bin/sh", "-c", "sleep 60 & echo $!; wait"]
    container = containers.start(command, folder=folder, environment={}, on_line=lines.append)
    until(lambda: len(lines) == 1)
    child = int(lines[0])
    assert is_alive(child)
    containers.discard(container, folder)
    until(lambda: not is_alive(child))
    assert not folder.exists()


def test_nothing_starts_after_the_end(containers: Containers) -> None:
    folder = containers.folder("c")
    containers.close()
    with pytest.raises(OSError, match="closed"):
        containers.start(["/bin/true"], folder=folder, environment={}, on_line=print)
    assert not folder.exists()


def test_nothing_is_left_when_the_emulator_is_killed() -> None:
    program = """
import sys, time
from trackbridge.testing.emulators.sagemaker.containers import Containers
from trackbridge.testing.emulators.sagemaker.core import Cloud
containers = Cloud().part(Containers)
folder = containers.folder("c")
started = containers.start(["/bin/sh", "-c", "exec sleep 60"], folder=folder, environment={}, on_line=print)
print(started.group, folder, flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    child, folder = process.stdout.readline().split()
    assert is_alive(int(child))
    process.send_signal(signal.SIGKILL)
    process.wait(WAIT_S)
    process.stdout.close()
    until(lambda: not is_alive(int(child)) and not Path(folder).exists())


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/opt/ml/model", "ROOT/opt/ml/model"),
        ("cd /opt/ml && x=/opt/ml", "cd ROOT/opt/ml && x=ROOT/opt/ml"),
        ("--data=/opt/ml/input:/opt/ml/code", "--data=ROOT/opt/ml/input:ROOT/opt/ml/code"),
        ("/opt/mlflow /srv/opt/ml /opt/ml-tools", "/opt/mlflow /srv/opt/ml /opt/ml-tools"),
    ],
)
def test_only_the_folder_itself_is_rewritten(text: str, expected: str) -> None:
    assert mounts.rewritten(text, Path("ROOT"), [opt_ml.ROOT]) == expected


@pytest.mark.parametrize("path", ["/opt/mlx", "/opt/ml/../etc", "opt/ml", "/etc", ""])
def test_a_path_elsewhere_is_not_inside(path: str) -> None:
    assert opt_ml.inside(Path("/root"), path) is None


def test_images_are_found_by_their_last_pattern_and_by_variable() -> None:
    images = Images(Cloud())
    images.declare("*/mine:*", Image(serve=("old",)))
    images.declare("*/mine:2", Image(serve=("new", "{port}"), train=("fit",)))
    assert images.command("a/mine:1", "serve", {}) == ["old"]
    assert images.command("a/mine:2", "serve", {}) == ["new", "{port}"]
    assert images.command("a/mine:2", "train", {}) == ["fit"]
    assert images.command("a/other", "serve", {}) == []
    assert images.command("a/other", "serve", {COMMAND_VARIABLE: "run 'this one'"}) == ["run", "this one"]
    assert images.command("1.dkr.ecr.eu-west-1.amazonaws.com/mlflow-pyfunc:3.1", "serve", {})[-1] == "serve"


# -- storage -------------------------------------------------------------------------------------------------


@pytest.fixture
def bucket() -> Iterator[Cloud]:
    cloud = Cloud(account="111111111111")
    cloud.s3().create_bucket("things", "us-east-1")
    for key in ("data/a", "data/deep/b", "data.txt", "database/c", "data/"):
        cloud.s3().put_object("things", key, key.encode())
    yield cloud
    cloud.close()
    cloud.s3().reset()


@pytest.mark.parametrize(
    ("prefix", "paths"),
    [
        ("data/", ["a", "deep/b"]),
        ("data", ["a", "data.txt", "database/c", "deep/b"]),
        ("data/a", ["a"]),
        ("data.txt", ["data.txt"]),
        ("none", []),
        ("", ["data.txt", "data/a", "data/deep/b", "database/c"]),
    ],
)
def test_objects_get_the_paths_below_their_prefix(bucket: Cloud, prefix: str, paths: list[str]) -> None:
    assert sorted(storage.objects(bucket, f"s3://things/{prefix}")) == paths


def test_a_manifest_lists_its_objects(bucket: Cloud) -> None:
    bucket.s3().put_object(
        "things", "m", json.dumps([{"prefix": "s3://things/data/"}, "a", "deep/b"]).encode()
    )
    found = storage.objects(bucket, "s3://things/m", is_manifest=True)
    assert {path: str(place) for path, place in found.items()} == {
        "a": "s3://things/data/a",
        "deep/b": "s3://things/data/deep/b",
    }


def test_an_archive_cannot_write_beside_its_folder(tmp_path: Path) -> None:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo("../escaped")
        archive.addfile(member, BytesIO())
    with suppress(tarfile.TarError):
        storage.unpack(buffer.getvalue(), tmp_path / "in")
    assert not (tmp_path / "escaped").exists()


def test_a_packed_folder_unpacks_to_the_same(tmp_path: Path) -> None:
    (tmp_path / "a" / "deep").mkdir(parents=True)
    (tmp_path / "a" / "deep" / "f").write_text("one")
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "g").write_text("two")
    storage.unpack(storage.packed([tmp_path / "a", tmp_path / "b"]), tmp_path / "out")
    assert (tmp_path / "out" / "deep" / "f").read_text() == "one"
    assert (tmp_path / "out" / "g").read_text() == "two"


# -- small rules ---------------------------------------------------------------------------------------------


def test_frames_are_read_by_botocore() -> None:
    from botocore.eventstream import EventStreamBuffer

    buffer = EventStreamBuffer()
    buffer.add_data(event_stream.part(b"one") + event_stream.failure("ModelStreamError", "broke", "X"))
    first, second = list(buffer)
    assert (first.payload, first.headers[":event-type"]) == (b"one", "PayloadPart")
    assert second.headers[":exception-type"] == "ModelStreamError"
    assert json.loads(second.payload) == {"Message": "broke", "ErrorCode": "X"}


@pytest.mark.parametrize(
    ("weights", "turns", "expected"),
    [
        ({"a": 1.0, "b": 1.0}, 10, {"a": 5, "b": 5}),
        ({"a": 0.9, "b": 0.1}, 20, {"a": 18, "b": 2}),
        ({"a": 0.0, "b": 2.0}, 3, {"a": 0, "b": 3}),
    ],
)
def test_turns_go_by_weight(weights: dict[str, float], turns: int, expected: dict[str, int]) -> None:
    balance = Balance()
    seen = [balance.pick(weights) for _ in range(turns)]
    assert {name: seen.count(name) for name in weights} == expected


def test_nobody_has_a_turn_without_weight() -> None:
    assert Balance().pick({"a": 0.0}) is None
    assert Balance().pick({}) is None


@pytest.mark.parametrize(("percentage", "expected"), [(0, 0), (25, 3), (100, 12)])
def test_sampling_keeps_its_share(percentage: int, expected: int) -> None:
    sampling = Sampling()
    assert sum(sampling.is_due(percentage) for _ in range(12)) == expected


@pytest.mark.parametrize(
    ("routing", "shares"),
    [
        ({"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": 9}, [1.0]),
        (
            {
                "Type": "CANARY",
                "WaitIntervalInSeconds": 9,
                "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
            },
            [0.25, 1.0],
        ),
        (
            {
                "Type": "LINEAR",
                "WaitIntervalInSeconds": 9,
                "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": 50},
            },
            [0.5, 1.0],
        ),
    ],
)
def test_traffic_moves_in_the_steps_that_are_asked_for(
    routing: dict[str, object], shares: list[float]
) -> None:
    policy = {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing}}
    assert steps(policy, 4) == (shares, 9)


def test_a_rolling_update_moves_batch_by_batch() -> None:
    rolling = {"MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": 25}, "WaitIntervalInSeconds": 3}
    assert steps({"RollingUpdatePolicy": rolling}, 4) == ([0.25, 0.5, 0.75, 1.0], 3)
    assert steps({}, 4) == ([1.0], 0)


def test_pages_stay_right_while_rows_come_and_go() -> None:
    rows = [{"Name": f"n{number}", "CreationTime": float(number)} for number in range(5)]
    first, more = page(rows, {"MaxResults": 2}, dict, is_descending=False)
    assert [row["Name"] for row in first] == ["n0", "n1"]
    rows = [row for row in rows if row["Name"] != "n0"]
    second, more = page(rows, {"MaxResults": 2, **more}, dict, is_descending=False)
    assert [row["Name"] for row in second] == ["n2", "n3"]
    third, more = page(rows, {"MaxResults": 2, **more}, dict, is_descending=False)
    assert ([row["Name"] for row in third], more) == (["n4"], {})


def test_a_token_of_another_order_is_refused() -> None:
    rows = [{"Name": f"n{number}", "CreationTime": float(number)} for number in range(3)]
    _, more = page(rows, {"MaxResults": 1, "SortBy": "Name"}, dict, is_descending=True)
    with pytest.raises(Refused, match="other parameters"):
        page(rows, {"MaxResults": 1, **more}, dict, is_descending=True)
    with pytest.raises(Refused, match="Invalid"):
        page(rows, {"NextToken": "%%%"}, dict, is_descending=True)


def test_times_bound_a_list_on_both_sides() -> None:
    rows = [{"Name": f"n{number}", "CreationTime": float(number)} for number in range(5)]
    asked = {"CreationTimeAfter": 0.0, "CreationTimeBefore": 3.0}
    found, _ = page(rows, asked, dict, is_descending=False)
    assert [row["Name"] for row in found] == ["n1", "n2"]
