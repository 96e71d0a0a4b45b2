"""Hostile names stay text; tables are bounded and fix no colour."""

import re

import pytest

from trackbridge.api import display
from trackbridge.domain.runs import (
    TAG_NOTE,
    DatasetInput,
    Experiment,
    LifecycleStage,
    Run,
    RunData,
    RunInfo,
    RunInputs,
    RunStatus,
)

HOSTILE = "<script>alert('x')</script>\"&\x1b[31m\u202egnp\0\ud800"
START_MS = 1_700_000_000_000


def make_run(name: str = "run", count: int = 1, text: str = "v") -> Run:
    return Run(
        info=RunInfo(
            run_id="0" * 32,
            experiment_id="e",
            run_name=name,
            user_id=text,
            status=RunStatus.FINISHED,
            start_time=START_MS,
            end_time=START_MS + 3400,
            artifact_uri=text,
        ),
        data=RunData(
            metrics={f"{text}{index}": index / 3 for index in range(count)},
            params={f"{text}{index}": text for index in range(count)},
            tags={text: text, TAG_NOTE: text},
        ),
        inputs=RunInputs(dataset_inputs=(DatasetInput(name=text, digest="d"),)),
    )


def hostile_pages() -> list[str]:
    run = make_run(HOSTILE, 3, HOSTILE)
    experiment = Experiment(
        experiment_id=HOSTILE, name=HOSTILE, artifact_location=HOSTILE, tags={HOSTILE: HOSTILE}
    )
    return [display.run_html(run), display.runs_html([run, run]), display.experiment_html(experiment)]


@pytest.mark.parametrize("page", hostile_pages())
def test_hostile_text_stays_text(page: str) -> None:
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;" in page
    tags = set(re.findall(r"<\s*/?\s*(\w+)", page))
    assert tags <= {"div", "strong", "p", "table", "thead", "tbody", "tr", "th", "td", "details", "summary"}
    assert not [character for character in page if not character.isprintable()]
    assert "color" not in page
    assert "background" not in page


def test_hostile_text_does_not_reach_the_terminal() -> None:
    experiment = Experiment(experiment_id=HOSTILE, name=HOSTILE)
    text = display.runs_text([make_run(HOSTILE)]) + display.experiment_text(experiment)
    assert text.isprintable()


def test_a_run_shows_its_facts() -> None:
    page = display.run_html(make_run("steady-otter", 2, "loss"))
    for shown in (
        "steady-otter",
        "FINISHED",
        "2023-11-14 22:13:20",
        "3.4 s",
        "Metrics (2)",
        "0.333333",
        "Tags (1)",
    ):
        assert shown in page


def test_a_deleted_run_says_so() -> None:
    run = make_run()
    info = RunInfo(
        run_id="r",
        experiment_id="e",
        run_name="",
        user_id="",
        status=RunStatus.KILLED,
        start_time=0,
        lifecycle_stage=LifecycleStage.DELETED,
    )
    page = display.run_html(Run(info=info, data=run.data))
    assert "KILLED (deleted)" in page
    assert "<strong>r</strong>" in page


def test_tables_are_bounded() -> None:
    wide = make_run("n" * 10_000, 10_000, "k" * 10_000)
    assert len(display.run_html(wide)) < 50_000
    page = display.runs_html([wide] * 60)
    assert page.count("<tr>") == display.ROWS_MAX + 1
    assert "and 10 more" in page
    assert page.count("<th ") == 5 + 2 * display.COLUMNS_MAX
    assert display.runs_text([wide] * 60).endswith("and 10 more")


def test_rows_have_a_cell_for_each_column() -> None:
    page = display.runs_html([make_run("a", 2, "x"), make_run("b", 1, "y")])
    counts = [row.count("<td ") or row.count("<th ") for row in page.split("<tr>")[1:]]
    assert counts == [5 + 3 + 3] * 3


def test_no_runs_say_so() -> None:
    assert "no runs" in display.runs_html([])
    assert display.runs_text([]) == "no runs"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1.0, "1"),
        (-0.5, "-0.5"),
        (1e-12, "1e-12"),
        (1e300, "1e+300"),
        (float("nan"), "nan"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_short(value: float, shown: str) -> None:
    assert display.format_number(value) == shown


@pytest.mark.parametrize(
    ("milliseconds", "shown"),
    [(None, ""), (0, "1970-01-01 00:00:00"), (-1000, "1969-12-31 23:59:59"), (2**62, f"{2**62} ms")],
)
def test_times_are_utc(milliseconds: int | None, shown: str) -> None:
    assert display.format_time(milliseconds) == shown


@pytest.mark.parametrize(
    ("end_ms", "shown"),
    [
        (None, ""),
        (-5, "0.0 s"),
        (59_900, "59.9 s"),
        (61_000, "1m 01s"),
        (3_720_000, "1h 02m"),
        (10**12, "277,777h 46m"),
    ],
)
def test_durations_are_short(end_ms: int | None, shown: str) -> None:
    assert display.format_duration(0, end_ms) == shown
