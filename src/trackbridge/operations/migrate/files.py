"""The files of a run from store to store, each hashed on the way, links in ``MLmodel`` rewritten."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from trackbridge.calls.policy import CallPolicy
from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.file_uris import file_path
from trackbridge.domain.migration import Loss, Treatment
from trackbridge.errors import Conflict, Rejected
from trackbridge.operations.copying import CopyOptions, copy_artifact
from trackbridge.operations.migrate.bounds import Spending, metered
from trackbridge.operations.migrate.prints import differences_of_files, is_own_file
from trackbridge.operations.migrate.rewriting import MLMODEL_BYTES_MAX, Rewriter, is_mlmodel
from trackbridge.operations.migrate.side import ATTEMPTS_MAX, CALL_S_MAX, Side
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.streams import StreamedArtifacts

_CHUNK_BYTES = 1024 * 1024


@dataclass(slots=True, kw_only=True)
class FileCopier:
    """Copies the files of runs.

    Args:
        source: Where from.
        target: Where to.
        rewriter: Writes the links of ``MLmodel``.
        spending: What the user allows.
        scratch: Where finished parts of large files are noted.
        on_file: Called after each file.
    """

    source: Side
    target: Side
    rewriter: Rewriter
    spending: Spending
    scratch: Path
    on_file: Callable[[], None] = lambda: None

    def copy(
        self, infos: list[ArtifactInfo], run_id: str, to_run_id: str, *, is_new: bool, subject: str
    ) -> CopiedFiles:
        """Copy what the target does not have, and compare what is there afterwards.

        Args:
            infos: The files of the source's run.
            run_id: The source's run.
            to_run_id: The target's run.
            is_new: Whether the target has none of them for certain.
            subject: The run, for what is told of losses.

        Raises:
            Conflict: What lies at the target afterwards is not what the source has.
        """
        copied = CopiedFiles()
        target = self.target.artifacts
        if not infos:
            return copied
        if target is None or self.source.artifacts is None:
            copied.refuse(infos, subject, "the target stores no files")
            return copied
        there = {} if is_new else {info.path: info for info in self.target.files(to_run_id)}
        for info in infos:
            self._copy_one(info, there.get(info.path), (run_id, to_run_id), target, copied, subject)
            self.on_file()
        self._compare(infos, to_run_id, copied)
        return copied

    def _copy_one(
        self,
        info: ArtifactInfo,
        there: ArtifactInfo | None,
        runs: tuple[str, str],
        target: ArtifactStore,
        copied: CopiedFiles,
        subject: str,
    ) -> None:
        if there is not None and not is_own_file(info.path):
            return  # the target's has what happened at the source besides
        rewritten = self._rewritten(info, runs[0])
        if rewritten is not None:
            copied.rewritten[info.path] = len(rewritten)
            copied.note(subject, info, Treatment.REWRITTEN, "the id of its run is that at the target")
            _put_bytes(target, runs[1], info.path, rewritten)
            return
        if there is not None and info.digest is not None and there.digest == info.digest:
            return
        most = self.target.capabilities.limits.artifact_bytes_max
        if most is not None and (info.file_size or 0) > most:
            copied.refuse(
                [info], subject, f"{info.file_size:,} bytes; the target takes files of {most:,} bytes"
            )
            return
        try:
            self._send(info, runs, target)
        except Rejected as error:
            copied.refuse([info], subject, error.message)

    def _send(self, info: ArtifactInfo, runs: tuple[str, str], target: ArtifactStore) -> None:
        here = self._file_here(info)
        if here is not None and not isinstance(target, StreamedArtifacts):
            size = info.file_size or 0
            target.put(runs[1], info.path, here, digest=info.digest or file_digest(here), size=size)
            self.spending.spend(size)
            return
        assert self.source.artifacts is not None
        name = hashlib.sha256("\n".join((runs[1], info.path)).encode("utf-8", "surrogatepass")).hexdigest()
        copy_artifact(
            metered(self.source.artifacts, self.spending),
            target,
            run_id=runs[0],
            path=info.path,
            to_run_id=runs[1],
            to_path=info.path,
            state=self.scratch / f"{name[:32]}.parts",
            options=CopyOptions(
                policy=CallPolicy(elapsed_s_max=CALL_S_MAX, attempts_max=ATTEMPTS_MAX),
                world=self.target.world,
            ),
            info=info,
        )

    def _file_here(self, info: ArtifactInfo) -> Path | None:
        """Return the file itself where the source keeps its files on this machine."""
        is_here = self.source.capabilities.is_local and (info.native_uri or "").startswith("file:")
        return file_path(info.native_uri or "") if is_here else None

    def _rewritten(self, info: ArtifactInfo, run_id: str) -> bytes | None:
        """Return the new bytes of an ``MLmodel`` file whose ids change, None for all others."""
        if not is_mlmodel(info.path) or (info.file_size or 0) > MLMODEL_BYTES_MAX:
            return None
        assert self.source.artifacts is not None
        with closing(self.source.artifacts.open(run_id, info.path)) as file:
            content = file.read()
        new = self.rewriter.mlmodel(content)
        return new if new != content else None

    def _compare(self, infos: list[ArtifactInfo], to_run_id: str, copied: CopiedFiles) -> None:
        wanted = [info for info in infos if info.path not in copied.refused and is_own_file(info.path)]
        there = {info.path: info for info in self.target.files(to_run_id)}
        found = [there[info.path] for info in wanted if info.path in there]
        differing = differences_of_files(wanted, found, copied.rewritten)
        if differing:
            raise Conflict(
                f"what lies at the target is not what was copied: {differing[0]}",
                operation="migrate",
                resource=f"run {to_run_id}",
                hint="copy again; when it stays so, somebody else writes there",
            )


@dataclass(slots=True)
class CopiedFiles:
    """What became of the files of a run. ``rewritten`` holds new sizes by path."""

    rewritten: dict[str, int | None] = field(default_factory=dict)
    refused: dict[str, int] = field(default_factory=dict)
    losses: list[Loss] = field(default_factory=list)

    def note(self, subject: str, info: ArtifactInfo, treatment: Treatment, detail: str) -> None:
        """Note what was done about a file."""
        name = f"files.{info.path[:80]}"
        self.losses.append(Loss(item=subject, field=name, treatment=treatment, detail=detail))

    def refuse(self, infos: list[ArtifactInfo], subject: str, reason: str) -> None:
        """Note files that the target does not take."""
        for info in infos:
            self.refused[info.path] = info.file_size or 0
            self.note(subject, info, Treatment.REFUSED, reason)


def _put_bytes(target: ArtifactStore, run_id: str, path: str, content: bytes) -> None:
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with tempfile.TemporaryDirectory(prefix="trackbridge-migrate-") as folder:
        file = Path(folder) / "content"
        file.write_bytes(content)
        target.put(run_id, path, file, digest=digest, size=len(content))


def file_digest(file: Path) -> str:
    """Return the digest that artifact stores want of a file of this machine."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK_BYTES):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"
