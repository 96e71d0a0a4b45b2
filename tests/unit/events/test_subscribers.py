"""Who has subscribed, and what is refused."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.events.conftest import Configure
from trackbridge.domain.events import KINDS
from trackbridge.errors import BridgeError, ConfigError, MissingExtra, NotFound
from trackbridge.events.subscribers import (
    Subscriber,
    SubscriberKind,
    find_subscriber,
    load_entry_point,
    read_subscribers,
)
from trackbridge.resolve.config import Settings


def read() -> tuple[Subscriber, ...]:
    return read_subscribers(Settings())


def test_nobody(project: Path) -> None:
    assert read() == ()


def test_a_webhook(configure: Configure) -> None:
    configure("""
        [webhooks.audit]
        url = "https://example.org:8443/hooks/T0P/path?a=b"
        events = ["run.*", "deploy.applied"]
        secret_env = "AUDIT"
    """)
    (hook,) = read()
    assert hook.problem is None
    assert (hook.identifier, hook.secret_env) == ("webhook:audit", "AUDIT")
    assert {kind for kind in KINDS if hook.wants(kind)} == {"run.closed", "deploy.applied", "bridge.test"}
    assert hook.target == "https://example.org:8443"
    assert "T0P" not in repr(hook)


def test_by_default_every_event(configure: Configure) -> None:
    configure(all="https://example.org/")
    assert all(read()[0].wants(kind) for kind in KINDS)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('url = "https://me:hunter2@example.org/"', "credential"),
        ('url = "https://hunter2@example.org/"', "credential"),
        ('url = "https://example.org/?access_token=hunter2"', "credential"),
        ('url = "https://example.org/?a=1&%74oken=hunter2"', "credential"),
        ('url = "http://example.org/"', "everybody on the way"),
        ('url = "http://127.0.0.1.example.org/"', "everybody on the way"),
        ('url = "ftp://example.org/"', "no address on the web"),
        ('url = "file:///etc/passwd"', "no address on the web"),
        ('url = "https://"', "no address on the web"),
        ('url = "https://example.org:99999/"', "bad host or port"),
        ('url = "https://[::1/"', "bad host or port"),
        ('url = "https://example.org/\\r\\nX-Evil: 1"', "characters"),
        ('url = "https://example.org/#x"', "fragment"),
        ("", "no url"),
        ("url = 3", "no url"),
        ('url = "https://x/"\nevent = ["run.*"]', "did you mean 'events'"),
        ('url = "https://x/"\nsecret = "hunter2"', "credential"),
        ('url = "https://x/"\nsecret_env = "hunter2 x"', "no name of a variable"),
        ('url = "https://x/"\nsecret_env = "ghp_hunter2hunter2hunter2"', "secret itself"),
        ('url = "https://x/"\nevents = "run.*"', "no list"),
        ('url = "https://x/"\nevents = []', "no list"),
        ('url = "https://x/"\nevents = ["runs.*"]', "no event 'runs.\\*'"),
        ('url = "https://x/"\nallow_http = "yes"', "allow_http"),
    ],
)
def test_what_is_refused_concerns_that_webhook_alone(
    content: str, message: str, configure: Configure
) -> None:
    configure(f"[webhooks.bad]\n{content}", good="https://example.org/")
    bad, good = read()
    assert good.problem is None
    assert isinstance(bad.problem, ConfigError)
    with pytest.raises(ConfigError, match=message) as caught:
        raise bad.problem
    assert caught.value.hint
    assert "config.toml" in str(caught.value)
    assert "hunter2" not in f"{caught.value} {caught.value.hint} {bad!r}"


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://[::1]:9/", "http://localhost:9/"])
def test_http_to_this_machine_is_allowed(url: str, configure: Configure) -> None:
    configure(here=url)
    assert read()[0].problem is None


def test_http_elsewhere_when_asked_for(configure: Configure) -> None:
    configure('[webhooks.a]\nurl = "http://example.org/"\nallow_http = true')
    assert read()[0].problem is None


def test_no_table(configure: Configure) -> None:
    configure('webhooks = "https://example.org"')
    with pytest.raises(ConfigError, match="no table"):
        read()


def test_the_project_comes_before_the_user(project: Path, tmp_path: Path, configure: Configure) -> None:
    file = tmp_path / ".config/trackbridge/config.toml"
    file.parent.mkdir(parents=True)
    file.write_text(
        '[webhooks.a]\nurl = "https://user.example/"\n[webhooks.b]\nurl = "https://user.example/"\n'
    )
    configure(a="https://project.example/")
    assert [item.target for item in read()] == ["https://project.example", "https://user.example"]


def test_entry_points(install: Callable[..., None], project: Path) -> None:
    install("def watch(event): ...\nnumber = 3\n", "watch", "number")
    number, watch = read()
    assert (watch.identifier, watch.problem) == ("entry_point:watch", None)
    assert callable(load_entry_point("watch"))
    assert number.problem is None  # nothing is imported to list it
    with pytest.raises(ConfigError, match="not callable"):
        load_entry_point("number")


def test_an_entry_point_without_its_module(
    install: Callable[..., None], project: Path, tmp_path: Path
) -> None:
    install("", "watch")
    (tmp_path / "site/their_package_module.py").unlink()
    (watch,) = read()
    assert watch.problem is not None
    assert "their-package" in (watch.problem.hint or "")


def test_an_entry_point_that_cannot_be_imported(install: Callable[..., None], project: Path) -> None:
    install("raise ValueError('token=hunter2')", "watch")
    with pytest.raises(ConfigError, match="ValueError") as caught:
        load_entry_point("watch")
    assert "hunter2" not in str(caught.value)


def test_opentelemetry_only_when_it_is_on(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "https://me:hunter2@collector:4318/x")
    assert read() == ()
    monkeypatch.setenv("BRIDGE_OPENTELEMETRY", "on")
    (telemetry,) = read()
    assert (telemetry.kind, telemetry.target) == (SubscriberKind.TELEMETRY, "https://collector:4318")
    assert telemetry.problem is None


def test_opentelemetry_without_its_packages(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        "trackbridge.events.subscribers.find_spec",
        lambda name: None if name.startswith("opentelemetry") else find_spec(name),
    )
    monkeypatch.setenv("BRIDGE_OPENTELEMETRY", "on")
    problem = read()[0].problem
    assert isinstance(problem, MissingExtra)
    assert problem.hint == "pip install 'trackbridge[otel]'"


def test_find(install: Callable[..., None], configure: Configure) -> None:
    install("def audit(event): ...\n", "audit")
    configure(audit="https://example.org/", other="https://example.org/")
    assert find_subscriber("other", Settings()).name == "other"
    assert find_subscriber("webhook:audit", Settings()).kind is SubscriberKind.WEBHOOK
    with pytest.raises(ConfigError, match="two subscribers"):
        find_subscriber("audit", Settings())
    with pytest.raises(NotFound, match="did you mean 'other'") as caught:
        find_subscriber("othr", Settings())
    assert isinstance(caught.value, BridgeError)


def test_an_unknown_table_is_still_refused(configure: Configure) -> None:
    configure("[webhook.a]\nurl = 3")
    with pytest.raises(ConfigError, match="did you mean 'webhooks'"):
        read()
