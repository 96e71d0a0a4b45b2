"""A scheme leads to one adapter, or to an error that says what to install."""

import sys
from importlib.metadata import EntryPoint

import pytest

from trackbridge.errors import ConfigError, MissingExtra, Rejected, UnknownScheme
from trackbridge.resolve import entry_points
from trackbridge.resolve.entry_points import SCHEME_EXTRAS, entry_point_name, known_schemes, open_adapter
from trackbridge.resolve.uri import parse


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Install distributions with adapters into a folder of their own, as pip would lay them out."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))

    def install(distribution, names, module_text="def open_adapter(uri, *, context): return uri, context\n"):
        module = distribution.replace("-", "_") + "_module"
        (site / f"{module}.py").write_text(module_text)
        info = site / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {module}:open_adapter\n" for name in names)
        (info / "entry_points.txt").write_text(f"[{entry_points.GROUP}]\n{lines}")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


@pytest.fixture
def open_uri(around, tmp_path):
    return lambda text, **options: open_adapter(parse(text, around=around), home=tmp_path, options=options)


def test_an_adapter_of_anybody_is_opened(install, open_uri, tmp_path):
    install("their-adapter", ["theirs"])
    address, context = open_uri("theirs://x?b=uri", a="remote", b="remote")
    assert address == "theirs://x"
    assert context.options == {"a": "remote", "b": "uri"}
    assert context.home == tmp_path
    assert context.clock_ms() > 1_600_000_000_000
    assert "theirs" in known_schemes()


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("arn:aws:sagemaker:eu-west-1:123456789012:mlflow-app/x", "sagemaker"),
        ("databricks-uc://p", "databricks"),
        ("mlflow+sqlite:////x.db", "mlflow"),
        ("theirs+tls://x", "theirs"),
    ],
)
def test_schemes_that_another_name_serves(text, name, install, open_uri):
    install("one-adapter", [name])
    assert open_uri(text)[0] == text


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("azureml:", "pip install 'trackbridge[azure]'"),
        ("arn:aws:sagemaker:eu-west-1:123456789012:mlflow-app/x", "pip install 'trackbridge[aws]'"),
        ("sagemaker:", "pip install 'trackbridge[aws]'"),
        ("databricks:", "pip install 'trackbridge[databricks]'"),
        ("databricks-uc:", "pip install 'trackbridge[databricks]'"),
        ("mlflow+sqlite:////x.db", "pip install 'trackbridge[mlflow]'"),
    ],
)
def test_a_known_scheme_without_adapter_names_the_exact_command(text, command, open_uri, monkeypatch):
    monkeypatch.setattr(entry_points, "_entries", list)
    with pytest.raises(MissingExtra, match="known") as caught:
        open_uri(text)
    assert caught.value.hint == command


def test_every_known_scheme_is_in_the_table():
    assert set(SCHEME_EXTRAS) <= set(known_schemes())
    assert all(entry_point_name(scheme) in SCHEME_EXTRAS for scheme in SCHEME_EXTRAS)


def test_a_broken_installation_of_our_own_says_so(open_uri, monkeypatch):
    monkeypatch.setattr(entry_points, "_entries", list)
    with pytest.raises(MissingExtra, match="trackbridge itself") as caught:
        open_uri("./x")
    assert "reinstall" in caught.value.hint


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("azurml:", "did you mean 'azureml'", "known schemes are"),
        ("s3://bucket", "'s3'", "artifacts"),
        ("sqlite:///x.db", "'sqlite'", "mlflow+sqlite:"),
        ("prod", "is a name", "remotes"),
    ],
)
def test_unknown_schemes(text, message, hint, open_uri):
    with pytest.raises(UnknownScheme, match=message) as caught:
        open_uri(text)
    assert hint in caught.value.hint


def test_two_providers_are_both_named(install, open_uri):
    install("first-adapter", ["twice"])
    install("second-adapter", ["twice"])
    with pytest.raises(ConfigError, match="first-adapter and by second-adapter"):
        open_uri("twice://x")


def test_a_missing_package_names_package_and_command(install, open_uri):
    install("their-adapter", ["theirs"], "import package_that_nobody_has\n")
    with pytest.raises(MissingExtra, match="package_that_nobody_has") as caught:
        open_uri("theirs://x")
    assert caught.value.hint == "pip install --upgrade their-adapter"


def test_a_missing_package_of_ours_names_the_extra(open_uri, monkeypatch):
    class Distribution:
        name = "trackbridge"

    entry = EntryPoint("azureml", "package_that_nobody_has:open_adapter", entry_points.GROUP)
    vars(entry).update(dist=Distribution())
    monkeypatch.setattr(entry_points, "_entries", lambda: [entry])
    with pytest.raises(MissingExtra) as caught:
        open_uri("azureml:")
    assert caught.value.hint == "pip install 'trackbridge[azure]'"


@pytest.mark.parametrize(
    ("module", "match"),
    [
        ("1 / 0\n", "could not be imported: ZeroDivisionError"),
        ("open_adapter = 3\n", "not callable"),
        ("other = 3\n", "could not be imported: AttributeError"),
        (
            "def open_adapter(uri, *, context): raise KeyError('https://u:hunter2Xy9@h')\n",
            "could not open: KeyError",
        ),
        ("def open_adapter(uri): pass\n", "could not open: TypeError"),
    ],
)
def test_a_broken_adapter_names_its_distribution(module, match, install, open_uri):
    install("their-adapter", ["theirs"], module)
    with pytest.raises(ConfigError, match=match) as caught:
        open_uri("theirs://x")
    assert "their-adapter" in str(caught.value)
    assert "hunter2Xy9" not in str(caught.value)
    assert not isinstance(caught.value, MissingExtra)


def test_errors_of_ours_pass_and_late_imports_are_explained(install, open_uri):
    install(
        "their-adapter",
        ["theirs"],
        "from trackbridge.errors import Rejected\n"
        "def open_adapter(uri, *, context):\n"
        "    if 'late' in uri:\n"
        "        import package_that_nobody_has\n"
        "    raise Rejected('no')\n",
    )
    with pytest.raises(Rejected, match="no"):
        open_uri("theirs://x")
    with pytest.raises(MissingExtra, match="package_that_nobody_has"):
        open_uri("theirs://late")
