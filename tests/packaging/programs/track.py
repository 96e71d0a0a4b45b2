"""What a user does first, with nothing but what was installed: ``track.py URI``."""

from __future__ import annotations

import sys
from pathlib import Path

import trackbridge as tb


def main(uri: str) -> None:
    """Track a run, and read it back from where it lies."""
    tb.set_tracking_uri(uri)
    tb.set_experiment(f"smoke-{sys.version_info.major}-{sys.version_info.minor}")
    Path("plan.txt").write_text("as planned")
    with tb.start_run(run_name="first") as run:
        tb.log_params({"lr": 0.1, "depth": 6})
        for step, loss in enumerate((0.5, 0.25, 0.125)):
            tb.log_metric("loss", loss, step=step)
        tb.set_tag("team", "wine")
        tb.log_artifact("plan.txt", "plans")
        tb.log_text("hello", "notes/hello.txt")
    tb.flush()
    client, run_id = tb.Client(uri), run.info.run_id
    found = client.get_run(run_id)
    assert found.info.status == "FINISHED", found.info
    assert found.data.params == {"lr": "0.1", "depth": "6"}, found.data.params
    assert found.data.metrics == {"loss": 0.125}, found.data.metrics
    assert found.data.tags["team"] == "wine", found.data.tags
    points = [(point.step, point.value) for point in client.get_metric_history(run_id, "loss")]
    assert points == [(0, 0.5), (1, 0.25), (2, 0.125)], points
    assert {"notes", "plans"} <= {item.path for item in client.list_artifacts(run_id)}
    assert Path(client.download_artifacts(run_id, "plans/plan.txt")).read_text() == "as planned"
    (best,) = tb.search_runs(filter_string="metrics.loss < 0.2 and params.depth = '6'")
    assert best.info.run_id == run_id


if __name__ == "__main__":
    main(sys.argv[1])
