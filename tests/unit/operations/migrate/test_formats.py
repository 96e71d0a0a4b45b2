"""Formats of models: archives that nobody trusts, and what becomes of SageMaker's at other backends."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.migrations import local_side, migrate, pair_of
from tests.support.model_archives import INFERENCE, add, archive_of, archived, repacked
from tests.support.sagemaker_emulators import sagemaker_emulator
from trackbridge.delivery.connect import open_uri
from trackbridge.domain.migration import Selection, Symbol, Treatment
from trackbridge.domain.model_digest import digest_of_members, digest_of_path, files_of
from trackbridge.domain.models import ModelVersion
from trackbridge.errors import AuthError, Rejected
from trackbridge.operations import model_archives
from trackbridge.operations.migrate import formats
from trackbridge.operations.migrate.applying import Applying, refuse_losses
from trackbridge.operations.migrate.checking import check
from trackbridge.operations.migrate.pair import Asked, Pair
from trackbridge.operations.migrate.planning import losses_of, plan_migration
from trackbridge.operations.migrate.side import Side, side_of
from trackbridge.operations.model_archives import holds_mlmodel, members_of_archive, unpack
from trackbridge.operations.model_payloads import digest_at, materialise
from trackbridge.ports.streams import AddressedArtifacts
from trackbridge.resolve.uri import parse
from trackbridge.testing.contracts.deployment_models import answering
from trackbridge.testing.emulators.sagemaker import SageMakerEmulator

BUCKET = "sagemaker-models"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"


def names_in(content: bytes) -> list[str]:
    return [name for name, _ in members_of_archive(io.BytesIO(content), packed_bytes=len(content))]


# Archives.


def test_an_archive_of_awss_sdk_is_the_folder_that_it_was_made_of(tmp_path: Path) -> None:
    model = answering(tmp_path, "model", 1.0)
    (model / "code" / "inference.py").write_bytes(INFERENCE)
    (model / "empty").write_bytes(b"")
    (model / "big.bin").write_bytes(os.urandom(3_000_001))
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(repacked(model))
    unpack(archive, tmp_path / "unpacked")
    found = {name: file.read_bytes() for name, file in files_of(tmp_path / "unpacked")}
    assert found == {name: file.read_bytes() for name, file in files_of(model)}
    with archive.open("rb") as packed:
        members = members_of_archive(packed, packed_bytes=archive.stat().st_size)
        assert digest_of_members(members) == digest_of_path(model)
    assert holds_mlmodel(archive)


def test_names_from_the_current_folder_on_are_the_same_names(tmp_path: Path) -> None:
    content = archived(
        lambda tar: [add(tar, "./MLmodel"), add(tar, "././a/b"), add(tar, ".", kind=tarfile.DIRTYPE)]
    )
    assert names_in(content) == ["MLmodel", "a/b"]


def sparse(tar: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("holes")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9" * 12}
    member.size = 512
    tar.addfile(member, io.BytesIO(b"0\n".ljust(512, b"\0")))


def header(tar: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("weights")
    member.pax_headers = {"comment": "x" * (2 * model_archives.READ_BYTES_MAX)}
    tar.addfile(member, io.BytesIO())


def sparse_map(tar: tarfile.TarFile) -> None:
    member = tarfile.TarInfo("holes")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "1"}
    numbers = b"9999999\n" + b"0\n" * model_archives.READ_BYTES_MAX
    member.size = len(numbers)
    tar.addfile(member, io.BytesIO(numbers))


HOSTILE: dict[str, tuple[Callable[[tarfile.TarFile], object], str]] = {
    "climbs": (lambda tar: add(tar, "../evil"), "cannot be kept"),
    "climbs below": (lambda tar: add(tar, "a/../../evil"), "cannot be kept"),
    "absolute": (lambda tar: add(tar, "/etc/cron.d/evil"), "cannot be kept"),
    "climbing folder": (lambda tar: add(tar, "../x", kind=tarfile.DIRTYPE), "cannot be kept"),
    "backslash": (lambda tar: add(tar, "a\\..\\evil"), "cannot be kept"),
    "no unicode": (lambda tar: add(tar, "a\udcff"), "cannot be kept"),
    "long": (lambda tar: add(tar, "a/" * 600 + "a"), "cannot be kept"),
    "symbolic link": (lambda tar: add(tar, "weights", kind=tarfile.SYMTYPE), "is a link"),
    "hard link": (lambda tar: add(tar, "weights", kind=tarfile.LNKTYPE), "is a link"),
    "device": (lambda tar: add(tar, "weights", kind=tarfile.CHRTYPE), "no plain file"),
    "pipe": (lambda tar: add(tar, "weights", kind=tarfile.FIFOTYPE), "no plain file"),
    "sparse": (sparse, "no plain file"),
    "twice": (lambda tar: [add(tar, "a", b"1"), add(tar, "./a", b"2")], "two members are called 'a'"),
    "file then folder": (lambda tar: [add(tar, "a"), add(tar, "a/b")], "both a file and a folder"),
    "folder then file": (lambda tar: [add(tar, "a/b"), add(tar, "a")], "both a file and a folder"),
    "bomb": (lambda tar: add(tar, "zeros", bytes(model_archives.GROWTH_BYTES)), "grows beyond"),
    "header": (header, "headers is too large"),
    "map of holes": (sparse_map, "headers is too large"),
    "empty": (lambda tar: None, "holds no files"),
    "only folders": (lambda tar: add(tar, "a", kind=tarfile.DIRTYPE), "holds no files"),
}


@pytest.mark.parametrize(("fill", "problem"), HOSTILE.values(), ids=HOSTILE)
def test_hostile_archives_are_refused_and_leave_nothing(
    tmp_path: Path, fill: Callable[[tarfile.TarFile], object], problem: str
) -> None:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(archived(fill))
    with pytest.raises(Rejected, match=problem):
        unpack(archive, tmp_path / "in" / "unpacked")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["in", "model.tar.gz"]


def test_many_small_headers_are_no_large_one() -> None:
    def fill(tar: tarfile.TarFile) -> None:
        for number in range(3000):
            add(tar, f"folder/{number}", kind=tarfile.DIRTYPE)
        add(tar, "folder/file")

    assert names_in(archived(fill)) == ["folder/file"]


def test_common_headers_do_not_add_up() -> None:
    made = io.BytesIO()
    with gzip.open(made, "wb") as packed:
        for number in range(5):
            text = "x" * (model_archives.READ_BYTES_MAX // 4)
            packed.write(tarfile.TarInfo.create_pax_global_header({f"comment{number}": text}))
            packed.write(tarfile.TarInfo(f"{number}").tobuf())
        packed.write(bytes(1024))
    with pytest.raises(Rejected, match="common headers are too large"):
        names_in(made.getvalue())


def test_too_many_members_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_archives, "MEMBERS_MAX", 3)
    assert len(names_in(archive_of({f"{n}": b"" for n in range(3)}))) == 3
    with pytest.raises(Rejected, match="more than 3 members"):
        names_in(archive_of({f"{n}": b"" for n in range(4)}))


def test_a_disk_without_room_is_seen_before_it_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(archive_of({"weights": b"1"}))
    monkeypatch.setattr(model_archives, "FREE_BYTES_MIN", 2**62)
    with pytest.raises(Rejected, match="no room"):
        unpack(archive, tmp_path / "unpacked")
    assert not (tmp_path / "unpacked").exists()


@pytest.mark.parametrize("cut", [1, 10, 100, 1000, 2000])
def test_archives_that_end_too_early_are_refused(cut: int) -> None:
    whole = archive_of({"a": os.urandom(1500), "b": os.urandom(900)})
    with pytest.raises(Rejected, match="damaged"):
        names_in(whole[:-cut])
    plain = gzip.decompress(whole)
    with pytest.raises(Rejected, match="damaged"):
        names_in(gzip.compress(plain[: 512 + 1536 + 300]))


def test_a_damaged_header_is_not_taken_for_the_end() -> None:
    plain = bytearray(gzip.decompress(archive_of({"a": b"1", "b": b"2"})))
    plain[1024 + 3] ^= 0xFF
    with pytest.raises(Rejected, match="what follows is no header"):
        names_in(gzip.compress(bytes(plain)))


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"\x1f\x8b\x08garbage", gzip.compress(b"no tar" * 200)],
    ids=["empty", "zip", "cut", "no tar"],
)
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    with pytest.raises(Rejected, match=r"damaged, or no archive|holds no files"):
        names_in(content)


def test_random_damage_is_refused_or_changes_nothing() -> None:
    import random

    dice = random.Random(7)
    whole = archive_of({"MLmodel": b"flavors: {}\n", "a/b": bytes(dice.randbytes(5000))})
    expected = names_in(whole)
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        try:
            assert names_in(bytes(damaged)) == expected
        except Rejected:
            continue


# SageMaker's models elsewhere.


class Rig:
    """SageMaker with models of AWS's own tools, and a store that gets them."""

    def __init__(self, emulator: SageMakerEmulator, folder: Path) -> None:
        self.emulator = emulator
        self.folder = folder
        uri = parse(emulator.uri)
        self.cloud: Side = side_of(open_uri(uri), uri.text)
        self.pair: Pair = pair_of(self.cloud, local_side(folder / "b"), folder / "home")
        self.s3 = emulator.client("s3")
        self.s3.create_bucket(Bucket=BUCKET)
        self.aws = emulator.client("sagemaker")

    def put(self, key: str, content: bytes) -> str:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        return f"s3://{BUCKET}/{key}"

    def package(self, address: str, group: str = "wine", *, kind: str = "") -> None:
        """Register a model as AWS's SDK does: a container with an image and the address of its data."""
        found = self.aws.list_model_package_groups(NameContains=group)["ModelPackageGroupSummaryList"]
        if not found:
            self.aws.create_model_package_group(ModelPackageGroupName=group)
        container: dict[str, object] = {"Image": IMAGE, "Environment": {"SAGEMAKER_PROGRAM": "inference.py"}}
        if kind:
            source = {"S3Uri": address, "S3DataType": kind, "CompressionType": "None"}
            container["ModelDataSource"] = {"S3DataSource": source}
        else:
            container["ModelDataUrl"] = address
        self.aws.create_model_package(
            ModelPackageGroupName=group,
            ModelApprovalStatus="Approved",
            InferenceSpecification={
                "Containers": [container],
                "SupportedContentTypes": ["text/csv"],
                "SupportedResponseMIMETypes": ["text/csv"],
            },
        )

    def copied(self, number: str = "1", name: str = "wine") -> dict[str, bytes]:
        """Return the files of a version at the target."""
        folder = self.folder_of(self.pair.target, number, name)
        return {path: file.read_bytes() for path, file in files_of(folder)}

    def folder_of(self, side: Side, number: str = "1", name: str = "wine") -> Path:
        assert side.registry is not None
        version = side.registry.get_version(name, number)
        return materialise(version, side.artifacts, cache=self.folder / "cache")


@pytest.fixture(scope="module")
def emulator() -> Iterator[SageMakerEmulator]:
    with sagemaker_emulator() as running:
        yield running


@pytest.fixture
def rig(emulator: SageMakerEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    emulator.reset()
    monkeypatch.setenv("BRIDGE_HOME", str(tmp_path / "bridge"))
    for name, value in emulator.environment().items():
        monkeypatch.setenv(name, value)
    made = Rig(emulator, tmp_path)
    yield made
    for opened in (made.pair.source, made.pair.target, made.pair.ledger):
        opened.close()
    emulator.raise_failures()


def mlflow_model(folder: Path) -> Path:
    model = answering(folder, "model", 1.0)
    (model / "code" / "inference.py").write_bytes(INFERENCE)
    return model


def test_an_archive_with_mlmodel_arrives_as_a_model_of_mlflow(rig: Rig) -> None:
    model = mlflow_model(rig.folder)
    rig.package(rig.put("job/output/model.tar.gz", repacked(model)))
    planned = plan_migration(rig.pair, Asked())
    losses = {loss.field: loss for change in planned.changes for loss in losses_of(change)}
    assert set(losses) == {"source", "packing"}
    refuse_losses(planned)
    account = migrate(rig.pair)
    assert (account.remaining, account.unexplained()) == ([], {})
    assert rig.copied() == {name: file.read_bytes() for name, file in files_of(model)}
    (version,) = rig.pair.target.versions("wine")
    assert version.digest == digest_of_path(model), "that of the folder which it was packed from"
    assert version.approval.value == "approved"
    assert not plan_migration(rig.pair, Asked()).changes_something
    compared = list(check(rig.pair, Selection(), download=True))
    assert {item.symbol for item in compared} == {Symbol.SAME}
    rig.put("job/output/model.tar.gz", archive_of({"weights": b"others"}))
    different = [
        item for item in check(rig.pair, Selection(), download=True) if item.symbol is not Symbol.SAME
    ]
    assert [(item.symbol, item.subject) for item in different] == [(Symbol.DIFFERENT, "version wine/1")]
    assert {item.symbol for item in check(rig.pair, Selection())} == {Symbol.SAME}, "no byte was read"


def test_an_archive_with_code_of_its_own_arrives_as_its_files_and_the_loss_is_told(rig: Rig) -> None:
    files = {
        "model.joblib": b"\x80\x04",
        "code/inference.py": INFERENCE,
        "code/requirements.txt": b"scikit-learn\n",
    }
    rig.package(rig.put("model.tar.gz", archive_of(files)))
    planned = plan_migration(rig.pair, Asked())
    losses = {loss.field: loss for change in planned.changes for loss in losses_of(change)}
    assert losses["loading"].treatment is Treatment.REFUSED
    assert "code/inference.py runs only in AWS's containers" in losses["loading"].detail
    with pytest.raises(Rejected, match="loading refused"):
        migrate(rig.pair, how=Applying(strict=True))
    assert list(rig.pair.target.models()) == []
    account = migrate(rig.pair)
    assert account.remaining == []
    assert set(account.losses) >= set(losses.values())
    assert rig.copied() == files


def test_a_model_in_a_folder_below_is_told(rig: Rig) -> None:
    rig.package(rig.put("model.tar.gz", archive_of({"inner/MLmodel": b"flavors: {}\n", "inner/data": b"1"})))
    planned = plan_migration(rig.pair, Asked())
    (loss,) = [loss for change in planned.changes for loss in losses_of(change) if loss.field == "loading"]
    assert "one lies in the folder 'inner'" in loss.detail


def test_a_folder_in_s3_arrives_as_it_is(rig: Rig) -> None:
    model = mlflow_model(rig.folder)
    (model / "code" / "empty.py").write_bytes(b"")
    for name, file in files_of(model):
        rig.put(f"models/wine/{name}", file.read_bytes())
    for folder in ("", "code/", "unused/"):
        rig.put(f"models/wine/{folder}", b"")
    rig.put("models/wine2/other", b"1")
    rig.package(f"s3://{BUCKET}/models/wine/", kind="S3Prefix")
    assert migrate(rig.pair).remaining == []
    assert rig.copied() == {name: file.read_bytes() for name, file in files_of(model)}


def test_a_single_file_arrives_as_it_is(rig: Rig) -> None:
    rig.package(rig.put("model.bin", b"weights"), kind="S3Object")
    assert migrate(rig.pair).remaining == []
    assert rig.copied() == {"model.bin": b"weights"}


def test_a_hostile_archive_is_refused_and_keeps_nothing_else_from_being_copied(rig: Rig) -> None:
    rig.package(rig.put("evil.tar.gz", archived(lambda tar: add(tar, "../evil"))))
    rig.package(rig.put("good.tar.gz", archive_of({"weights": b"1"})))
    account = migrate(rig.pair)
    (left,) = account.remaining
    assert left.subject == "version wine/1"
    assert "the member '../evil' cannot be kept" in left.error
    assert account.exit_code == 3
    assert len(rig.pair.target.versions("wine")) == 1
    assert not list(rig.folder.rglob("evil"))


def test_an_archive_that_is_gone_is_told_and_nothing_else_fails(rig: Rig) -> None:
    rig.package(rig.put("gone.tar.gz", b"1"))
    rig.s3.delete_object(Bucket=BUCKET, Key="gone.tar.gz")
    rig.package(rig.put("good.tar.gz", archive_of({"weights": b"1"})))
    account = migrate(rig.pair)
    assert [outcome.subject for outcome in account.remaining] == ["version wine/1"]
    assert "no files" in account.remaining[0].error


def test_a_bucket_that_may_not_be_read_keeps_nothing_else_from_its_copy(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.package(rig.put("denied.tar.gz", archive_of({"weights": b"1"})))
    rig.package(rig.put("good.tar.gz", archive_of({"weights": b"2"})))

    def denied(version: ModelVersion, *args: Any, **named: Any) -> Path:
        if "denied" in version.source:
            raise AuthError("AccessDenied", hint="ask for it")
        return materialise(version, *args, **named)

    monkeypatch.setattr("trackbridge.operations.migrate.registries.materialise", denied)
    account = migrate(rig.pair)
    assert [(left.subject, left.state.value) for left in account.remaining] == [("version wine/1", "failed")]
    assert "its files may not be read: AccessDenied" in account.remaining[0].error
    assert not account.stopped
    assert len(rig.pair.target.versions("wine")) == 1


def test_a_large_archive_is_not_read_while_planning(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "LOOK_BYTES_MAX", 10)
    rig.package(rig.put("model.tar.gz", archive_of({"weights": os.urandom(1000)})))
    planned = plan_migration(rig.pair, Asked())
    (loss,) = [loss for change in planned.changes for loss in losses_of(change) if loss.field == "packing"]
    assert "seen when it is copied" in loss.detail
    assert migrate(rig.pair).remaining == []
    assert set(rig.copied()) == {"weights"}


def test_the_digest_of_an_archive_in_s3_is_that_of_what_it_holds(rig: Rig) -> None:
    model = mlflow_model(rig.folder)
    address = rig.put("model.tar.gz", repacked(model))
    artifacts = rig.cloud.artifacts
    assert isinstance(artifacts, AddressedArtifacts)
    assert digest_at(address, artifacts) == digest_of_path(model)
    version = ModelVersion(name="w", version="1", source=address, digest=digest_of_path(model))
    assert materialise(version, rig.cloud.artifacts, cache=rig.folder / "cache").is_dir()


def test_an_archive_that_was_registered_as_a_file_stays_one(tmp_path: Path) -> None:
    archive = tmp_path / "model.tar.gz"
    archive.write_bytes(archive_of({"MLmodel": b"flavors: {}\n", "data": b"1"}))
    as_file = ModelVersion(name="w", version="1", source=archive.as_uri(), digest=digest_of_path(archive))
    folder = materialise(as_file, None, cache=tmp_path / "cache")
    assert [name for name, _ in files_of(folder)] == ["model.tar.gz"]
    unknown = ModelVersion(name="w", version="2", source=archive.as_uri())
    folder = materialise(unknown, None, cache=tmp_path / "cache")
    assert [name for name, _ in files_of(folder)] == ["MLmodel", "data"], "a model of MLflow's that is packed"
    other = tmp_path / "data.tgz"
    other.write_bytes(archive_of({"data": b"1"}))
    folder = materialise(
        ModelVersion(name="w", version="3", source=other.as_uri()), None, cache=tmp_path / "cache"
    )
    assert [name for name, _ in files_of(folder)] == ["data.tgz"], "a file like any other"
