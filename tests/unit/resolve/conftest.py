"""A world of its own for each test: a user's home, a project below it, an environment."""

import pytest

from trackbridge.resolve.home import Surroundings


@pytest.fixture
def around(tmp_path):
    user = tmp_path / "user"
    project = user / "project"
    project.mkdir(parents=True)
    return Surroundings(project, {"HOME": str(user)})


@pytest.fixture
def with_variables(around):
    def build(**variables):
        return around._replace(environ={**around.environ, **variables})

    return build


@pytest.fixture
def write_config(around):
    def write(text, *, user=False):
        folder = around.cwd.parent / ".config" / "trackbridge" if user else around.cwd / ".bridge"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "config.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write
