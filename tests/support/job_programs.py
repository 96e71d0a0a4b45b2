"""Programs that jobs of several backends run in tests."""

from __future__ import annotations

GOES_ON = """
import os, pathlib, signal, time
import trackbridge as tb

kept = pathlib.Path(os.environ["BRIDGE_CHECKPOINTS"], "step")
first = int(kept.read_text()) if kept.exists() else 0
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))
with tb.start_run():
    for step in range(first, 20):
        tb.log_metric("loss", 1.0 / (step + 1), step=step)
        kept.write_text(str(step + 1))
        if step == 9 and not first:
            print("half", flush=True)
            while not stopped:
                time.sleep(0.02)
            tb.flush(20)
            os._exit(143)
"""
"""Logs 20 points; half way it waits to be asked to stop, and goes on from its checkpoint the next time."""
