"""Every setting has one value and one origin."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trackbridge.errors import ConfigError
from trackbridge.resolve.config import SETTINGS, OriginKind, Settings, describe, resolve_setting


def test_the_precedence_from_default_to_argument(around, with_variables, write_config):
    def found(surroundings=around, options=None, argument=None):
        resolved = Settings(surroundings, options=options).resolve("experiment_name", argument)
        return resolved.value, resolved.origin.kind, resolved.origin.place

    assert found() == ("Default", OriginKind.DEFAULT, "")
    user = write_config('\n# mine\nexperiment_name = "of-user"\n', user=True)
    assert found() == ("of-user", OriginKind.USER, f"{user}, line 3")
    project = write_config('experiment_name = "of-project"\n')
    assert found() == ("of-project", OriginKind.PROJECT, f"{project}, line 1")
    ecosystem = with_variables(MLFLOW_EXPERIMENT_NAME="of-mlflow")
    assert found(ecosystem) == ("of-mlflow", OriginKind.ENVIRONMENT, "MLFLOW_EXPERIMENT_NAME")
    ours = with_variables(MLFLOW_EXPERIMENT_NAME="of-mlflow", BRIDGE_EXPERIMENT_NAME="of-bridge")
    assert found(ours) == ("of-bridge", OriginKind.ENVIRONMENT, "BRIDGE_EXPERIMENT_NAME")
    assert found(ours, options={"experiment_name": "of-uri"}) == ("of-uri", OriginKind.URI, "")
    assert found(ours, options={"experiment_name": "x"}, argument="given") == (
        "given",
        OriginKind.ARGUMENT,
        "",
    )
    assert found(with_variables(BRIDGE_EXPERIMENT_NAME=""))[0] == "of-project"


def test_bridge_home_decides_which_project_file_is_read(around, with_variables, tmp_path, write_config):
    write_config('delivery = "off"\n')
    (tmp_path / "named").mkdir()
    (tmp_path / "named" / "config.toml").write_text('delivery = "thread"\n')
    assert (
        resolve_setting("delivery", around=with_variables(BRIDGE_HOME=str(tmp_path / "named"))).value
        == "thread"
    )


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("delivery", " Thread ", "thread"),
        ("delivery_exit_wait_s", "2.5", 2.5),
        ("delivery_exit_wait_s", "0", 0.0),
        ("read_wait_s", 7, 7.0),
        ("journal_bytes_max", "500MB", 500_000_000),
        ("journal_bytes_max", "2 GiB", 2 * 1024**3),
        ("journal_bytes_max", "1.5k", 1500),
        ("journal_bytes_max", "100", 100),
        ("journal_bytes_max", 100, 100),
        ("strict", "YES", True),
        ("strict", "0", False),
        ("strict", True, True),
        ("system_metrics", "true", True),
        ("run_id", "0193", "0193"),
        ("user", "ada", "ada"),
    ],
)
def test_values_are_read(name, raw, value, around):
    assert resolve_setting(name, raw, around=around).value == value


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("delivery", "sometimes"),
        ("delivery", 1),
        ("delivery_exit_wait_s", "-1"),
        ("delivery_exit_wait_s", "nan"),
        ("delivery_exit_wait_s", "inf"),
        ("delivery_exit_wait_s", "ten"),
        ("delivery_exit_wait_s", True),
        ("read_wait_s", [1]),
        ("journal_bytes_max", "0"),
        ("journal_bytes_max", "-5"),
        ("journal_bytes_max", "5 apples"),
        ("journal_bytes_max", 1.5),
        ("journal_bytes_max", "9" * 400),
        ("strict", "maybe"),
        ("strict", 1),
        ("experiment_name", "  "),
        ("experiment_name", "a\0b"),
        ("experiment_name", "x" * 2000),
        ("home", "a\0b"),
        ("tracking_uri", []),
        ("tracking_uri", [1]),
        ("tracking_uri", 1),
        ("registry_uri", "./a,./b"),
    ],
)
def test_wrong_values_say_where_and_what_is_allowed(name, raw, around, with_variables):
    with pytest.raises(ConfigError, match=f"{name} from argument") as caught:
        resolve_setting(name, raw, around=around)
    assert caught.value.hint
    if isinstance(raw, str):
        variable = SETTINGS[name].variable
        with pytest.raises(ConfigError, match=rf"{name} from environment \({variable}\)"):
            resolve_setting(
                name, around=with_variables(**{variable: raw or "-", "HOME": around.environ["HOME"]})
            )


def test_a_wrong_value_in_a_file_gives_file_and_line(around, write_config):
    path = write_config('user = "ada"\n\ndelivery = "sometimes"\n')
    with pytest.raises(ConfigError, match="line 3") as caught:
        resolve_setting("delivery", around=around)
    assert str(path) in str(caught.value)
    assert caught.value.hint == "use child, thread, off or later"


def test_relative_folders_of_a_file_start_at_the_project(around, write_config):
    write_config('tracking_uri = ["./store", "azureml:"]\n')
    below = around.cwd / "below"
    below.mkdir()
    local, remote = resolve_setting("tracking_uri", around=around._replace(cwd=below)).value
    assert local.path == around.cwd / "store"
    assert remote.text == "azureml:"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("delivry = 'off'", r"line 1: 'delivry' is no setting; did you mean 'delivery'\?"),
        ("run_id = 'x'", "no setting"),
        ("home = 'x'", "no setting"),
        ("a = ", "not valid TOML"),
        ("[[[", "not valid TOML"),
        ("delivery = 'off'\ndelivery = 'off'", "not valid TOML"),
        ("# " + "x" * 1_000_001, "bytes"),
    ],
)
def test_wrong_files_are_refused(text, match, around, write_config):
    path = write_config(text)
    with pytest.raises(ConfigError, match=match) as caught:
        resolve_setting("strict", around=around)
    assert str(path) in str(caught.value)


def test_files_that_cannot_be_read_are_refused(around, write_config):
    write_config("").write_bytes(b"user = '\xff'")
    with pytest.raises(ConfigError, match="UTF-8"):
        resolve_setting("strict", around=around)
    path = write_config("")
    path.unlink()
    path.mkdir()
    with pytest.raises(ConfigError, match="cannot be read"):
        resolve_setting("strict", around=around)


def test_a_credential_in_a_variable_is_named_by_its_origin_and_not_shown(with_variables):
    around = with_variables(MLFLOW_TRACKING_URI="https://user:hunter2Xy9@host")
    with pytest.raises(ConfigError, match="MLFLOW_TRACKING_URI") as caught:
        resolve_setting("tracking_uri", around=around)
    assert "hunter2Xy9" not in f"{caught.value}{caught.value.hint}"
    assert "hunter2Xy9" not in repr(describe(around=around))


def test_a_secret_in_the_wrong_variable_is_not_shown(with_variables):
    around = with_variables(BRIDGE_DELIVERY="dapi" + "0" * 32, BRIDGE_USER="ghp_" + "a" * 36)
    text = repr(describe(around=around))
    assert "dapi0" not in text
    assert "ghp_a" not in text


def test_describe_shows_all_settings_with_origin_and_problem(with_variables):
    lines = {
        line.name: line for line in describe(around=with_variables(BRIDGE_STRICT="on", BRIDGE_DELIVERY="x"))
    }
    assert list(lines) == list(SETTINGS)
    assert (lines["strict"].value, lines["strict"].origin) == ("true", "environment (BRIDGE_STRICT)")
    assert (lines["read_wait_s"].value, lines["read_wait_s"].origin) == ("5.0", "default")
    assert "BRIDGE_DELIVERY" in lines["delivery"].problem
    assert all(line.help for line in lines.values())


def test_misspelt_variables_are_noticed(with_variables):
    adapters = {"BRIDGE_SAGEMAKER_IMAGE": "python:3.11", "BRIDGE_SAGEMAKER_ROLE": "jobs"}
    around = with_variables(BRIDGE_DELIVRY="off", BRIDGE_DELIVERY="off", BRIDGE_SOMETHING="1", **adapters)
    assert Settings(around).unknown_variables() == [("BRIDGE_DELIVRY", "BRIDGE_DELIVERY")]


def test_settings_from_the_environment_do_not_load_toml(tmp_path):
    code = (
        "import sys\n"
        "from trackbridge.resolve.config import Settings\n"
        "settings = Settings()\n"
        "assert [settings.value(name) for name in ('delivery', 'strict')] == ['off', False]\n"
        "settings.describe()\n"
        "print(sorted({'tomlkit', 'tenacity', 'importlib.metadata'} & set(sys.modules)))\n"
    )
    environ = {"HOME": str(tmp_path), "BRIDGE_DELIVERY": "off", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_setting_has_a_variable_and_a_default_that_it_would_accept(around):
    for setting in SETTINGS.values():
        assert setting.variable.startswith("BRIDGE_")
        if setting.default not in (None, ()):
            assert setting.read(setting.default, around) == setting.default
    assert resolve_setting("home", Path("x"), around=around).value == around.cwd / "x"
