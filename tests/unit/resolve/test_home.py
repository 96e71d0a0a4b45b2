"""Where a project's files lie."""

import os
import tempfile

import pytest

from trackbridge.errors import ConfigError
from trackbridge.resolve.home import Surroundings, bridge_home, find_project, project_folder


def test_the_nearest_folder_upward_is_found(around):
    assert find_project(around) is None
    assert project_folder(around) == around.cwd / ".bridge"
    (around.cwd / ".bridge").mkdir()
    below = around.cwd / "src"
    below.mkdir()
    assert find_project(around._replace(cwd=below)) == around.cwd / ".bridge"
    (below / ".bridge").write_text("a file is no project")
    assert find_project(around._replace(cwd=below)) == around.cwd / ".bridge"


def test_the_search_ends_at_the_users_home(around, tmp_path):
    (tmp_path / ".bridge").mkdir()
    assert find_project(around) is None
    (tmp_path / "user" / ".bridge").mkdir()
    assert find_project(around) == tmp_path / "user" / ".bridge"


def test_outside_of_home_the_search_goes_to_the_root(around, tmp_path):
    (tmp_path / ".bridge").mkdir()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert find_project(around._replace(cwd=elsewhere)) == tmp_path / ".bridge"


def test_a_variable_overrides(around, with_variables, tmp_path):
    (around.cwd / ".bridge").mkdir()
    named = with_variables(BRIDGE_HOME=str(tmp_path / "named"))
    assert find_project(named) == tmp_path / "named"
    assert bridge_home(named) == tmp_path / "named"
    assert (tmp_path / "named").is_dir()
    assert project_folder(with_variables(BRIDGE_HOME="rel")) == around.cwd / "rel"
    assert find_project(with_variables(BRIDGE_HOME="")) == around.cwd / ".bridge"


def test_a_folder_planted_by_somebody_else_is_not_followed(around, monkeypatch):
    planted = around.cwd / ".bridge"
    planted.mkdir()
    owner = planted.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    monkeypatch.setattr("trackbridge.resolve.home._SYSTEM_OWNERS", ())
    assert find_project(around) == planted
    around.cwd.chmod(0o1777)
    assert find_project(around) is None


def test_without_a_project_the_state_folder_is_used(around, with_variables, tmp_path):
    assert bridge_home(around) == tmp_path / "user" / ".local" / "state" / "trackbridge"
    state = with_variables(XDG_STATE_HOME=str(tmp_path / "state"))
    assert bridge_home(state) == tmp_path / "state" / "trackbridge"
    relative = with_variables(XDG_STATE_HOME="relative")
    assert bridge_home(relative) == tmp_path / "user" / ".local" / "state" / "trackbridge"


def test_the_last_resort_is_one_temporary_folder_of_this_user_with_a_warning(around, tmp_path, monkeypatch):
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    blocked_around = Surroundings(around.cwd, {"HOME": str(blocked)})
    with pytest.warns(RuntimeWarning, match="BRIDGE_HOME"):
        first = bridge_home(blocked_around)
    with pytest.warns(RuntimeWarning, match="may be lost"):
        assert bridge_home(blocked_around) == first
    assert first.stat().st_mode & 0o077 == 0
    first.chmod(0o777)
    with pytest.warns(RuntimeWarning):
        assert bridge_home(blocked_around) != first


def test_who_does_not_want_the_warning_of_the_last_resort_gets_none(around, tmp_path, monkeypatch, recwarn):
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    home = bridge_home(Surroundings(around.cwd, {"HOME": str(blocked)}), warn=False)
    assert home.is_relative_to(tmp_path)
    assert not recwarn.list


def test_a_project_that_cannot_be_written_to_is_an_error(around, with_variables):
    (around.cwd / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        bridge_home(with_variables(BRIDGE_HOME="file/below"))


def test_a_deleted_current_directory_is_a_clear_error(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ConfigError, match="current directory"):
        Surroundings.current()
