"""The text of a Dockerfile, and of what lies beside it for people."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from trackbridge.domain.deployments import DeploymentSpec

USER = 10001
PORT = 8080
SYSTEM_PACKAGES = {b"git+": "git", b"lightgbm": "libgomp1"}
"""What a requirement needs of the system, and a slim image does not have."""
HEALTH = (
    "import os, urllib.request as r; "
    "p = os.environ.get('BRIDGE_SERVING_PORT') or os.environ.get('SAGEMAKER_BIND_TO_PORT') or '8080'; "
    "r.urlopen('http://127.0.0.1:' + p + '/ping', timeout=4)"
)
IGNORED = "README.md\nmanifest.json\n"

_PYTHON = re.compile(rb"^python:\s*[\"']?([0-9]+\.[0-9]+(?:\.[0-9]+)?)[\"']?\s*$", re.MULTILINE)
_CONDA_PYTHON = re.compile(rb"^\s*-\s*python=+([0-9]+\.[0-9]+(?:\.[0-9]+)?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What differs between Dockerfiles.

    ``base_image`` is what it begins with, ``system_packages`` are Debian's; ``files`` lie at the context's
    top and are needed to install.
    """

    spec: DeploymentSpec
    base_image: str
    system_packages: tuple[str, ...]
    files: tuple[str, ...]
    has_wheel: bool


def base_image_of(model: Path) -> str:
    """Return the image of the Python that a model was made with, else of this one."""
    for name, pattern in (("python_env.yaml", _PYTHON), ("conda.yaml", _CONDA_PYTHON)):
        file = model / name
        found = pattern.search(file.read_bytes()) if file.is_file() else None
        if found:
            return f"python:{found[1].decode()}-slim"
    return f"python:{platform.python_version()}-slim"


def system_packages_of(model: Path, asked: str) -> tuple[str, ...]:
    """Return the system's packages that a model needs: those that are asked for, and known ones."""
    needed = (model / "requirements.txt").read_bytes().lower()
    known = {package for name, package in SYSTEM_PACKAGES.items() if name in needed}
    return tuple(sorted({*known, *(name for name in asked.split(",") if name)}))


def dockerfile(recipe: Recipe) -> str:
    """Return the Dockerfile: what changes seldom comes first, so that layers are built again seldom."""
    spec = recipe.spec
    copies = [f"COPY {' '.join(recipe.files)} ./"] + (["COPY wheels/ ./wheels/"] if recipe.has_wheel else [])
    parts = [
        f"FROM {recipe.base_image}",
        "ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_DISABLE_PIP_VERSION_CHECK=1",
        *_system(recipe.system_packages),
        "WORKDIR /opt/bridge",
        *copies,
        "RUN python -m pip install --no-cache-dir --requirement requirements.txt \\\n"
        "    --constraint constraints.txt",
        "COPY model/ /opt/ml/model/",
        "ENV " + " \\\n    ".join(f"{name}={quoted(value)}" for name, value in environment(spec).items()),
        "LABEL " + " \\\n    ".join(f"{name}={quoted(value)}" for name, value in labels(spec).items()),
        f"USER {USER}:{USER}",
        f"EXPOSE {PORT}",
        "STOPSIGNAL SIGTERM",
        "HEALTHCHECK --interval=15s --timeout=5s --start-period=120s --retries=3 \\\n"
        f"    CMD {json.dumps(['python', '-c', HEALTH])}",
        f"ENTRYPOINT {json.dumps(['python', '-m', 'trackbridge.serving.container'])}",
    ]
    return "\n\n".join(parts) + "\n"


def _system(packages: tuple[str, ...]) -> list[str]:
    if not packages:
        return []
    return [
        "# Which versions there are is up to the base image.\n"
        "# hadolint ignore=DL3008\n"
        "RUN apt-get update \\\n"
        f"    && apt-get install --yes --no-install-recommends {' '.join(packages)} \\\n"
        "    && rm -rf /var/lib/apt/lists/*"
    ]


def environment(spec: DeploymentSpec) -> dict[str, str]:
    """Return the variables of an image: how its server runs, then those that were asked for."""
    return {
        "BRIDGE_SERVING_NAME": f"{spec.endpoint}/{spec.deployment}",
        "BRIDGE_SERVING_MODEL": spec.model,
        "BRIDGE_SERVING_WORKERS": str(spec.instance_count),
        "BRIDGE_SERVING_TIMEOUT_S": f"{spec.request_timeout_s:g}",
        **dict(sorted(spec.variables.items())),
    }


def labels(spec: DeploymentSpec) -> dict[str, str]:
    """Return what an image says about itself."""
    found = {
        "org.opencontainers.image.title": spec.endpoint,
        "org.opencontainers.image.version": spec.deployment,
        "io.trackbridge.model": spec.model,
        "io.trackbridge.model-digest": spec.model_digest,
    }
    return {name: value for name, value in found.items() if value}


def quoted(value: str) -> str:
    r"""Return a value as a Dockerfile's ENV takes it: in ``"``, nothing in it means anything."""
    return '"' + re.sub(r'(["\\$])', r"\\\1", value) + '"'


def readme(spec: DeploymentSpec) -> str:
    """Return what is to be done with the context."""
    tag = f"{spec.endpoint}:{spec.deployment}".lower()
    return f"""# {spec.endpoint}/{spec.deployment}: {spec.model}

Build the image (the only step that needs a network), and run it:

    docker build -t {tag} .
    docker run --rm -p {PORT}:{PORT} --read-only --tmpfs /tmp {tag}

Ask it:

    curl localhost:{PORT}/ping
    curl localhost:{PORT}/invocations -H 'Content-Type: application/json' -d '{{"inputs": [[...]]}}'
    curl localhost:{PORT}/metrics

Variables of the container set ports, processes, time limits and telemetry:
`python -c 'import trackbridge.serving.container as c; print(c.__doc__)'` in the image lists them.
`manifest.json` has the SHA-256 of every file.
"""


def manifest(spec: DeploymentSpec, digest: str, files: Mapping[str, str]) -> bytes:
    """Return the list of what is in a context, with the hash of each file."""
    content = {
        "digest": digest,
        "endpoint": spec.endpoint,
        "deployment": spec.deployment,
        "model": spec.model,
        "model_digest": spec.model_digest,
        "files": dict(sorted(files.items())),
    }
    return json.dumps(content, indent=2).encode() + b"\n"
