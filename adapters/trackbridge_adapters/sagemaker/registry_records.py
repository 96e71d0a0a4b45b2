"""What is kept of a registered model: one record in S3, which every change replaces by compare-and-swap.

It lies at ``registry/GROUP/model.json``, GROUP being the name of the model package group. It holds what a
package group and its packages cannot (any name, text, tag and alias, keys of creations, who changed what and
why). That there is a group or a package, whether it is approved and in which stage, SageMaker itself says.

The oldest changes of a long history are moved out into ``registry/GROUP/changes/``, objects that never
change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from trackbridge.domain.models import Approval, ModelVersionSpec, Origin
from trackbridge.errors import Conflict, Rejected, Unavailable
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.bucket import Bucket

FOLDER = "registry"
FILE = "model.json"
FORMAT = 1
RECORD_BYTES_MAX = 64 * 1024 * 1024
"""A record is read and written as a whole by every change."""
CHANGES_MAX = 1000
"""How many changes a record holds before the older half of them is moved out."""


class Change(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """One change; ``version`` is None for the model itself. ``time`` in milliseconds since 1970."""

    sequence: int
    version: int | None = None
    what: str
    before: str | None = None
    after: str | None = None
    user: str
    time: int
    why: str = ""


class VersionRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A version. ``package`` is the ARN of its model package; ``key`` that of its creation, None where
    somebody else made the package. Of a deleted one, key, source and digest are kept.

    ``stage`` and ``approval`` are what the last change here made of them.
    """

    package: str
    source: str
    digest: str | None = None
    key: str | None = None
    run_id: str | None = None
    origin: Origin | None = None
    description: str = ""
    tags: dict[str, str] = {}
    datasets: tuple[str, ...] = ()
    stage: str = "None"
    approval: Approval = Approval.PENDING
    user: str = ""
    created: int = 0
    changed: int = 0
    is_deleted: bool = False


def version_record(spec: ModelVersionSpec, key: str, *, package: str = "", user: str = "") -> VersionRecord:
    """Return the record of a version that is made; without ``package``, before SageMaker has it."""
    return VersionRecord(
        package=package,
        key=key,
        source=spec.source,
        digest=spec.digest,
        run_id=spec.run_id,
        origin=spec.origin,
        description=spec.description,
        tags=dict(spec.tags),
        datasets=tuple(spec.datasets),
        user=user,
    )


class ModelRecord(msgspec.Struct, omit_defaults=True, kw_only=True):
    """A model with its versions by number, those that were deleted too.

    ``group_created`` is when SageMaker made the group, in milliseconds: a group made at another time is not
    the one that this record is about. ``moved`` are the keys of the objects with older changes, oldest first.
    """

    format: int = FORMAT
    name: str
    group_created: int = 0
    description: str = ""
    tags: dict[str, str] = {}
    aliases: dict[str, int] = {}
    versions: dict[int, VersionRecord] = {}
    changes: list[Change] = []
    moved: list[str] = []
    sequence: int = 0
    created: int = 0
    changed: int = 0
    is_deleted: bool = False

    @property
    def last_number(self) -> int:
        """The greatest number that a version ever had; 0 when there was none."""
        return max(self.versions, default=0)

    def living(self) -> dict[int, VersionRecord]:
        """Return the versions that were not deleted."""
        return {number: item for number, item in self.versions.items() if not item.is_deleted}


class Records:
    """The records of a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def address(self, folder: str) -> str:
        """Return the ``s3://`` address of a model's record."""
        return self._bucket.address(_key(folder))

    def read(self, folder: str) -> tuple[ModelRecord, str] | None:
        """Return the record in a folder below ``registry/`` and its version; None when there is none.

        Raises:
            Unavailable: It is damaged, or of a newer program.
        """
        found = self._bucket.get(_key(folder))
        return None if found is None else (self._decoded(found[0], folder), found[1])

    def read_many(self, folders: list[str]) -> Iterator[tuple[str, ModelRecord | None]]:
        """Yield each folder with its record; several are read at once."""
        found = self._bucket.get_many([_key(folder) for folder in folders])
        for folder, (_, item) in zip(folders, found, strict=True):
            yield folder, None if item is None else self._decoded(item[0], folder)

    def folders(self) -> Iterator[str]:
        """Yield the folders in which records lie."""
        for key in self._bucket.list(FOLDER):
            if key.endswith(f"/{FILE}"):
                yield key[len(FOLDER) + 1 : -len(FILE) - 1]

    def encoded(self, record: ModelRecord, *, beside: tuple[str, ...] = ()) -> bytes:
        """Return the bytes of a record.

        Args:
            record: All of it.
            beside: Texts that are to be added later.

        Raises:
            Rejected: A text of it cannot be kept, or it would be too large.
        """
        try:
            msgspec.json.encode(beside)
            data = msgspec.json.encode(record)
        except UnicodeEncodeError as error:
            raise Rejected(
                "a text holds half a character (a lone surrogate)",
                adapter=ADAPTER,
                hint="decode it properly, or with errors='replace'",
            ) from error
        if len(data) > RECORD_BYTES_MAX:
            raise Rejected(
                f"all that is known of the model would have {len(data):,} bytes, more than "
                f"{RECORD_BYTES_MAX:,}",
                adapter=ADAPTER,
                hint="log large texts as artifacts, and delete tags that are not needed",
            )
        return data

    def write(self, folder: str, record: ModelRecord, match: str | None) -> bool:
        """Replace a record of the version ``match`` (None: there is none); False when somebody was quicker.

        Long histories are cut first.
        """
        self._cut(folder, record)
        data = self.encoded(record)
        try:
            self._bucket.put(_key(folder), data, match=match, absent=match is None)
        except Conflict:
            return False
        return True

    def changes(self, record: ModelRecord) -> Iterator[Change]:
        """Yield the whole history, newest first."""
        yield from reversed(record.changes)
        for key in reversed(record.moved):
            found = self._bucket.get(key)
            if found is None:
                raise Unavailable(
                    "a part of the history is missing", adapter=ADAPTER, resource=self._bucket.address(key)
                )
            yield from reversed(msgspec.json.decode(found[0], type=list[Change]))

    def _cut(self, folder: str, record: ModelRecord) -> None:
        if len(record.changes) <= CHANGES_MAX:
            return
        kept = CHANGES_MAX // 2
        older = msgspec.json.encode(record.changes[:-kept])
        # Named by its content: a cut that is made again, or twice at once, writes the same object.
        key = f"{FOLDER}/{folder}/changes/{hashlib.sha256(older).hexdigest()}.json"
        self._bucket.put(key, older)
        record.moved = [*record.moved, key]
        record.changes = record.changes[-kept:]

    def _decoded(self, data: bytes, folder: str) -> ModelRecord:
        try:
            record = msgspec.json.decode(data, type=ModelRecord)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise Unavailable(
                "the record of a model is damaged, or of another program",
                adapter=ADAPTER,
                resource=self.address(folder),
                hint="restore an older version of the object, where the bucket keeps them",
            ) from error
        if record.format > FORMAT:
            raise Unavailable(
                "the record of a model was written by a newer trackbridge",
                adapter=ADAPTER,
                resource=self.address(folder),
                hint="upgrade: pip install --upgrade trackbridge",
            )
        return record


def _key(folder: str) -> str:
    return f"{FOLDER}/{folder}/{FILE}"
