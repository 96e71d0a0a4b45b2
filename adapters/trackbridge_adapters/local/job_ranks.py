"""Several processes of one job: ``job_ranks.py VARIABLES WORDS...``, with the variables of each as JSON.

Starts them, waits, ends all when one fails, and exits with the code of the first that did, 128 + n after
signal n. It is signalled together with them, and outlives them to tell how they ended.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Start processes and return the exit code of the first that failed, 0 when none did."""
    each, *words = arguments
    processes = [subprocess.Popen(words, env={**os.environ, **own}) for own in json.loads(each)]
    signal.signal(signal.SIGTERM, lambda *_: None)  # not ignored: they would ignore it, too
    waiting = {process.pid: process for process in processes}
    failed = 0
    while waiting:
        process_id, status = os.wait()
        process = waiting.pop(process_id)
        process.returncode = code = os.waitstatus_to_exitcode(status)
        if code != 0 and failed == 0:
            failed = code if code > 0 else 128 - code
            for other in waiting.values():
                other.terminate()
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
