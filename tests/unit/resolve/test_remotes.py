"""Named remotes live in config.toml, which stays the user's own file."""

import os

import pytest

from trackbridge.errors import BridgeError, ConfigError, Conflict, NotFound
from trackbridge.resolve.config import OriginKind
from trackbridge.resolve.remotes import add_remote, list_remotes, remove_remote, rename_remote


def test_add_list_rename_remove(around):
    added = add_remote("prod", "azureml://s/g/w", {"token_env": "PROD_TOKEN"}, around=around)
    (found,) = list_remotes(around=around)
    assert (found.name, found.uri, found.options) == ("prod", added.uri, (("token_env", "PROD_TOKEN"),))
    assert found.scope is OriginKind.PROJECT
    assert found.place.endswith("config.toml, line 2")
    rename_remote("prod", "live", around=around)
    assert [remote.name for remote in list_remotes(around=around)] == ["live"]
    remove_remote("live", around=around)
    assert list_remotes(around=around) == ()


def test_comments_and_everything_else_of_the_file_stay(around, write_config):
    text = '# first\nuser = "ada"  # who\n\n[remotes.a]\n# about a\nuri = "azureml:"\n'
    path = write_config(text)
    path.chmod(0o640)
    add_remote("b", "./store", around=around)
    assert path.read_text().startswith(text)
    remove_remote("b", around=around)
    assert path.read_text().strip() == text.strip()
    assert path.stat().st_mode & 0o777 == 0o640
    assert os.listdir(path.parent) == ["config.toml"]


def test_a_linked_file_stays_a_link(around, write_config, tmp_path):
    path = write_config("")
    path.rename(tmp_path / "real.toml")
    path.symlink_to(tmp_path / "real.toml")
    add_remote("a", "azureml:", around=around)
    assert path.is_symlink()
    assert "azureml:" in (tmp_path / "real.toml").read_text()


def test_a_file_that_cannot_be_written_stays_as_it_was(around, write_config, monkeypatch):
    path = write_config("# mine\n")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(ConfigError, match="No space left"):
        add_remote("a", "azureml:", around=around)
    assert path.read_text() == "# mine\n"
    assert os.listdir(path.parent) == ["config.toml"]


def test_the_project_hides_the_user(around):
    add_remote("prod", "azureml:", user=True, around=around)
    add_remote("other", "sagemaker:", user=True, around=around)
    add_remote("prod", "databricks:", around=around)
    found = {remote.name: (remote.uri.text, remote.scope) for remote in list_remotes(around=around)}
    assert found == {
        "other": ("sagemaker:", OriginKind.USER),
        "prod": ("databricks:", OriginKind.PROJECT),
    }


def test_relative_folders_are_stored_absolute_and_read_from_the_project(around, write_config):
    assert add_remote("a", "./store", around=around).uri.path == around.cwd / "store"
    write_config('[remotes.a]\nuri = "./store"\n')
    below = around.cwd / "below"
    below.mkdir()
    assert list_remotes(around=around._replace(cwd=below))[0].uri.path == around.cwd / "store"


def test_adding_twice(around):
    add_remote("a", "azureml:", {"x": "1"}, around=around)
    add_remote("a", "azureml:", {"x": "1"}, around=around)
    with pytest.raises(Conflict, match="already"):
        add_remote("a", "sagemaker:", around=around)
    add_remote("b", "sagemaker:", around=around)
    with pytest.raises(Conflict, match="already"):
        rename_remote("a", "b", around=around)


def test_one_uri_has_one_set_of_options(around):
    add_remote("lab", "https://mlflow.example", {"token_env": "LAB"}, around=around)
    with pytest.raises(Conflict, match="'lab' has this URI") as caught:
        add_remote("other", "https://mlflow.example", {"token_env": "OTHER"}, around=around)
    assert "bridge remotes remove lab" in caught.value.hint
    assert add_remote("same", "https://mlflow.example", {"token_env": "LAB"}, around=around).name == "same"


def test_what_is_not_there(around):
    add_remote("prod", "azureml:", around=around)
    with pytest.raises(NotFound, match="did you mean 'prod'"):
        remove_remote("prdo", around=around)
    with pytest.raises(NotFound):
        rename_remote("x", "y", around=around)
    with pytest.raises(NotFound):
        remove_remote("prod", user=True, around=around)


SECRET = "hunter2Xy9"


@pytest.mark.parametrize(
    ("name", "uri", "options"),
    [
        ("", "azureml:", {}),
        ("a.b", "azureml:", {}),
        ("-a", "azureml:", {}),
        ("a" * 65, "azureml:", {}),
        ("a\n[x]", "azureml:", {}),
        ("a", "", {}),
        ("a", "prod", {}),
        ("a", "https:", {}),
        ("a", f"https://u:{SECRET}@host", {}),
        ("a", "azureml:", {"token": SECRET}),
        ("a", "azureml:", {"password": SECRET}),
        ("a", "azureml:", {"clientSecret": SECRET}),
        ("a", "azureml:", {"key": SECRET}),
        ("a", "azureml:", {"x": "ghp_" + "a" * 30 + SECRET}),
        ("a", "azureml:", {"uri": "x"}),
        ("a", "azureml:", {"a b": "x"}),
        ("a", "azureml:", {"x": "a\0b"}),
        ("a", "azureml:", {"x": ["y"]}),
    ],
)
def test_wrong_remotes_are_refused_and_nothing_is_written(name, uri, options, around):
    with pytest.raises(ConfigError) as caught:
        add_remote(name, uri, options, around=around)
    assert caught.value.hint
    assert SECRET not in f"{caught.value}{caught.value.hint}"
    assert not (around.cwd / ".bridge").exists()


@pytest.mark.parametrize(
    "text",
    [
        "remotes = 1",
        "[remotes]\na = 1",
        "[remotes.a]\nx = 'y'",
        "[remotes.a]\nuri = 1",
        "[remotes.a]\nuri = 'azureml:'\ntoken = 'hunter2Xy9'",
        "[remotes.a]\nuri = 'azureml:'\nx = 1.5",
        "[remotes.a]\nuri = 'azureml:'\n[remotes.a.b]\nx = 1",
    ],
)
def test_wrong_files_are_refused(text, around, write_config):
    write_config(text)
    with pytest.raises(ConfigError) as caught:
        list_remotes(around=around)
    assert "config.toml" in str(caught.value)
    assert SECRET not in str(caught.value)


def test_numbers_and_flags_of_a_file_become_text(around, write_config):
    write_config("remotes = {a = {uri = 'azureml:', verify = true, port = 8}}")
    assert dict(list_remotes(around=around)[0].options) == {"verify": "true", "port": "8"}
    add_remote("b", "sagemaker:", around=around)
    assert [remote.name for remote in list_remotes(around=around)] == ["a", "b"]


def test_the_users_file_needs_a_home(around, monkeypatch):
    monkeypatch.setattr("trackbridge.resolve.home.Path.home", lambda: (_ for _ in ()).throw(RuntimeError()))
    with pytest.raises(BridgeError, match="no home folder"):
        add_remote("a", "azureml:", user=True, around=around._replace(environ={}))
