"""Logging files, folders and objects as artifacts: check, encode, hand to the recorder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trackbridge.api import images, media, tables
from trackbridge.api.recorder import RunRecorder, now_ms
from trackbridge.domain.artifacts import checked_path
from trackbridge.errors import InvalidInput


def log_path(recorder: RunRecorder, path: Path, artifact_path: str | None) -> None:
    """Log a file, or a folder under its own name."""
    if path.is_dir():
        log_folder(recorder, path, _join(artifact_path, path.resolve().name))
        return
    recorder.file(path, _join(artifact_path, path.name))


def log_folder(recorder: RunRecorder, folder: Path, artifact_path: str | None) -> dict[str, str | None]:
    """Log all files of a folder.

    Returns:
        The digest of each by its artifact path; None for one that the full journal refuses.

    Raises:
        InvalidInput: It is no folder, or holds a symbolic link that leads out of it, a folder that cannot be
            read, or what is neither file nor folder; then nothing is logged.
    """
    if not folder.is_dir():
        raise InvalidInput(
            f"{folder} is not a folder", operation="log_artifacts", hint="files are logged with log_artifact"
        )
    files = [(file, _join(artifact_path, name)) for file, name in _files(folder)]
    for _, path in files:
        checked_path(path)
    return {path: recorder.file(file, path) for file, path in files}


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    root = folder.resolve()
    for parent, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        folders.sort()
        for name in [*folders, *sorted(names)]:
            path = Path(parent) / name
            if path.is_symlink():
                _check_link(path, root)
            if path.is_dir():
                continue
            if not path.is_file():
                raise InvalidInput(f"{path} is not a regular file", operation="log_artifacts")
            yield path, path.relative_to(folder).as_posix()


def _refuse_unreadable(error: OSError) -> None:
    """Raise for a folder that would otherwise be passed over."""
    raise InvalidInput(
        f"{error.filename} cannot be read: {error.strerror}",
        operation="log_artifacts",
        hint="make the folder readable",
    ) from error


def _check_link(link: Path, root: Path) -> None:
    target = link.resolve()
    if target.is_dir() or not target.is_relative_to(root):
        what = "a folder" if target.is_dir() else "a file outside of the folder"
        raise InvalidInput(
            f"{link} is a symbolic link to {what}",
            operation="log_artifacts",
            hint="copy what it points to into the folder, or log it by itself with log_artifact",
        )


def _join(artifact_path: str | None, name: str) -> str:
    return f"{artifact_path.rstrip('/')}/{name}" if artifact_path else name


def log_text(recorder: RunRecorder, text: str, artifact_file: str) -> None:
    """Log text as a file."""
    recorder.content(media.encode_text(text, artifact_file), artifact_file)


def log_dict(recorder: RunRecorder, dictionary: Any, artifact_file: str) -> None:
    """Log a dictionary or list as JSON or YAML."""
    recorder.content(media.encode_dict(dictionary, artifact_file), artifact_file)


def log_figure(recorder: RunRecorder, figure: Any, artifact_file: str, **save_options: Any) -> None:
    """Log a figure."""
    recorder.content(media.encode_figure(figure, artifact_file, **save_options), artifact_file)


def log_image(
    recorder: RunRecorder,
    image: Any,
    artifact_file: str | None,
    *,
    key: str | None,
    step: int | None,
    timestamp: int | None,
) -> None:
    """Log an image as a file, or under a key and step."""
    if (artifact_file is None) == (key is None):
        raise InvalidInput(
            "an image is logged either under a file name or under a key",
            operation="log_image",
            hint="log_image(image, 'plots/one.png') or log_image(image, key='samples', step=3)",
        )
    if artifact_file is not None:
        recorder.content(images.encode_image(image, artifact_file), artifact_file)
        return
    when = now_ms() if timestamp is None else timestamp
    paths = images.image_paths(key or "", step or 0, when)
    recorder.content(images.encode_image(image, paths.image), paths.image)
    recorder.content(images.encode_thumbnail(image), paths.thumbnail)
    recorder.tags({images.TAG_LOGGED_IMAGES: True})  # mlflow's pages look for it


def log_table(recorder: RunRecorder, data: Any, artifact_file: str, *, existing: bytes | None) -> None:
    """Log a table; rows are added to what the file holds already."""
    content = tables.encode_table(data, artifact_file)
    existing = recorder.tables.get(artifact_file, existing)
    if existing is not None:
        content = tables.merge_tables(existing, content, artifact_file)
    recorder.content(content, artifact_file)
    recorder.tables[artifact_file] = content
