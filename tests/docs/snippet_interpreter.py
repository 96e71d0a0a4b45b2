"""The interpreter of a page: programs come in as lines of JSON, and find the names of those before them.

The answer is the exit code; what a program, and what it starts, prints goes into ``python.out`` and ``.err``.
"""

from __future__ import annotations

import json
import linecache
import os
import sys
import traceback
from pathlib import Path


def run(text: str, name: str) -> int:
    """Run one program as ``__main__``; what was logged is delivered before it counts as done."""
    linecache.cache[name] = (len(text), None, text.splitlines(keepends=True), name)
    try:
        exec(compile(text, name, "exec"), sys.modules["__main__"].__dict__)
        if (trackbridge := sys.modules.get("trackbridge")) is not None:
            trackbridge.flush()
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    for line in sys.stdin:
        asked = json.loads(line)
        os.environ.clear()
        os.environ.update(asked["environ"])
        os.chdir(asked["cwd"])
        if asked["cwd"] not in sys.path:
            sys.path.insert(0, asked["cwd"])
        for number, kind in ((1, "out"), (2, "err")):
            with open(Path(asked["out"]) / f"python.{kind}", "wb") as file:
                os.dup2(file.fileno(), number)
        code = run(asked["text"], asked["name"])
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(f"{code}\n")
        answers.flush()


if __name__ == "__main__":
    del sys.path[0]  # the folder of what began it, which a user's program does not have
    main()
