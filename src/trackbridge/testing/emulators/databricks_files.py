"""DBFS and the Files API (volumes of Unity Catalog) of the Databricks double."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from email.utils import formatdate
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from trackbridge.testing.emulators.databricks_volumes import MountedVolumes
from trackbridge.testing.emulators.databricks_workspace import refused
from trackbridge.testing.emulators.front import Result, json_result

DBFS = "/api/2.0/dbfs/"
FILES_API = "/api/2.0/fs/"
CLOSED = "/databricks/mlflow-"
"""Below this, DBFS's routes do nothing: files of runs and models have signed addresses."""
BLOCK_BYTES_MAX = 1024 * 1024


class WorkspaceFiles:
    """Files by path, with the time of their last change. ``now_s`` is the double's clock."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.files: dict[str, tuple[bytes, int]] = {}
        self.folders: set[str] = set()
        self.takes_model_file: Callable[[str], bool] = lambda path: False
        """Tells whether a path below ``/Models`` may be written."""
        self.volumes = MountedVolumes(self.files, self.folders, now_s)
        """Where programs of jobs see the files of volumes."""
        self._now_s = now_s
        self._handles: dict[int, tuple[str, bytearray]] = {}
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self.volumes.unmount()
            self.files.clear()
            self.folders.clear()
            self._handles.clear()

    def below(self, folder: str) -> list[str]:
        """Return the paths of the files below a folder, which ends with a slash."""
        return [path for path in self.files if path.startswith(folder)]

    def write(self, path: str, content: bytes) -> None:
        """Put a file there."""
        with self._lock:
            self.files[path] = (content, int(self._now_s() * 1000))
            self.volumes.write(path, content)

    def _is_folder(self, path: str) -> bool:
        return path in self.folders or any(key.startswith(f"{path}/") for key in (*self.files, *self.folders))

    def _children(self, folder: str) -> list[str]:
        start = f"{folder.rstrip('/')}/"
        below = [key[len(start) :] for key in (*self.files, *self.folders) if key.startswith(start)]
        return sorted({start + name.partition("/")[0] for name in below})

    # DBFS.

    def dbfs(self, method: str, route: str, request: dict[str, Any]) -> Result:
        """Answer one of DBFS's routes."""
        known: dict[tuple[str, str], Callable[[str, dict[str, Any]], Result]] = {
            ("GET", "get-status"): self._status,
            ("GET", "list"): self._list,
            ("GET", "read"): self._read,
            ("POST", "put"): self._put,
            ("POST", "create"): self._create,
            ("POST", "add-block"): self._add_block,
            ("POST", "close"): self._close,
            ("POST", "delete"): self._delete,
            ("POST", "move"): self._move,
        }
        answer = known.get((method, route))
        if answer is None:
            return refused(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} /dbfs/{route}'")
        path = str(request.get("path") or request.get("source_path") or "")
        if path.startswith((CLOSED, "/Volumes/")):
            return refused(403, "PERMISSION_DENIED", "No operations allowed on this path")
        if not path.startswith("/") and "handle" not in request:
            return refused(400, "INVALID_PARAMETER_VALUE", f"Path must be absolute: {path}")
        return answer(path.rstrip("/"), request)

    def _described(self, path: str) -> dict[str, Any]:
        if path in self.files:
            content, changed = self.files[path]
            return {"path": path, "is_dir": False, "file_size": len(content), "modification_time": changed}
        return {"path": path, "is_dir": True, "file_size": 0, "modification_time": 0}

    def _status(self, path: str, request: dict[str, Any]) -> Result:
        if path not in self.files and not self._is_folder(path):
            return _absent(path)
        return json_result(200, self._described(path))

    def _list(self, path: str, request: dict[str, Any]) -> Result:
        if path in self.files:
            return json_result(200, {"files": [self._described(path)]})
        if not self._is_folder(path):
            return _absent(path)
        return json_result(200, {"files": [self._described(child) for child in self._children(path)]})

    def _read(self, path: str, request: dict[str, Any]) -> Result:
        if path not in self.files:
            return _absent(path)
        offset, length = int(request.get("offset") or 0), int(request.get("length") or BLOCK_BYTES_MAX)
        if length > BLOCK_BYTES_MAX:
            return refused(400, "MAX_READ_SIZE_EXCEEDED", "The read is larger than 1 MB")
        block = self.files[path][0][offset : offset + length]
        return json_result(200, {"bytes_read": len(block), "data": base64.b64encode(block).decode()})

    def _put(self, path: str, request: dict[str, Any]) -> Result:
        content = base64.b64decode(request.get("contents") or "")
        if len(content) > BLOCK_BYTES_MAX:
            return refused(400, "MAX_BLOCK_SIZE_EXCEEDED", "The block is larger than 1 MB")
        problem = self._write_problem(path, bool(request.get("overwrite")))
        if problem is None:
            self.write(path, content)
        return problem or json_result(200, {})

    def _write_problem(self, path: str, overwrite: bool) -> Result | None:
        parts = path.split("/")
        if any("/".join(parts[:count]) in self.files for count in range(2, len(parts))):
            return refused(400, "IO_ERROR", "A parent of the path is a file")
        if self._is_folder(path) or (path in self.files and not overwrite):
            return refused(400, "RESOURCE_ALREADY_EXISTS", f"A file or directory already exists at {path}")
        return None

    def _create(self, path: str, request: dict[str, Any]) -> Result:
        problem = self._write_problem(path, bool(request.get("overwrite")))
        if problem is not None:
            return problem
        with self._lock:
            handle = len(self._handles) + 1
            self._handles[handle] = (path, bytearray())
        return json_result(200, {"handle": handle})

    def _add_block(self, path: str, request: dict[str, Any]) -> Result:
        block = base64.b64decode(request.get("data") or "")
        opened = self._handles.get(int(request.get("handle") or 0))
        if opened is None:
            return refused(404, "RESOURCE_DOES_NOT_EXIST", "The handle does not exist")
        if len(block) > BLOCK_BYTES_MAX:
            return refused(400, "MAX_BLOCK_SIZE_EXCEEDED", "The block is larger than 1 MB")
        opened[1].extend(block)
        return json_result(200, {})

    def _close(self, path: str, request: dict[str, Any]) -> Result:
        opened = self._handles.get(int(request.get("handle") or 0))
        if opened is None:
            return refused(404, "RESOURCE_DOES_NOT_EXIST", "The handle does not exist")
        self.write(opened[0], bytes(opened[1]))
        return json_result(200, {})

    def _delete(self, path: str, request: dict[str, Any]) -> Result:
        if self._is_folder(path) and self._children(path) and not request.get("recursive"):
            return refused(400, "IO_ERROR", "The directory is not empty")
        with self._lock:
            for key in [key for key in self.files if key == path or key.startswith(f"{path}/")]:
                del self.files[key]
        return json_result(200, {})

    def _move(self, path: str, request: dict[str, Any]) -> Result:
        destination = str(request.get("destination_path") or "")
        if path not in self.files:
            return _absent(path)
        problem = self._write_problem(destination, overwrite=False)
        if problem is None:
            with self._lock:
                self.files[destination] = self.files.pop(path)
        return problem or json_result(200, {})

    # The Files API.

    def answer(self, method: str, target: str, body: bytes) -> Result:
        """Answer one of the Files API's routes, for volumes and for versions of models."""
        self.volumes.read()
        parts = urlsplit(target)
        kind, _, rest = parts.path.removeprefix(FILES_API).partition("/")
        path = f"/{unquote(rest)}".rstrip("/")
        if kind not in ("files", "directories"):
            return refused(404, "ENDPOINT_NOT_FOUND", f"No API found for '{method} {parts.path}'")
        is_model = path.startswith("/Models/") and path.count("/") > 4
        if not is_model and not (path.startswith("/Volumes/") and path.count("/") > 3):
            return refused(400, "INVALID_PARAMETER_VALUE", f"The path {path} is in no volume")
        if is_model and method == "PUT" and not self.takes_model_file(path):
            return refused(403, "PERMISSION_DENIED", f"Nothing can be written to {path}")
        if kind == "directories":
            return self._directory(method, path)
        overwrite = parse_qs(parts.query).get("overwrite") == ["true"]
        return self._file(method, path, overwrite, body)

    def _file(self, method: str, path: str, overwrite: bool, body: bytes) -> Result:
        if method == "PUT":
            parent = path.rpartition("/")[0]
            is_volume = path.startswith("/Volumes/")
            if is_volume and parent.count("/") > 4 and not self._is_folder(parent):
                return refused(404, "NOT_FOUND", f"The directory {parent} does not exist")
            problem = self._write_problem(path, overwrite)
            if problem is None:
                self.write(path, body)
            return problem or Result(204, b"", {})
        if path not in self.files:
            return refused(404, "NOT_FOUND", f"The file {path} does not exist")
        if method == "DELETE":
            with self._lock:
                del self.files[path]
                self.volumes.remove(path)
            return Result(204, b"", {})
        content, changed = self.files[path]
        headers = {"Last-Modified": formatdate(changed / 1000, usegmt=True)}
        headers["Content-Type"] = "application/octet-stream"
        return Result(200, content, headers)

    def _directory(self, method: str, path: str) -> Result:
        if method == "PUT":
            parts = path.split("/")
            wanted = {"/".join(parts[:count]) for count in range(5, len(parts) + 1)}
            if wanted & set(self.files):
                return refused(409, "ALREADY_EXISTS", "A file is in the way")
            self.folders |= wanted
            return Result(204, b"", {})
        if not self._is_folder(path):
            return refused(404, "NOT_FOUND", f"The directory {path} does not exist")
        if method == "HEAD":
            return Result(200, b"", {})
        contents = [self._item(child) for child in self._children(path)]
        return json_result(200, {"contents": contents})

    def _item(self, path: str) -> dict[str, Any]:
        name = path.rpartition("/")[2]
        if path not in self.files:
            return {"path": path, "is_directory": True, "name": name}
        content, changed = self.files[path]
        return {
            "path": path,
            "is_directory": False,
            "file_size": len(content),
            "last_modified": changed,
            "name": name,
        }


def _absent(path: str) -> Result:
    return refused(404, "RESOURCE_DOES_NOT_EXIST", f"No file or directory exists on path {path}.")
