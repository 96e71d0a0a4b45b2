"""What a tracking URI means, with remotes and settings."""

import pytest

from trackbridge.errors import ConfigError, UnknownScheme
from trackbridge.resolve.config import Settings
from trackbridge.resolve.destinations import journal_root, resolve_destinations
from trackbridge.resolve.remotes import add_remote


@pytest.fixture
def resolve(around):
    def resolve(uris=None, surroundings=around):
        return resolve_destinations(uris, settings=Settings(surroundings))

    return resolve


def test_nothing_means_the_project(resolve, around):
    (destination,) = resolve()
    assert destination.uri.path == around.cwd / ".bridge"


def test_a_name_is_a_remote_before_it_is_a_scheme(resolve, around):
    assert resolve("azureml")[0].uri.text == "azureml:"
    add_remote("azureml", "sagemaker://eu-west-1?x=1", {"y": "2"}, around=around)
    (destination,) = resolve("azureml")
    assert destination.remote == "azureml"
    assert destination.uri.address == "sagemaker://eu-west-1"
    assert destination.options == {"x": "1", "y": "2"}


def test_a_remote_of_the_setting_and_of_the_environment(resolve, around, with_variables, write_config):
    write_config('tracking_uri = "prod,./x"\n[remotes.prod]\nuri = "azureml:"\n')
    assert [destination.uri.scheme for destination in resolve()] == ["azureml", "file"]
    surroundings = with_variables(MLFLOW_TRACKING_URI="prod")
    assert [destination.remote for destination in resolve(surroundings=surroundings)] == ["prod"]


def test_a_word_that_means_nothing_lists_what_was_meant(resolve, around):
    add_remote("production", "azureml:", around=around)
    with pytest.raises(UnknownScheme, match="did you mean 'production'") as caught:
        resolve("productoin")
    assert "azureml" in caught.value.hint
    assert "./productoin" in caught.value.hint
    with pytest.raises(UnknownScheme, match="did you mean 'databricks'"):
        resolve("databrick")


def test_one_backend_by_two_names_is_refused(resolve, around):
    add_remote("prod", "azureml:", around=around)
    with pytest.raises(ConfigError, match="same backend"):
        resolve("prod,azureml:")


WORKSPACE = '{"subscription_id": "s-1", "resource_group": "g", "workspace_name": "w"}'


def test_a_destination_means_the_same_in_another_folder(resolve, around):
    (around.cwd / "config.json").write_text(WORKSPACE)
    add_remote("prod", "azureml:", {"token_env": "TOKEN"}, around=around)
    elsewhere = around._replace(cwd=around.cwd.parent)
    for text, options in (
        ("azureml", {}),
        ("azureml:?cloud=x", {"cloud": "x"}),
        ("prod", {"token_env": "TOKEN"}),
    ):
        (destination,) = resolve(text)
        assert destination.uri.address == "azureml://s-1/g/w"
        assert destination.options == options
        (again,) = resolve(destination.uri.text, elsewhere)
        assert (again.uri, again.options) == (destination.uri, options)


def test_in_a_job_the_platforms_variables_say_which_workspace(resolve, with_variables):
    names = ("SUBSCRIPTION", "RESOURCEGROUP", "WORKSPACE_NAME")
    variables = {f"AZUREML_ARM_{name}": f"my-{name.lower()}" for name in names}
    address = resolve("azureml:", with_variables(**variables))[0].uri.address
    assert address == "azureml://my-subscription/my-resourcegroup/my-workspace_name"
    long = (
        "azureml://eu.api.azureml.ms/mlflow/v1.0/subscriptions/my-subscription/resourceGroups/my-resourcegroup"
        "/providers/Microsoft.MachineLearningServices/workspaces/my-workspace_name"
    )
    job = with_variables(**variables, MLFLOW_TRACKING_URI=long)
    assert resolve("azureml:", job)[0].uri.address == long


def test_a_scheme_that_means_nothing_here_stays_for_its_opening_to_say_why(resolve):
    assert resolve("azureml:")[0].uri.text == "azureml:"


def test_one_backend_by_its_name_and_by_what_that_means_here_is_refused(resolve, around):
    (around.cwd / "config.json").write_text(WORKSPACE)
    with pytest.raises(ConfigError, match="same backend"):
        resolve("azureml:,azureml://s-1/g/w")


def test_options_that_are_settings_are_kept_apart(resolve):
    (destination,) = resolve("file:./x?delivery=off&shards=4")
    assert destination.options == {"shards": "4"}
    assert destination.settings == {"delivery": "off"}


def test_the_journal_lies_with_the_first_local_folder_or_at_home(resolve, around):
    settings = Settings(around)
    assert journal_root(resolve("./x,azureml:"), settings=settings) == around.cwd / "x" / "journal"
    state = around.cwd.parent / ".local" / "state" / "trackbridge"
    assert journal_root(resolve("azureml:,./x"), settings=settings) == state / "journal"
    (around.cwd / ".bridge").mkdir()
    assert journal_root(resolve("azureml:"), settings=settings) == around.cwd / ".bridge" / "journal"
