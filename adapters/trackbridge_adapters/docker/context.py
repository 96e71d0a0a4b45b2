"""A build context: everything that ``docker build`` needs, in one folder, the same bytes for the same model.

::

    Dockerfile             requirements.txt     wheels/trackbridge-….whl     README.md
    .dockerignore          constraints.txt      model/                       manifest.json

Its digest is SHA-256 over the sorted hashes of its files, each with its path; README.md and manifest.json are
not part of it, as they are not part of the image.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

from trackbridge.domain.deployments import DeploymentSpec
from trackbridge.errors import Rejected
from trackbridge_adapters.docker import dockerfile
from trackbridge_adapters.docker.config import ADAPTER
from trackbridge_adapters.docker.requirements import (
    CONSTRAINTS,
    EXTRAS,
    constraints_of,
    model_lines,
    names_of,
    pins,
)
from trackbridge_adapters.docker.wheel import installed, wheel_name, write_wheel

FILE_MODE, FOLDER_MODE = 0o644, 0o755
_CHUNK_BYTES = 1024 * 1024


def write_context(folder: Path, spec: DeploymentSpec, model: Path) -> str:
    """Write a build context into an empty folder; return its digest.

    Raises:
        Rejected: The folder holds no model, or what it needs cannot be had in an image.
        OSError: It cannot be written.
    """
    if not (model / "MLmodel").is_file():
        raise Rejected(
            f"{model} holds no MLmodel file", adapter=ADAPTER, hint="deploy a model that mlflow can load"
        )
    found = installed()
    lines = model_lines(model)
    has_wheel = spec.options.get("package", "wheel") == "wheel"
    asked = [name for name in spec.options.get("extras", "").split(",") if name]
    extras = f"[{','.join(dict.fromkeys([*EXTRAS, *asked]))}]"
    pinned = pins(found, but=names_of(lines)) if spec.options.get("pins", "here") == "here" else []
    ours = f"./wheels/{wheel_name(found)}{extras}" if has_wheel else f"trackbridge{extras}=={found.version}"
    files = {
        "requirements.txt": "\n".join([ours, *lines]) + "\n",
        "constraints.txt": "".join(f"{pin}\n" for pin in pinned),
        ".dockerignore": dockerfile.IGNORED,
    }
    constraints = constraints_of(model)
    if constraints is not None:
        files[CONSTRAINTS] = constraints
    recipe = dockerfile.Recipe(
        spec=spec,
        base_image=spec.options.get("base_image") or dockerfile.base_image_of(model),
        system_packages=dockerfile.system_packages_of(model, spec.options.get("system_packages", "")),
        files=tuple(sorted(name for name in files if name.endswith(".txt"))),
        has_wheel=has_wheel,
    )
    files["Dockerfile"] = dockerfile.dockerfile(recipe)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    if has_wheel:
        (folder / "wheels").mkdir()
        write_wheel(folder / "wheels", found)
    shutil.copytree(model, folder / "model", copy_function=shutil.copyfile)
    return _sealed(folder, spec)


def _sealed(folder: Path, spec: DeploymentSpec) -> str:
    """Let everybody read it, as whoever runs in the image does, and write down what is in it."""
    hashes: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        os.chmod(path, FOLDER_MODE if path.is_dir() else FILE_MODE)
        if path.is_file():
            hashes[path.relative_to(folder).as_posix()] = _hash(path)
    os.chmod(folder, FOLDER_MODE)
    members = (hashlib.sha256(f"{name}\0{value}".encode()).digest() for name, value in hashes.items())
    digest = hashlib.sha256(b"".join(sorted(members))).hexdigest()
    (folder / "README.md").write_text(dockerfile.readme(spec), "utf-8")
    (folder / "manifest.json").write_bytes(dockerfile.manifest(spec, f"sha256:{digest}", hashes))
    return digest


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
