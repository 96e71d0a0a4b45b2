"""Two registries: compared in the background, read, applied in the background, and refused when stale."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import trackbridge as tb
from tests.support.page_sites import Site
from trackbridge.gateway.pages import model_sync
from trackbridge.resolve.remotes import add_remote


@pytest.fixture
def lab(site: Site, project: Path, tmp_path: Path) -> Iterator[tb.Client]:
    """A remote; here the model wine in one version. What is compared has no model that could be tried out."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_text("1")
    site.gateway.client.register_model(folder, "wine")
    add_remote("lab", str(project / "lab"))
    client = tb.Client(str(project / "lab"))
    yield client
    client.session.close(10.0)


def compare(site: Site, **fields: str) -> str:
    here = next(iter(re.findall(r"<option[^>]*>(file:[^<]+)</option>", site.get("/models/sync"))))
    sent = {"csrf": site.token(), "source": here, "target": "lab", "policy": "fail", **fields}
    site.send("/models/sync", {name: [value] for name, value in sent.items()})
    return site.finished()


def plan_of(text: str) -> str:
    return str(re.findall(r"/models/sync/apply\?work=([0-9a-f]+)", text)[0])


def test_compared_read_applied(site: Site, lab: tb.Client) -> None:
    text = compare(site)
    assert "nothing has been changed yet" in text
    assert list(lab.search_registered_models()) == []
    work = plan_of(text)
    assert "version wine/1" in site.get("/models/sync/apply", work=work)
    site.confirm("/models/sync/apply", work=work)
    text = site.finished()
    assert ">done<" in text
    assert "versions copied: 1; runs copied: 1; fields set: 0" in text
    assert "create version wine/1" in text, "each step is told"
    assert [item.name for item in lab.search_registered_models()] == ["wine"]
    assert "both agree" in compare(site)
    assert site.get("/works").count("Compare file:") == 2
    history = lab.get_model_history("wine")
    assert "anna" in {item.user for item in history}


def test_a_stale_plan_does_nothing(site: Site, lab: tb.Client) -> None:
    work = plan_of(compare(site))
    site.gateway.client.set_registered_model_alias("wine", "champion", "1")
    site.confirm("/models/sync/apply", work=work)
    text = site.finished()
    assert ">failed<" in text
    assert "is not as it was when the plan was made" in text
    assert list(lab.search_registered_models()) == []


def test_what_was_changed_on_both_sides_is_decided_first(site: Site, lab: tb.Client) -> None:
    site.confirm("/models/sync/apply", work=plan_of(compare(site, two_way="yes")))
    site.finished()
    site.gateway.client.update_model_version("wine", "1", "from here")
    lab.update_model_version("wine", "1", "from the lab")
    text = compare(site, two_way="yes")
    assert "Changed on both sides" in text
    assert "from the lab" in text
    assert "/models/sync/apply" not in text
    (work,) = re.findall(r'hx-get="/works/([0-9a-f]+)"|/works/([0-9a-f]+)', site.address)
    assert "changed on both sides" in site.get("/models/sync/apply", work="".join(work), status=409)
    site.confirm("/models/sync/apply", work=plan_of(compare(site, two_way="yes", policy="source")))
    assert ">done<" in site.finished()
    assert lab.get_model_version("wine", "1").description == "from here"


def test_two_at_once_between_the_same_are_refused(
    site: Site, lab: tb.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate, real = threading.Event(), model_sync.compare

    def waits(*arguments: object) -> object:
        gate.wait(60.0)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(model_sync, "compare", waits)
    here = next(iter(re.findall(r"<option[^>]*>(file:[^<]+)</option>", site.get("/models/sync"))))
    fields = {"csrf": [site.token()], "source": [here], "target": ["lab"]}
    text = site.send("/models/sync", fields)
    assert ">running<" in text
    assert 'hx-trigger="every 1s"' in text
    first = site.address
    assert "is being changed here already" in site.send("/models/sync", fields, status=409)
    turned = {**fields, "source": ["lab"], "target": [here]}
    assert "is being changed here already" in site.send("/models/sync", turned, status=409)
    gate.set()
    assert ">done<" in site.finished(first)


def test_only_known_places_are_compared(site: Site, lab: tb.Client) -> None:
    fields = {"csrf": [site.token()], "source": ["lab"], "target": ["https://evil.example.org"]}
    assert "is no place that is known here" in site.send("/models/sync", fields, status=404)
    fields = {"csrf": [site.token()], "source": ["lab"], "target": ["lab"], "policy": ["guess"]}
    assert "no way to decide" in site.send("/models/sync", fields, status=400)
    assert "no work" in site.get("/models/sync/apply", work="0" * 32, status=404)


def test_who_may_only_read_is_offered_no_comparison(site: Site, lab: tb.Client) -> None:
    assert "<button" in site.get("/models/sync")
    site.may_only_read()
    text = site.get("/models/sync")
    assert "Your token may read only" in text
    assert "<button" not in text
