"""A scheme leads to one adapter, or to an error that says what to install."""

import sys
import traceback
from importlib.metadata import EntryPoint

import pytest

from trackbridge.errors import ConfigError, MissingExtra, Rejected, UnknownScheme
from trackbridge.resolve import entry_points
from trackbridge.resolve.entry_points import (
    SCHEME_EXTRAS,
    canonical,
    entry_point_name,
    known_schemes,
    open_adapter,
)
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
def test_schemes_that_another_name_serves(text, name, install, open_uri, monkeypatch):
    install("one-adapter", [name])
    found = [entry for entry in entry_points._entries() if entry.dist.name == "one-adapter"]
    monkeypatch.setattr(entry_points, "_entries", lambda: found)  # ours serve some of them, too
    assert open_uri(text)[0] == text


HOOK = """
def open_adapter(uri, *, context): return uri, context
def canonical_uri(uri, *, options, environment, folder):
    if environment.get("BROKEN"): raise ZeroDivisionError("oops")
    if uri != "theirs:": return uri
    return f"theirs://{environment['THEIRS']}{folder}?from={options.get('file', 'nowhere')}"
"""


def test_a_uri_is_made_independent_of_the_surroundings_by_its_adapter(install, around):
    install("their-adapter", ["theirs"], HOOK)
    here = around._replace(environ={"THEIRS": "host"})
    options = {"file": "x", "delivery": "off", "from": "remote"}
    found = canonical(parse("theirs:?b=2", around=here), options=options, around=here)
    assert found.address == f"theirs://host{here.cwd}"
    assert dict(found.options) == {"b": "2", "delivery": "off", "file": "x", "from": "x"}
    elsewhere = around._replace(cwd=around.cwd / "elsewhere", environ={})
    assert canonical(parse(found.text), options={}, around=elsewhere) == found


def test_a_uri_that_means_the_same_everywhere_stays_and_takes_no_options_of_its_remote(install, around):
    install("their-adapter", ["theirs"], HOOK)
    for text in ("theirs://x?a=1", "http://host", "./x", "unheard-of://x"):
        uri = parse(text, around=around)
        assert canonical(uri, options={"o": "1"}, around=around) is uri


def test_a_hook_that_breaks_is_reported_as_the_makers_fault(install, around):
    install("their-adapter", ["theirs"], HOOK)
    with pytest.raises(ConfigError, match=r"their-adapter could not say what it means.*oops"):
        canonical(parse("theirs:x"), options={}, around=around._replace(environ={"BROKEN": "1"}))


def test_options_that_are_settings_are_not_for_the_adapter(install, open_uri):
    install("their-adapter", ["theirs"])
    _, context = open_uri("theirs://x?delivery=off&a=1")
    assert context.options == {"a": "1"}


def test_every_known_scheme_is_in_the_table():
    assert set(SCHEME_EXTRAS) <= set(known_schemes())
    assert all(entry_point_name(scheme) in SCHEME_EXTRAS for scheme in SCHEME_EXTRAS)


def test_a_broken_installation_of_our_own_says_so(open_uri, monkeypatch):
    monkeypatch.setattr(entry_points, "_entries", list)
    for text in ("./x", "azureml:", "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-app/x", "http://host"):
        with pytest.raises(MissingExtra, match="trackbridge itself") as caught:
            open_uri(text)
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


def test_a_wrong_setting_shows_a_program_no_frames_of_an_adapter(install, open_uri):
    install(
        "their-adapter",
        ["theirs"],
        "from trackbridge.errors import ConfigError\n"
        "def open_adapter(uri, *, context):\n"
        "    try:\n"
        "        {}['no']\n"
        "    except KeyError:\n"
        "        raise ConfigError('no region', hint='name one')\n",
    )
    with pytest.raises(ConfigError) as caught:
        open_uri("theirs://x")
    shown = "".join(traceback.format_exception(caught.value))
    assert "their_adapter_module" not in shown
    assert "KeyError" not in shown
    assert "ConfigError: no region\n" in shown


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
