"""Each call that sends, lists or fetches files of a run."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlflow import MlflowClient

from tests.gateway.programs.notes import Notes
from tests.gateway.programs.tracking_calls import MISSING

PIECE = bytes(range(256))


def listed(found: Any) -> list[Any]:
    """Show a listing by its order, sizes and kinds."""
    return [[item.path, item.is_dir, item.file_size] for item in found]


def digests(place: str) -> Any:
    """Show what was fetched by its content."""
    found = Path(place)
    if found.is_file():
        return hashlib.sha256(found.read_bytes()).hexdigest()
    files = sorted(path for path in found.rglob("*") if path.is_file())
    return {str(path.relative_to(found)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def artifacts(client: MlflowClient, note: Notes, experiment: str) -> None:
    """Send files and folders, and read them in every way."""
    run = client.create_run(experiment, run_name="files").info.run_id
    note.named("run files", run)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        _send(client, note, run, folder)
        _read(client, note, run, folder)


def _send(client: MlflowClient, note: Notes, run: str, folder: Path) -> None:
    import numpy
    import pandas

    (folder / "a.bin").write_bytes(PIECE * 4096)
    (folder / "empty").write_bytes(b"")
    tree = folder / "tree"
    (tree / "deep" / "deeper").mkdir(parents=True)
    (tree / "one.txt").write_text("one")
    (tree / "deep" / "two words.txt").write_text("zwei")
    (tree / "deep" / "deeper" / "ü% +&.txt").write_text("drei")
    image = numpy.arange(48, dtype=numpy.uint8).reshape(4, 4, 3)
    sends: dict[str, Callable[[], Any]] = {
        "file": lambda: client.log_artifact(run, str(folder / "a.bin")),
        "file below": lambda: client.log_artifact(run, str(folder / "a.bin"), "below/it"),
        "empty file": lambda: client.log_artifact(run, str(folder / "empty")),
        "file again": lambda: client.log_artifact(run, str(folder / "a.bin")),
        "missing file": lambda: client.log_artifact(run, str(folder / "none")),
        "folder": lambda: client.log_artifacts(run, str(tree), "tree"),
        "folder at the top": lambda: client.log_artifacts(run, str(tree / "deep")),
        "text": lambda: client.log_text(run, "hello", "texts/hello.txt"),
        "dict": lambda: client.log_dict(run, {"a": [1, 2]}, "dict.json"),
        "yaml": lambda: client.log_dict(run, {"a": [1, 2]}, "dict.yml"),
        "image": lambda: client.log_image(run, image, "image.png"),
        "table": lambda: client.log_table(
            run, pandas.DataFrame({"a": [1, 2], "b": ["x", "y"]}), "table.json"
        ),
        "table more": lambda: client.log_table(run, {"a": [3], "b": ["z"]}, "table.json"),
        "to a parent": lambda: client.log_artifact(run, str(folder / "empty"), "../up"),
        "to the root": lambda: client.log_text(run, "no", "/etc/passwd"),
        "of no run": lambda: client.log_text(MISSING, "hello", "hello.txt"),
    }
    for label, send in sends.items():
        note(f"send {label}", send)


def _read(client: MlflowClient, note: Notes, run: str, folder: Path) -> None:
    for place in (
        None,
        "",
        "tree",
        "tree/deep",
        "tree/deep/deeper",
        "a.bin",
        "none",
        "below",
        "../..",
        "/etc",
    ):
        note(f"list {place!r}", lambda: client.list_artifacts(run, place), listed)  # noqa: B023
    note("list of no run", lambda: client.list_artifacts(MISSING), listed)
    for number, place in enumerate(
        ("a.bin", "empty", "tree", "tree/deep/deeper/ü% +&.txt", "dict.yml", "none", "../x")
    ):
        target = folder / f"down{number}"
        target.mkdir()
        note(f"fetch {place}", lambda: client.download_artifacts(run, place, str(target)), digests)  # noqa: B023
    target = folder / "all"
    target.mkdir()
    note(
        "fetch all",
        lambda: client.download_artifacts(run, "", str(target)),
        lambda place: len(digests(place)),
    )
    note("fetch of no run", lambda: client.download_artifacts(MISSING, "a.bin", str(target)))
    tags = lambda: sorted(client.get_run(run).data.tags)  # noqa: E731
    note("tags of files", tags)
