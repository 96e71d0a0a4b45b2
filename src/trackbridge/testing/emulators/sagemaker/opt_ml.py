"""How a program of this machine comes to see a folder of ours as ``/opt/ml``, without docker.

On Linux, where the kernel lets us, the program gets mounts of its own and there is no difference. Elsewhere
``/opt/ml`` in its command line and its variables is replaced by where the folder really is; a program that
has the path in its own code, instead of taking it from its arguments or ``SM_*``, does not find it then.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = "/opt/ml"
_PATH = re.compile(r"(?<![\w./-])/opt/ml(?![\w-])")
_NAMESPACES = (("--mount",), ("--user", "--map-root-user", "--mount"))
"""As root without a user namespace, so that files of other users stay readable; else with one."""
_MOUNT = """set -e
folder=$1; shift
if [ -d /opt/ml ]; then mount --bind "$folder/opt/ml" /opt/ml
else
  mkdir -p "$folder/mounted"
  for entry in /opt/* /opt/.[!.]*; do
    [ -e "$entry" ] || continue
    here="$folder/mounted/${entry#/opt/}"
    if [ -d "$entry" ]; then mkdir -p "$here"; else : > "$here"; fi
    mount --rbind "$entry" "$here"
  done
  mkdir -p "$folder/mounted/ml"
  mount --bind "$folder/opt/ml" "$folder/mounted/ml"
  mount --rbind "$folder/mounted" /opt
fi
if [ -f "$folder/hosts" ]; then mount --bind "$folder/hosts" /etc/hosts; fi
exec "$@"
"""


@functools.cache
def namespace() -> tuple[str, ...] | None:
    """Return how a program gets mounts of its own here; None when it cannot."""
    program = shutil.which("unshare")
    if program is None or not Path("/opt").is_dir():
        return None
    for options in _NAMESPACES:
        trial = [program, *options, "/bin/sh", "-c", "mount --bind /opt /opt"]
        if subprocess.run(trial, capture_output=True, check=False).returncode == 0:
            return (program, *options)
    return None


def command_seeing(folder: Path, command: Sequence[str], *, is_mounted: bool) -> list[str]:
    """Return the command line that runs a command with ``folder/opt/ml`` as its ``/opt/ml``."""
    if not is_mounted:
        return [rewritten(part, folder) for part in command]
    return [*(namespace() or ()), "/bin/sh", "-c", _MOUNT, "sh", str(folder), *command]


def rewritten(text: str, folder: Path) -> str:
    """Return a text in which ``/opt/ml`` is where it really is."""
    return _PATH.sub(lambda _: f"{folder}{ROOT}", text)


def inside(folder: Path, path: str) -> Path | None:
    """Return where a container's path really is; None when it is not below ``/opt/ml``."""
    parts = Path(path).parts
    if parts[:3] != ("/", "opt", "ml") or ".." in parts:
        return None
    return folder / "opt" / "ml" / Path(*parts[3:])
