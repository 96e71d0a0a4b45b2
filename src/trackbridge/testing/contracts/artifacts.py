"""The contract of an artifact store: every sentence of ``trackbridge.ports.artifacts``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from trackbridge.domain.artifacts import ArtifactInfo
from trackbridge.domain.ids import mint_id
from trackbridge.errors import NotFound, Rejected
from trackbridge.ports.artifacts import ArtifactStore
from trackbridge.ports.capabilities import Feature
from trackbridge.testing.contracts.base import Contract, each, requires
from trackbridge.testing.contracts.samples import HOSTILE_TEXTS, digest_of, file_of, run_spec
from trackbridge.testing.contracts.tracking_base import pages_hold, refuses_garbage

BIG_BYTES = 8 * 1024 * 1024

TRICKS = {
    "climbs": "../outside.txt",
    "climbs far": "../../../../../../tmp/outside.txt",
    "climbs_within": "a/../../outside.txt",
    "absolute": "/outside.txt",
    "empty": "",
    "dot": ".",
    "dots": "..",
    "empty part": "a//b",
    "trailing slash": "a/",
    "nul": "a\0b",
    "backslash": "..\\outside.txt",
    "long part": "x" * 300,
    "long": "/".join(["part"] * 400),
    "lone surrogate": "a\ud800",
}
RUN_ID_TRICKS = ["..", ".", "", "a/b", "../x", "{around}/x", "a\0b", "\ud800", "x" * 300]
UNUSUAL = {
    "spaces": " a b ",
    "unicode": "Übung/漢字.txt",
    "composed": "é.txt",
    "decomposed": "e\u0301.txt",
    "emoji": "🚀/👩‍👩‍👧‍👦.bin",
    "newline": "a\nb",
    "quotes": 'it\'s "x"',
    "percent": "100%25.txt",
    "address": "a?b#c&d=e+f",
    "hidden": ".hidden",
    "dashes": "-rf",
    "tilde": "~root",
    "glob": "*[a]?",
    "colon": "C:x",
    "control": "\x01\x7f",
    "deep": "/".join("abcdefghijklmnopqrstuvwxyz"),
    "long part": "x" * 255,
}

WRONG = [(digest_of(b"other"), 7), (digest_of(b"content"), 6), (digest_of(b"content"), 8), ("sha256:", 7)]
"""Digests and sizes that are not both those of ``content``."""


class ArtifactContract(Contract):
    """Bind it with a fixture ``adapter`` that returns an opened, empty adapter with an artifact port."""

    @pytest.fixture(autouse=True)
    def _sources(self, _bind: None, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
        self.folder = tmp_path_factory.mktemp("sources")
        # A store in a local folder most likely has its folder in here.
        self.around = tmp_path
        self.run_id = self.new_run()

    def new_run(self) -> str:
        """Return the id of a run, opened where the adapter has a place for runs."""
        if self.opened.tracking is None:
            return mint_id()
        return self.opened.tracking.open_run(run_spec()).info.run_id

    @property
    def store(self) -> ArtifactStore:
        """The port under test."""
        store = self.opened.artifacts
        assert store is not None, "the adapter has no artifact port"
        return store

    def put(self, path: str, content: bytes = b"content", *, run_id: str | None = None) -> ArtifactInfo:
        """Store bytes."""
        file, owner = file_of(self.folder, content), self.run_id if run_id is None else run_id
        return self.store.put(owner, path, file, digest=digest_of(content), size=len(content))

    def read(self, path: str, *, run_id: str | None = None) -> bytes:
        """Return the bytes of a file."""
        with self.store.open(self.run_id if run_id is None else run_id, path) as reader:
            return reader.read()

    def listed(self, prefix: str = "") -> list[str]:
        """Return the paths of the children of a folder."""
        return [item.path for item in self.store.list(self.run_id, prefix)]

    # put, open, stat

    @each("content", [b"", b"x", b"a\r\nb\0c", bytes(range(256)) * 999])
    def test_bytes_come_back(self, content: bytes) -> None:
        put = self.put("folder/file.bin", content)
        assert self.read("folder/file.bin") == content
        assert (put.path, put.is_dir, put.file_size) == ("folder/file.bin", False, len(content))
        assert put.digest in (digest_of(content), None)
        assert self.store.stat(self.run_id, "folder/file.bin") == put

    def test_a_big_file_is_read_in_pieces(self) -> None:
        content = os.urandom(1024) * (BIG_BYTES // 1024)
        assert self.put("big.bin", content).file_size == BIG_BYTES
        with self.store.open(self.run_id, "big.bin") as reader:
            assert reader.read(10) == content[:10]
            pieces = iter(lambda: reader.read(1 << 20), b"")
            assert content[:10] + b"".join(pieces) == content

    def test_the_same_bytes_again_change_nothing(self) -> None:
        first = self.put("a/b.txt")
        assert self.put("a/b.txt") == first
        assert self.listed() == ["a"]
        assert self.listed("a") == ["a/b.txt"]

    def test_other_bytes_replace(self) -> None:
        self.put("a.txt", b"the old, longer content")
        self.put("a.txt", b"new")
        assert self.read("a.txt") == b"new"
        assert self.store.stat(self.run_id, "a.txt").file_size == 3
        self.put("a.txt", b"the old, longer content")
        assert self.read("a.txt") == b"the old, longer content"

    def test_the_source_is_left_alone_and_may_change_afterwards(self) -> None:
        file = file_of(self.folder, b"content")
        self.store.put(self.run_id, "a.txt", file, digest=digest_of(b"content"), size=7)
        assert file.read_bytes() == b"content"
        file.write_bytes(b"changed")
        file.unlink()
        assert self.read("a.txt") == b"content"

    @each("digest_and_size", WRONG)
    def test_wrong_bytes_are_refused_and_nothing_is_seen_of_them(
        self, digest_and_size: tuple[str, int]
    ) -> None:
        digest, size = digest_and_size
        file = file_of(self.folder, b"content")
        self.run_id = self.new_run()
        with pytest.raises(Rejected):
            self.store.put(self.run_id, "folder/a.txt", file, digest=digest, size=size)
        assert self.listed("folder") == []
        with pytest.raises(NotFound):
            self.store.stat(self.run_id, "folder/a.txt")
        self.put("folder/a.txt", b"old")
        with pytest.raises(Rejected):
            self.store.put(self.run_id, "folder/a.txt", file, digest=digest, size=size)
        assert self.listed("folder") == ["folder/a.txt"]
        assert self.read("folder/a.txt") == b"old"

    def test_a_run_does_not_see_the_files_of_another(self) -> None:
        self.put("a.txt", b"mine")
        other = self.new_run()
        self.put("a.txt", b"theirs", run_id=other)
        assert (self.read("a.txt"), self.read("a.txt", run_id=other)) == (b"mine", b"theirs")

    def test_what_is_not_a_file_cannot_be_opened(self) -> None:
        self.put("a/b.txt")
        self.put("a.txt")
        for path in ("absent", "a/absent", "a.txt/below", "a", "A.TXT"):
            with pytest.raises(NotFound):
                self.store.open(self.run_id, path)

    def test_an_unknown_run_has_no_files(self) -> None:
        unknown = mint_id()
        with pytest.raises(NotFound):
            self.store.open(unknown, "a.txt")
        with pytest.raises(NotFound):
            self.store.stat(unknown, "a.txt")
        page = self.store.list(unknown)
        assert (page.items, page.token) == ((), None)

    def test_a_folder_has_neither_size_nor_digest(self) -> None:
        self.put("a/b/c.txt")
        for path in ("a", "a/b"):
            info = self.store.stat(self.run_id, path)
            assert (info.path, info.is_dir, info.file_size, info.digest) == (path, True, None, None)
        with pytest.raises(NotFound):
            self.store.stat(self.run_id, "a/c.txt")

    def test_a_path_cannot_be_both_a_file_and_a_folder(self) -> None:
        self.put("file", b"1")
        self.put("folder/child", b"2")
        for path in ("file/child", "file/child/deeper", "folder"):
            with pytest.raises(Rejected):
                self.put(path, b"3")
        assert self.listed() == ["file", "folder"]
        assert (self.read("file"), self.read("folder/child")) == (b"1", b"2")

    # list

    def test_the_direct_children_are_listed_in_order_of_path(self) -> None:
        for path in ("b", "a/2", "a/1", "a/3/deep", "a-b", "a.b", "Z", "ü", "10", "9"):
            self.put(path, path.encode())
        assert self.listed() == sorted(["b", "a", "a-b", "a.b", "Z", "ü", "10", "9"])
        assert self.listed("a") == ["a/1", "a/2", "a/3"]
        assert self.listed("a/3") == ["a/3/deep"]
        kinds = {item.path: item.is_dir for item in self.store.list(self.run_id, "a")}
        assert kinds == {"a/1": False, "a/2": False, "a/3": True}

    def test_what_is_listed_is_what_is_described(self) -> None:
        self.put("a/1", b"12345")
        self.put("b", b"")
        for prefix in ("", "a"):
            for item in self.store.list(self.run_id, prefix):
                assert item == self.store.stat(self.run_id, item.path)

    def test_a_folder_that_does_not_exist_is_empty(self) -> None:
        self.put("abc/1")
        for prefix in ("ab", "abc/1/x", "absent", "bc"):
            assert self.listed(prefix) == []

    def test_a_prefix_that_is_a_file_lists_it_alone(self) -> None:
        self.put("a/1")
        self.put("a/10")
        assert self.listed("a/1") == ["a/1"]

    def test_children_are_paged(self) -> None:
        for number in range(7):
            self.put(f"folder/{number}")
        pages_hold(
            [f"folder/{number}" for number in range(7)],
            lambda size, token: self.store.list(self.run_id, "folder", max_results=size, token=token),
            sizes=(1, 2, 3, 7, 100),
            item=lambda found: found.path,
        )

    def test_a_foreign_token_of_a_listing_of_files_is_refused(self) -> None:
        self.put("a")
        refuses_garbage(lambda token: self.store.list(self.run_id, token=token))

    # hostile paths

    def test_an_unusual_path_is_kept_exactly_or_refused(self) -> None:
        kept = []
        for path in UNUSUAL.values():
            try:
                assert self.put(path, path.encode()).path == path
                kept.append(path)
            except Rejected:
                with pytest.raises(NotFound):
                    self.store.stat(self.run_id, path)
        self.are_all(kept)

    def are_all(self, paths: Sequence[str]) -> None:
        """See that a run has files of these paths, each of which is its content, and no others."""
        assert {path: self.read(path) for path in paths} == {path: path.encode() for path in paths}
        assert self.listed() == sorted({path.partition("/")[0] for path in paths})
        below = [path for path in paths if "/" in path]
        assert [self.listed(path.rpartition("/")[0]) for path in below] == [[path] for path in below]

    def test_names_that_differ_only_in_form_stay_apart_or_are_refused(self) -> None:
        names = ["é", "e\u0301", "case", "CASE"]
        kept: list[str] = []
        for name in names:
            with suppress(Rejected):
                self.put(name, name.encode())
                kept.append(name)
        assert self.listed() == sorted(kept)
        assert all(self.read(name) == name.encode() for name in kept)

    @each("name", TRICKS)
    def test_a_trick_of_a_path_reaches_nothing(self, name: str) -> None:
        path = TRICKS[name]
        self.put("a/inside.txt")
        before = snapshot(self.around)
        with pytest.raises(Rejected):
            self.put(path, b"content")
        for read in (self.store.open, self.store.stat):
            with pytest.raises((Rejected, NotFound)):
                read(self.run_id, path)
        assert self.listed() == ["a"]
        assert snapshot(self.around) == before

    @each("trick", RUN_ID_TRICKS)
    def test_a_trick_of_a_run_id_reaches_nothing(self, trick: str) -> None:
        run_id, folder = trick.replace("{around}", str(self.around)), self.run_folder()
        before = snapshot(self.around)
        try:
            self.put("trick.txt", b"content", run_id=run_id)
        except (Rejected, NotFound):
            with pytest.raises((Rejected, NotFound)):
                self.store.open(run_id, "trick.txt")
        else:
            assert self.read("trick.txt", run_id=run_id) == b"content"
        for path in snapshot(self.around) - before:
            assert folder is not None, f"the store is no folder, and yet there is {path}"
            assert path.name != "trick.txt" or path.parent.parent == folder.parent, f"{path} is outside"
        assert self.listed() == ["probe"]

    def test_a_hostile_text_as_a_path_raises_only_our_errors(self) -> None:
        kept = []
        for text in HOSTILE_TEXTS.values():
            with suppress(Rejected):
                self.put(text, text.encode(errors="replace"))
                kept.append(text)
        self.are_all(kept)

    # where the store is a folder of this machine

    def run_folder(self) -> Path | None:
        """Return the folder that the run's files are in, where the store is a local folder."""
        self.put("probe", b"probe")
        uri = urlsplit(self.store.stat(self.run_id, "probe").native_uri or "")
        file = Path(unquote(uri.path))
        return file.parent if uri.scheme == "file" and file.name == "probe" and file.is_file() else None

    def test_a_link_out_of_the_folder_is_not_followed(self) -> None:
        folder = self.run_folder()
        if folder is None:
            assert self.read("probe") == b"probe"
            return
        outside = self.folder / "outside"
        outside.mkdir()
        (outside / "secret.txt").write_bytes(b"secret")
        (folder / "link").symlink_to(outside)
        (folder / "link.txt").symlink_to(outside / "secret.txt")
        for path in ("link/secret.txt", "link.txt"):
            with pytest.raises((NotFound, Rejected)):
                self.store.open(self.run_id, path)
        assert self.listed("link") == []
        for path in ("link/new.txt", "link/secret.txt", "link.txt"):
            with suppress(Rejected):
                self.put(path, b"written")
                assert self.read(path) == b"written"
        if self.capabilities.supports(Feature.ARTIFACTS_DELETE):
            for path in ("link/secret.txt", "link", "link.txt"):
                self.store.delete(self.run_id, path)
        assert {file.name: file.read_bytes() for file in outside.iterdir()} == {"secret.txt": b"secret"}

    # many at once

    def test_a_reader_sees_the_whole_old_or_the_whole_new_file(self) -> None:
        contents = [bytes([number]) * 200_000 for number in (1, 2)]
        self.put("a.bin", contents[0])

        def work(number: int) -> list[bytes]:
            if number % 2:
                for turn in range(8):
                    self.put("a.bin", contents[turn % 2])
                return []
            return [self.read("a.bin") for _ in range(8)]

        with ThreadPoolExecutor(4) as pool:
            seen = {content for result in pool.map(work, range(4)) for content in result}
        assert seen <= set(contents)
        assert len(seen) > 0

    def test_an_open_reader_keeps_what_it_opened(self) -> None:
        self.put("a.bin", b"old" * 100_000)
        with self.store.open(self.run_id, "a.bin") as reader:
            beginning = reader.read(3)
            self.put("a.bin", b"new" * 100_000)
            assert beginning + reader.read() == b"old" * 100_000
        assert self.read("a.bin") == b"new" * 100_000

    def test_files_put_by_several_threads_are_all_there(self) -> None:
        def work(number: int) -> None:
            for part in range(4):
                self.put(f"folder/{number}-{part}", f"{number}-{part}".encode())
                self.put("shared", b"the same")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        names = [f"{number}-{part}" for number in range(4) for part in range(4)]
        assert self.listed("folder") == [f"folder/{name}" for name in names]
        assert all(self.read(f"folder/{name}") == name.encode() for name in names)
        assert self.read("shared") == b"the same"

    def test_a_file_of_the_greatest_declared_size_is_not_exceeded(self) -> None:
        most = self.limits.artifact_bytes_max
        if most is None or most > BIG_BYTES:
            assert self.put("a.bin", b"x" * 1024).file_size == 1024
            return
        assert self.put("a.bin", b"x" * most).file_size == most
        with pytest.raises(Rejected):
            self.put("b.bin", b"x" * (most + 1))
        assert self.listed() == ["a.bin"]

    # optional

    @requires(Feature.ARTIFACTS_DELETE)
    def test_deleting(self) -> None:
        for path in ("a.txt", "folder/1", "folder/2/3", "folder-not/1"):
            self.put(path)
        self.store.delete(self.run_id, "a.txt")
        assert self.listed() == ["folder", "folder-not"]
        self.store.delete(self.run_id, "folder/1")
        assert self.listed("folder") == ["folder/2"]
        self.store.delete(self.run_id, "folder")
        assert self.listed() == ["folder-not"]
        assert self.listed("folder") == []
        for path in ("a.txt", "folder/2/3"):
            with pytest.raises(NotFound):
                self.store.open(self.run_id, path)

    @requires(Feature.ARTIFACTS_DELETE)
    def test_deleting_what_is_absent_succeeds(self) -> None:
        self.store.delete(self.run_id, "absent")
        self.put("a/b")
        for path in ("absent", "a/absent", "a/b/below", "a/b", "a/b", "a"):
            self.store.delete(self.run_id, path)
        self.store.delete(mint_id(), "a")
        assert self.listed() == []

    @requires(Feature.ARTIFACTS_DELETE)
    def test_a_deleted_path_can_be_used_again_also_as_a_folder(self) -> None:
        self.put("a", b"1")
        self.store.delete(self.run_id, "a")
        self.put("a/b", b"2")
        self.store.delete(self.run_id, "a")
        self.put("a", b"1")
        assert self.read("a") == b"1"

    @requires(Feature.ARTIFACTS_DELETE)
    def test_a_trick_of_a_path_deletes_nothing(self) -> None:
        self.put("a/b")
        for name, path in TRICKS.items():
            with suppress(Rejected):
                self.store.delete(self.run_id, path)
            assert self.read("a/b") == b"content", name

    @requires(Feature.ARTIFACTS_PRESIGN)
    def test_a_file_can_be_presigned(self) -> None:
        self.put("a.txt")
        assert urlsplit(self.store.presign(self.run_id, "a.txt", expires_s=60)).scheme

    @requires(Feature.ARTIFACTS_PRESIGN)
    def test_what_is_absent_cannot_be_presigned(self) -> None:
        with pytest.raises(NotFound):
            self.store.presign(self.run_id, "absent", expires_s=60)

    @requires(Feature.ARTIFACTS_RESUMABLE_UPLOAD)
    def test_a_resumable_upload_does_as_put_and_removes_its_state(self) -> None:
        content = os.urandom(1024) * 1024
        file, state = file_of(self.folder, content), self.folder / "state"
        for _ in range(2):
            self.store.put_resumable(
                self.run_id, "a.bin", file, digest=digest_of(content), size=len(content), state=state
            )
            assert self.read("a.bin") == content
            assert not state.exists()

    @requires(Feature.ARTIFACTS_RESUMABLE_UPLOAD)
    def test_a_resumable_upload_of_wrong_bytes_is_refused(self) -> None:
        file, state = file_of(self.folder, b"content"), self.folder / "state"
        with pytest.raises(Rejected):
            self.store.put_resumable(
                self.run_id, "a.bin", file, digest=digest_of(b"other"), size=7, state=state
            )
        assert self.listed() == []


def snapshot(folder: Path) -> set[Path]:
    """Return every path below a folder."""
    return set(folder.rglob("*"))
