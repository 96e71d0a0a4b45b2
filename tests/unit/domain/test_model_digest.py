"""The content digest of a model: what it depends on, and what it does not."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trackbridge.domain.model_digest import (
    ModelDigest,
    digest_of_members,
    digest_of_path,
    without_identity,
)
from trackbridge.errors import InvalidInput, NotFound

MLMODEL = """\
artifact_path: model
flavors:
  python_function:
    loader_module: mlflow.sklearn
  run_id: nested stays
model_id: null
model_uuid: aaaa
run_id: 0123
  continued
utc_time_created: '2024-05-01'
"""

names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=8).filter(
    lambda name: name not in (".", "..", "MLmodel", "registered_model_meta")
)
payloads = st.dictionaries(names, st.binary(max_size=40), min_size=1, max_size=6)


def digest_of(members: dict[str, bytes]) -> str:
    return digest_of_members((name, io.BytesIO(content)) for name, content in members.items())


def write(folder: Path, members: dict[str, bytes]) -> Path:
    for name, content in members.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def test_is_what_the_documentation_says() -> None:
    members = {"MLmodel": b"flavors: {}\n", "data/model.pkl": b"weights"}
    hashes = sorted(
        hashlib.sha256(hashlib.sha256(content).digest() + name.encode()).digest()
        for name, content in members.items()
    )
    assert digest_of(members) == "sha256:" + hashlib.sha256(b"".join(hashes)).hexdigest()


@given(payloads, st.randoms(use_true_random=False))
def test_order_does_not_matter(members: dict[str, bytes], chance: object) -> None:
    shuffled = list(members.items())
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert digest_of(dict(shuffled)) == digest_of(members)


@given(payloads, st.data())
def test_one_changed_byte_changes_it(members: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(members)))
    content = members[name]
    place = data.draw(st.integers(0, len(content)))
    other = content[:place] + b"x" + content[place:]
    assert digest_of({**members, name: other}) != digest_of(members)


@given(payloads, names)
def test_a_changed_name_changes_it(members: dict[str, bytes], other: str) -> None:
    name = min(members)
    changed = {**members}
    content = changed.pop(name)
    if other not in members:
        assert digest_of({**changed, other: content}) != digest_of(members)


@given(payloads, names, st.binary(max_size=20))
def test_one_more_member_changes_it(members: dict[str, bytes], name: str, content: bytes) -> None:
    if name not in members:
        assert digest_of({**members, name: content}) != digest_of(members)


def test_names_cannot_be_confused_with_contents() -> None:
    assert digest_of({"a": b"1", "b": b"2"}) != digest_of({"a\nb": b"12"})
    assert digest_of({"ab": b""}) != digest_of({"a": b"b"})


hexadecimals = st.text("0123456789abcdef", min_size=1, max_size=32)


@given(hexadecimals, hexadecimals, hexadecimals, names, st.sampled_from(["\n", "\r\n"]))
def test_ids_of_run_and_model_do_not_matter(
    run_id: str, model_id: str, model_uuid: str, path: str, newline: str
) -> None:
    def mlmodel(*ids: str) -> dict[str, bytes]:
        keys = ("run_id", "model_id", "model_uuid", "artifact_path")
        lines = [f"{key}: {value}" for key, value in zip(keys, ids, strict=True)]
        text = newline.join([lines[3], "flavors:", "  sklearn: {}", *lines[:3], "mlflow_version: 3.1", ""])
        return {"MLmodel": text.encode(), "model.pkl": b"weights"}

    clean = "".join(char for char in path if char.isalnum()) or "model"
    assert digest_of(mlmodel(run_id, model_id, model_uuid, clean)) == digest_of(mlmodel("1", "2", "3", "m"))


def test_only_ids_at_the_top_are_left_out() -> None:
    kept = without_identity(MLMODEL.encode()).decode()
    assert kept == (
        "flavors:\n  python_function:\n    loader_module: mlflow.sklearn\n  run_id: nested stays\n"
        "utc_time_created: '2024-05-01'\n"
    )


def test_ids_of_a_model_within_the_model_matter() -> None:
    one = {"artifacts/inner/MLmodel": b"run_id: 1\n"}
    assert digest_of(one) != digest_of({"artifacts/inner/MLmodel": b"run_id: 2\n"})


def test_what_serves_or_labels_is_left_out() -> None:
    members = {"MLmodel": MLMODEL.encode(), "code/mine.py": b"x = 1"}
    wrapped = {
        **members,
        "code/inference.py": b"serve()",
        "code/bridge_server/app.py": b"serve()",
        "registered_model_meta": b"model_name: wine",
        "sagemaker_inference_specification.json": b"{}",
        "sagemaker_evaluation_group_test-1a2b.json": b"{}",
    }
    assert digest_of(wrapped) == digest_of(members)
    assert digest_of({**members, "inference.py": b"mine"}) != digest_of(members)
    assert digest_of({**members, "data/sagemaker_evaluation_group_a.json": b""}) != digest_of(members)
    assert digest_of({"MLmodel": MLMODEL.encode()}) != digest_of(members)


def test_folder_archive_and_stream_are_equal(tmp_path: Path) -> None:
    members = {"MLmodel": MLMODEL.encode(), "data/model.pkl": b"weights" * 1000, "ünïcode": b""}
    folder = write(tmp_path / "model", members)
    (folder / "empty").mkdir()
    archive = tmp_path / "model.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=".")
    with tarfile.open(archive) as tar:
        files = ((info.name, tar.extractfile(info)) for info in tar if info.isfile())
        from_archive = digest_of_members(files)  # type: ignore[arg-type]
    assert digest_of_path(folder) == from_archive == digest_of(members)


def test_a_file_is_a_folder_with_only_that_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", {"weights.bin": b"1234"})
    assert digest_of_path(folder / "weights.bin") == digest_of_path(folder)


def test_times_and_modes_do_not_matter(tmp_path: Path) -> None:
    folder = write(tmp_path / "model", {"weights.bin": b"1234"})
    before = digest_of_path(folder)
    os.utime(folder / "weights.bin", (1, 1))
    (folder / "weights.bin").chmod(0o700)
    assert digest_of_path(folder) == before


def test_the_later_of_two_members_counts() -> None:
    digest = ModelDigest()
    digest.add("a", io.BytesIO(b"old"))
    digest.add("./a", io.BytesIO(b"new"))
    assert digest.text() == digest_of({"a": b"new"})


def test_known_digests_of_members_give_the_same() -> None:
    digest = ModelDigest()
    digest.add_known("weights.bin", f"sha256:{hashlib.sha256(b'1234').hexdigest()}")
    assert digest.text() == digest_of({"weights.bin": b"1234"})


def test_nothing_at_the_path(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no model at"):
        digest_of_path(tmp_path / "absent")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    os.mkfifo(tmp_path / "net" / "pipe")
    with pytest.raises(InvalidInput, match="no file that can be read"):
        digest_of_path(tmp_path / "net")


def test_a_folder_that_cannot_be_read_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "net" / "closed").mkdir(parents=True)
    scan = os.scandir

    def refusing(path: str) -> object:
        if os.fspath(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", refusing)
    with pytest.raises(InvalidInput, match="Permission denied"):
        digest_of_path(tmp_path / "net")
