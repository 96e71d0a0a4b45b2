"""MLproject files, held against what mlflow itself makes of them."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

from tests.unit.operations.job_sources.conftest import Read, Spec, Write
from trackbridge.errors import ConfigError, InvalidInput, NotFound
from trackbridge.operations.job_sources.sources import JobSource, job_spec

ECHO = """
name: greetings
entry_points:
  main:
    parameters:
      name: string
      size: {type: float, default: 0.5}
      note: {default: "a b"}
    command: "printf '%s\\n' {name} {size:>1} {note} $0 {{x}}"
  say:
    command: printf '%s\\n'
"""
AWKWARD = [
    "plain",
    "",
    "a b",
    "it's",
    '"quoted"',
    "$HOME",
    "`id`",
    "a;b",
    "{size}",
    "\\",
    "*",
    "ü",
    "--flag",
    "-",
]


def ran(command: tuple[str, ...], folder: Path) -> list[str]:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.split("\n")[:-1]


def mlflows(folder: Path, entry_point: str, parameters: dict[str, str], storage: Path) -> list[str]:
    """Run the command that mlflow makes."""
    from mlflow.projects._project_spec import load_project

    entry = load_project(str(folder)).get_entry_point(entry_point)
    return ran(("bash", "-c", entry.compute_command(parameters, str(storage))), folder)


@pytest.mark.parametrize("value", AWKWARD)
def test_any_value_reaches_the_program_as_with_mlflow(
    write: Write, spec: Spec, folder: Path, tmp_path: Path, value: str
) -> None:
    write("MLproject", ECHO)
    given = {"name": value, "extra": value, "odd name": "1"}
    job = spec(".", parameters=given)
    words = [value, "0.5", "a b", "bash", "{x}", "--extra", value, "--odd name", "1"]
    assert ran(job.command, folder) == words
    assert ran(job.command, folder) == mlflows(folder, "main", given, tmp_path)
    assert job.parameters == {"size": "0.5", "note": "a b", **given}


def test_what_a_project_is(write: Write, read: Read, folder: Path) -> None:
    write("MLproject", ECHO)
    source = read(".", parameters={"name": "x"}, entry_point="say")
    assert source.base.name == "greetings say"
    assert source.base.code_dir == str(folder)
    assert source.tags == {
        "mlflow.source.name": str(folder),
        "mlflow.source.type": "PROJECT",
        "mlflow.project.entryPoint": "say",
    }
    assert read("MLproject").base.name == "greetings"


def test_a_source_can_be_stored_and_used_with_other_parameters(write: Write, read: Read) -> None:
    import msgspec

    write("MLproject", ECHO)
    source = read(".", parameters={"name": "x"})
    again = msgspec.json.decode(msgspec.json.encode(source), type=JobSource)
    assert again == source
    assert job_spec(again, {"size": "2"}).parameters == {"name": "x", "size": "2", "note": "a b"}
    with pytest.raises(InvalidInput, match="'size' is 'two', which is not a number"):
        job_spec(again, {"size": "two"})


@pytest.mark.parametrize("name", ["MLproject", "mlproject", "MLPROJECT"])
def test_the_file_has_any_case(write: Write, spec: Spec, name: str) -> None:
    write(name, ECHO)
    assert spec(".", parameters={"name": "x"}).name == "greetings"


# Types.


@pytest.mark.parametrize(
    ("kind", "good", "wrong"),
    [("float", "1e-3", "abc"), ("float", "-2", ""), ("int", "3", "3.5"), ("integer", "-1", "one")],
)
def test_a_value_of_the_wrong_type(write: Write, spec: Spec, kind: str, good: str, wrong: str) -> None:
    write(
        "MLproject", f"entry_points: {{main: {{parameters: {{alpha: {kind}}}, command: 'echo {{alpha}}'}}}}"
    )
    assert spec(".", parameters={"alpha": good}).command == ("bash", "-c", f"echo {good}")
    with pytest.raises(InvalidInput, match="the parameter 'alpha'") as caught:
        spec(".", parameters={"alpha": wrong})
    assert caught.value.hint is not None
    assert "-P alpha=" in caught.value.hint


def test_a_value_that_is_missing(write: Write, spec: Spec) -> None:
    write("MLproject", ECHO)
    with pytest.raises(InvalidInput, match="lacks values for: name") as caught:
        spec(".")
    assert caught.value.hint == "give them: -P name=VALUE"


PATHS = """
entry_points:
  main:
    parameters:
      data: path
      table: {type: path, default: data/table.csv}
    command: "cat {data} {table}"
"""


def test_paths_in_the_folder_go_with_the_code(write: Write, spec: Spec, folder: Path) -> None:
    write("MLproject", PATHS)
    write("data/table.csv", "table\n")
    write("my data.csv", "mine\n")
    job = spec(".", parameters={"data": "my data.csv"})
    assert ran(job.command, folder) == ["mine", "table"]
    assert job.command == ("bash", "-c", "cat 'my data.csv' data/table.csv")
    assert job.inputs == {}
    assert spec(".", parameters={"data": (folder / "my data.csv").as_uri()}).command == job.command


def test_what_lies_elsewhere_becomes_an_input(write: Write, spec: Spec, tmp_path: Path) -> None:
    write("MLproject", PATHS)
    outside = tmp_path / "out side.csv"
    outside.write_text("")
    job = spec(".", parameters={"data": str(outside), "table": "s3://bucket/table.csv"})
    assert job.inputs == {"data": str(outside), "table": "s3://bucket/table.csv"}
    assert job.command == ("bash", "-c", 'cat "${1}" "${2}"', "bash", "{inputs.data}", "{inputs.table}")
    assert job.parameters == {"data": str(outside), "table": "s3://bucket/table.csv"}
    filled = [
        word.replace("{inputs.data}", str(outside)).replace("{inputs.table}", "/dev/null")
        for word in job.command
    ]
    assert ran(tuple(filled), tmp_path) == []


def test_a_path_that_is_not_there(write: Write, spec: Spec) -> None:
    write("MLproject", PATHS)
    with pytest.raises(NotFound, match=r"'data' is 'none.csv', and there is no such file"):
        spec(".", parameters={"data": "none.csv", "table": "s3://b/t"})


def test_a_parameter_of_type_uri(write: Write, spec: Spec, folder: Path) -> None:
    write("MLproject", "entry_points: {main: {parameters: {where: uri}, command: 'echo {where}'}}")
    assert spec(".", parameters={"where": "s3://b/k"}).command[2] == "echo s3://b/k"
    assert spec(".", parameters={"where": "a b"}).command[2] == f"echo {shlex.quote(str(folder / 'a b'))}"


def test_inputs_and_outputs_in_the_command(write: Write, spec: Spec, folder: Path) -> None:
    write("MLproject", "entry_points: {main: {command: 'cp {inputs.a} {outputs.b} && ls {outputs.b}'}}")
    write("a.txt", "")
    job = spec(".", inputs={"a": "a.txt"}, outputs={"b": "out"})
    assert job.command[2:] == ('cp "${1}" "${2}" && ls "${2}"', "bash", "{inputs.a}", "{outputs.b}")
    assert job.inputs == {"a": str(folder / "a.txt")}
    assert job.outputs == {"b": str(folder / "out")}
    with pytest.raises(InvalidInput, match=r"there is no 'inputs.a' to put there"):
        spec(".", outputs={"b": "out"})
    with pytest.raises(NotFound, match=r"the input 'a' is 'none.txt', and there is no such file"):
        spec(".", inputs={"a": "none.txt"}, outputs={"b": "out"})


@pytest.mark.parametrize("place", ["{nobody}", "{}", "{0}", "{name.__class__}", "{name", "}"])
def test_a_command_that_names_what_there_is_not(write: Write, spec: Spec, place: str) -> None:
    write("MLproject", f"entry_points: {{main: {{parameters: {{name: string}}, command: 'echo {place}'}}}}")
    with pytest.raises(InvalidInput, match="cannot be filled in"):
        spec(".", parameters={"name": "x"})


# Entry points.


def test_an_entry_point_that_there_is_not(write: Write, read: Read) -> None:
    write("MLproject", ECHO)
    with pytest.raises(NotFound, match="there is no entry point 'mian'; did you mean 'main'") as caught:
        read(".", entry_point="mian")
    assert "its entry points are: main, say" in str(caught.value.hint)


@pytest.mark.parametrize("has_file", [True, False])
def test_scripts_are_entry_points(write: Write, spec: Spec, has_file: bool) -> None:
    if has_file:
        write("MLproject", ECHO)
    write("train.py", "")
    write("go.sh", "")
    given = {"lr": "0.1", "name": "a b"}
    assert spec(".", entry_point="train.py", parameters=given).command == (
        *("python", "train.py", "--lr", "0.1"),
        *("--name", "a b"),
    )
    assert spec(".", entry_point="go.sh").command == ("bash", "go.sh")
    for missing in ("other.py", "train.R", "data.csv"):
        with pytest.raises(NotFound, match="there is no entry point"):
            spec(".", entry_point=missing)


def test_a_folder_without_anything_to_run(read: Read) -> None:
    with pytest.raises(NotFound, match="no entry point 'main'"):
        read(".")


# Files that are wrong.


@pytest.mark.parametrize(
    ("text", "told", "line"),
    [
        ("name: x\nentry_points: {main: {command: 'echo'}", "no valid YAML", 2),
        ("name: x\nname: y\n", "'name' stands there twice, first in line 1", 2),
        ("- a\n", "has to be a mapping", 1),
        ("name: x\nentry_points: [main]\n", "entry_points is no mapping", 2),
        ("name: x\nentry_points: {main: {}}\n", "'main' has no command", 2),
        ("entry_points: {main: {command: a, parameters: [b]}}\n", "are no mapping", 1),
        ("entry_points: {main: {command: a, parameters: {b: 3}}}\n", "'b' is 3, which is no type", 1),
        ("\nname: 3\nentry_points: {main: {command: a}}\n", "name is 3, which is no text", 2),
        ("python_env: a.yaml\nconda_env: b.yaml\n", "several environments", 2),
        ("databricks_spark_job: {python_file: a.py}\n", "works with mlflow run alone", 1),
    ],
)
def test_a_file_that_is_wrong(write: Write, read: Read, text: str, told: str, line: int) -> None:
    path = write("MLproject", text)
    with pytest.raises(ConfigError, match=told) as caught:
        read(".")
    assert caught.value.resource == f"{path}:{line}"
    assert caught.value.hint


def test_without_yaml(write: Write, read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from trackbridge.errors import MissingExtra

    monkeypatch.setitem(sys.modules, "yaml", None)
    write("MLproject", ECHO)
    with pytest.raises(MissingExtra, match="needs PyYAML") as caught:
        read(".", parameters={"name": "x"})
    assert caught.value.hint == "pip install 'trackbridge[jobs]'"
