"""A wheel of this very version, made from what is installed: the same bytes each time.

So an image serves with the code that was tried here, also where no index has it (a development version).
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from trackbridge.errors import ConfigError
from trackbridge_adapters.docker.config import ADAPTER

DISTRIBUTION = "trackbridge"
PACKAGES = ("trackbridge", "trackbridge_adapters")
TAG = "py3-none-any"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip file can tell: a wheel must not depend on when it was made."""
MODE = 0o100644 << 16
LEFT_OUT = ("__pycache__",)
COPIED = ("METADATA", "entry_points.txt")


def installed() -> Distribution:
    """Return what is installed of us.

    Raises:
        ConfigError: We run from files that were never installed.
    """
    try:
        return distribution(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise ConfigError(
            "trackbridge is not installed, only found: an image cannot be given a copy of it",
            adapter=ADAPTER,
            hint="install it: pip install trackbridge, or pip install -e . in its sources",
        ) from error


def wheel_name(found: Distribution) -> str:
    """Return the name of the wheel's file."""
    return f"{DISTRIBUTION}-{found.version}-{TAG}.whl"


def write_wheel(folder: Path, found: Distribution) -> Path:
    """Write the wheel into a folder; return its path.

    Raises:
        ConfigError: A package of ours cannot be found.
    """
    path = folder / wheel_name(found)
    info = f"{DISTRIBUTION}-{found.version}.dist-info"
    members = {name: file.read_bytes() for name, file in sorted(_files().items())}
    members |= {f"{info}/{name}": text.encode() for name in COPIED if (text := found.read_text(name))}
    members[f"{info}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: trackbridge\nRoot-Is-Purelib: true\nTag: {TAG}\n".encode()
    )
    record = "".join(f"{name},sha256={_hash(content)},{len(content)}\n" for name, content in members.items())
    members[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    with zipfile.ZipFile(path, "x", compression=zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in members.items():
            member = zipfile.ZipInfo(name, EPOCH)
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, MODE
            archive.writestr(member, content)
    return path


def _files() -> dict[str, Path]:
    """Return the files of our packages by their names in a wheel."""
    found: dict[str, Path] = {}
    for package in PACKAGES:
        spec = find_spec(package)
        if spec is None or spec.origin is None:
            raise ConfigError(f"the package {package} cannot be found", adapter=ADAPTER, hint="reinstall it")
        root = Path(spec.origin).parent
        for file in root.rglob("*"):
            relative = file.relative_to(root)
            if file.is_file() and not any(_is_left_out(part) for part in relative.parts):
                found[f"{package}/{relative.as_posix()}"] = file
    return found


def _is_left_out(part: str) -> bool:
    """Tell what an editable install has besides the package: caches, and what editors leave."""
    return part in LEFT_OUT or part.startswith(".") or part.endswith("~")


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
