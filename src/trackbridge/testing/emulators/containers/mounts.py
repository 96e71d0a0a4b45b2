"""How a program of this machine comes to see folders of ours at paths such as ``/opt/ml``, without docker.

A container has a folder, and roots: ``/opt/ml`` in it is ``folder/opt/ml``. On Linux, where the kernel lets
us, the program gets mounts of its own and there is no difference. Elsewhere the roots in its command line and
its variables are replaced by where they really are; a program that has such a path in its own code, instead
of taking it from its arguments or variables, does not find it then.
"""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

_NAMESPACES = (("--mount",), ("--user", "--map-root-user", "--mount"))
"""As root without a user namespace, so that files of other users stay readable; else with one."""
# What lies beside a root that is not there is bound into a folder of ours, which takes its parent's place.
_MOUNT = """set -e
folder=$1; work=$2; shift 2
number=0
while [ "$1" != -- ]; do
  root=$1; shift
  if [ -d "$root" ]; then mount --bind "$folder$root" "$root"; continue; fi
  top=$root
  while [ ! -d "$top" ]; do top=${top%/*}; done
  number=$((number + 1))
  mounted="$folder/mounted/$number"
  mkdir -p "$mounted"
  for entry in "$top"/* "$top"/.[!.]*; do
    here="$mounted/${entry##*/}"
    if [ -L "$entry" ]; then [ -L "$here" ] || cp -P "$entry" "$here"; continue; fi
    [ -e "$entry" ] || continue
    if [ -d "$entry" ]; then mkdir -p "$here"; else : > "$here"; fi
    mount --rbind "$entry" "$here"
  done
  below="$mounted${root#"$top"}"
  mkdir -p "$below"
  mount --bind "$folder$root" "$below"
  mount --rbind "$mounted" "$top"
done
shift
if [ -f "$folder/hosts" ]; then mount --bind "$folder/hosts" /etc/hosts; fi
cd "$work"
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


def can_mount(root: str) -> bool:
    """Say whether a root can be mounted: it is there, or lies below something that is, other than ``/``."""
    first = PurePosixPath(root).parts[:2]
    return namespace() is not None and Path(*first).is_dir()


def command_seeing(
    folder: Path, command: Sequence[str], *, mounted: Sequence[str], rewritten_roots: Sequence[str], work: str
) -> list[str]:
    """Return the command line that runs a command with ``folder/ROOT`` as each of its roots.

    Args:
        folder: The container's folder.
        command: What runs.
        mounted: Roots that it sees themselves; absolute paths without a slash at their end.
        rewritten_roots: Roots whose paths are replaced in the command.
        work: Where it begins, as it sees it; without mounts, that is up to whoever starts it.
    """
    changed = [rewritten(part, folder, rewritten_roots) for part in command]
    if not mounted:
        return changed
    script = ["/bin/sh", "-c", _MOUNT, "sh", str(folder), work]
    return [*(namespace() or ()), *script, *mounted, "--", *changed]


def rewritten(text: str, folder: Path, roots: Sequence[str]) -> str:
    """Return a text in which each root is where it really is."""
    for root in roots:
        text = _of(root).sub(lambda found: f"{folder}{found[0]}", text)
    return text


def inside(folder: Path, path: str, root: str) -> Path | None:
    """Return where a container's path really is; None when it is not below the root."""
    parts, above = PurePosixPath(path).parts, PurePosixPath(root).parts
    if parts[: len(above)] != above or ".." in parts:
        return None
    return folder.joinpath(*parts[1:])


@functools.cache
def _of(root: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w./-]){re.escape(root)}(?![\w-])")
