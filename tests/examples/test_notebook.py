"""examples/notebook.ipynb: committed without outputs, runs from top to bottom, shows a table and a chart."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest

import trackbridge as tb
from tests.examples.running import EXAMPLES

NOTEBOOK = EXAMPLES / "notebook.ipynb"
CELL_S = 200
PNG = b"\x89PNG\r\n"


def read() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)  # type: ignore[no-untyped-call]


def shown(cell: Any, kind: str) -> str:
    """Return what a cell shows as a MIME type."""
    (found,) = (output.data[kind] for output in cell.outputs if kind in output.get("data", {}))
    return str(found)


def test_it_is_committed_without_outputs() -> None:
    notebook = read()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert code
    assert [cell for cell in code if cell.outputs or cell.execution_count] == []


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = str(tmp_path / "runs")
    for name, value in {"TRACKING_URI": uri, "HOME": uri, "DELIVERY_EXIT_WAIT_S": "120"}.items():
        monkeypatch.setenv(f"BRIDGE_{name}", value)
    monkeypatch.delenv("MPLBACKEND", raising=False)  # the kernel's own shows charts inline
    notebook = read()
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(notebook, timeout=CELL_S, kernel_name="python3", resources=resources).execute()

    client = tb.Client(uri)
    experiment = client.get_experiment_by_name("notebook")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], order_by=["metrics.accuracy DESC"])
    assert sorted(run.data.params["rate"] for run in runs) == ["0.003", "0.01", "0.03", "0.1"]
    for run in runs:
        for key in ("loss", "accuracy"):
            history = client.get_metric_history(run.info.run_id, key)
            assert sorted(point.step for point in history) == list(range(12))

    table, chart, best = [cell for cell in notebook.cells if cell.get("outputs")]
    assert all(str(run.info.run_name) in shown(table, "text/html") for run in runs)
    assert base64.b64decode(shown(chart, "image/png")).startswith(PNG)
    assert str(runs[0].info.run_name) in shown(best, "text/html")
    assert "The highest accuracy" in shown(best, "text/html")
    kept = client.download_artifacts(runs[0].info.run_id, "losses.png", tmp_path)
    assert Path(kept).read_bytes().startswith(PNG)
