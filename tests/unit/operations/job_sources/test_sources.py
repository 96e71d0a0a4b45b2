"""Scripts and commands, and how they are told from projects."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.operations.job_sources.conftest import Read, Spec, Write
from trackbridge.domain.jobs import Compute
from trackbridge.errors import InvalidInput, NotFound


def test_a_script(write: Write, spec: Spec, folder: Path) -> None:
    write("sub/train.py", "")
    job = spec("sub/train.py", "now", parameters={"lr": "0.1"})
    assert job.command == ("python", "sub/train.py", "now", "--lr", "0.1")
    assert (job.code_dir, job.name) == (str(folder), "train.py")
    assert spec(str(folder / "sub/train.py")).command == ("python", "sub/train.py")
    assert spec("sub/train.py", code_dir="sub").command == ("python", "train.py")
    assert spec("train.py", code_dir="sub").command == ("python", "train.py")


def test_a_command_is_no_folder_of_the_same_name(write: Write, spec: Spec) -> None:
    write("make/x", "")
    assert spec("make", "train", parameters={"a": "1"}).command == ("make", "train")
    assert spec("make", "train", parameters={"a": "1"}).parameters == {"a": "1"}


def test_nothing_to_run(read: Read) -> None:
    with pytest.raises(InvalidInput, match="there is nothing to run"):
        read()


@pytest.mark.parametrize("word", ["nowhere/", "projects/wnie", "./wnie"])
def test_a_path_that_is_not_there_is_no_command(read: Read, word: str) -> None:
    with pytest.raises(NotFound, match=f"there is neither a folder nor a file '{word}'"):
        read(word)


def test_a_program_by_its_path_is_a_command(write: Write, read: Read) -> None:
    write("bin/train", "")
    assert read("bin/train").words == ("bin/train",)
    assert read("/opt/image/train").words == ("/opt/image/train",)  # it may be the image's


def test_a_folder_without_entry_points(write: Write, read: Read) -> None:
    write("train.py", "")
    with pytest.raises(NotFound, match="there is no entry point 'main'") as caught:
        read(".")
    assert "no file MLproject" in str(caught.value.hint)


def test_what_does_not_go_together(write: Write, read: Read) -> None:
    write("train.py", "")
    write("MLproject", "entry_points: {main: {command: 'true'}}\n")
    with pytest.raises(InvalidInput, match="-e is for a folder"):
        read("train.py", entry_point="main")
    with pytest.raises(InvalidInput, match="--version is for a folder"):
        read("make", version="v1")
    with pytest.raises(InvalidInput, match="a folder of code is named"):
        read(".", code_dir="x")
    with pytest.raises(NotFound, match=r"there is no script 'none.py'"):
        read("none.py")


def test_all_of_a_request_is_in_the_job(write: Write, spec: Spec) -> None:
    write("train.py", "")
    job = spec("train.py", compute=Compute(cluster="c"), checkpoints="kept", outputs={"a": "s3://b/c"})
    assert job.compute == Compute(cluster="c")
    assert job.checkpoints is not None
    assert Path(job.checkpoints).is_absolute()
    assert job.outputs == {"a": "s3://b/c"}
