"""The pages of models: what is registered, two versions beside each other, changes as confirmed plans."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.page_sites import Site, fields_of, refused
from trackbridge.gateway.pages.models import model_address, model_facts

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def wine(site: Site, tmp_path: Path) -> Site:
    """The model wine in three versions, the second the champion."""
    client = site.gateway.client
    for number in (1, 2, 3):
        folder = tmp_path / f"model-{number}"
        folder.mkdir()
        (folder / "MLmodel").write_text(f"flavors:\n  python_function:\n    env: {number}\n")
        client.register_model(folder, "wine", tags={"quality": number}, description=f"the {number}. try")
    client.set_registered_model_alias("wine", "champion", "2", why="the best so far")
    return site


def model(site: Site) -> dict[str, str]:
    facts = model_facts(site.gateway.client, "wine")
    stated = {f"stage {item.version}": item.stage for item in facts.versions if item.stage != "None"}
    approved = {f"approval {item.version}": item.approval.value for item in facts.versions}
    waiting = {key: value for key, value in approved.items() if value != "pending"}
    return {**facts.model.aliases, **stated, **waiting}


def test_nothing_yet(site: Site) -> None:
    assert "There are no such models" in site.get("/models")


def test_list(wine: Site) -> None:
    wine.gateway.client.update_registered_model("wine", HOSTILE)
    text = wine.get("/models")
    assert 'href="/models/by-name/wine"' in text
    assert "champion: 2" in text
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text
    assert "There are no such models" in wine.get("/models", filter="name = 'beer'")
    assert "alert" in wine.get("/models", filter="nonsense ~ 1", status=400)


def test_a_model_with_versions_and_history(wine: Site) -> None:
    text = wine.get("/models/by-name/wine")
    for told in ("the 1. try", "the 3. try", "alias:champion", "the best so far", "created"):
        assert told in text
    assert "Not found" in wine.get("/models/by-name/beer", status=404)
    assert wine.get("/models/by-name/%3Fx%40", status=400)


def test_a_description_is_shown_as_markdown_and_nothing_of_it_runs(wine: Site) -> None:
    wine.gateway.client.update_registered_model("wine", f"Predicts **quality**.\n\n{HOSTILE}")
    text = wine.get("/models/by-name/wine")
    assert "<p>Predicts <strong>quality</strong>.</p>" in text
    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_two_versions_beside_each_other(wine: Site) -> None:
    text = wine.get("/models/diff", name="wine", left="1", right="2")
    assert "-    env: 1" in text
    assert "+    env: 2" in text
    assert "quality <span" in text, "the tag differs, and it is said so in words"
    assert "two versions are to be named" in wine.get("/models/diff", name="wine", left="1", status=404)


def test_the_newest_version_is_offered_for_comparison_with_the_one_before(wine: Site) -> None:
    left, right = re.findall(
        r'<select name="(?:left|right)">(.*?)</select>', wine.get("/models/by-name/wine"), re.DOTALL
    )
    assert "<option selected>2</option>" in left
    assert "selected" not in right
    assert right.startswith("<option>3</option>")


def test_an_alias_is_planned_confirmed_and_set(wine: Site) -> None:
    text = wine.get("/models/alias", name="wine", version="3", alias="champion", why="better")
    assert "Nothing has been changed yet" in text
    assert model(wine) == {"champion": "2"}
    assert "It is done" in wine.confirm(
        "/models/alias", name="wine", version="3", alias="champion", why="better"
    )
    assert model(wine) == {"champion": "3"}
    changed = wine.gateway.client.get_model_history("wine")[0]
    assert (changed.user, changed.why, changed.before, changed.after) == ("anna", "better", "2", "3")
    wine.confirm("/models/alias", name="wine", alias="champion")
    assert model(wine) == {}
    assert "has no alias" in wine.get("/models/alias", name="wine", alias="champion", status=404)


def test_nothing_to_do_has_no_button(wine: Site) -> None:
    text = wine.get("/models/alias", name="wine", version="2", alias="champion")
    assert "There is nothing to do" in text
    assert 'method="post"' not in text


def test_a_stage_with_the_others_archived(wine: Site) -> None:
    wine.confirm("/models/stage", name="wine", version="1", stage="Production")
    text = wine.get("/models/stage", name="wine", version="2", stage="Production", archive="yes")
    assert "version wine/1" in text
    wine.confirm("/models/stage", name="wine", version="2", stage="Production", archive="yes")
    assert model(wine) == {"champion": "2", "stage 1": "Archived", "stage 2": "Production"}


def test_approval(wine: Site) -> None:
    wine.confirm("/models/approval", name="wine", version="1", approval="rejected", why="biased")
    wine.confirm("/models/approval", name="wine", version="2", approval="approved")
    assert model(wine) == {"champion": "2", "approval 1": "rejected", "approval 2": "approved"}
    assert "biased" in wine.get("/models/by-name/wine")
    wine.get("/models/approval", name="wine", version="1", approval="perhaps", status=400)


def test_deletion_of_a_version_and_of_the_model(wine: Site) -> None:
    wine.confirm("/models/delete", name="wine", version="1")
    assert "version wine/1" not in wine.get("/models/delete", name="wine")
    wine.confirm("/models/delete", name="wine")
    assert "Not found" in wine.get("/models/by-name/wine", status=404)


def test_a_stale_plan_is_refused_and_changes_nothing(wine: Site) -> None:
    def by_somebody_else() -> None:
        wine.gateway.client.set_registered_model_alias("wine", "champion", "1")

    text = wine.confirm(
        "/models/alias", status=409, meanwhile=by_somebody_else, name="wine", version="3", alias="champion"
    )
    assert "has changed since it was shown" in text
    assert model(wine) == {"champion": "1"}
    text = wine.confirm(
        "/models/delete",
        status=409,
        meanwhile=lambda: wine.gateway.client.set_model_version_approval("wine", "3", "approved"),
        name="wine",
    )
    assert "has changed" in text
    assert len(model_facts(wine.gateway.client, "wine").versions) == 3


def test_without_the_token_or_the_scope_nothing_is_changed(wine: Site) -> None:
    fields = fields_of(wine.get("/models/delete", name="wine"))
    wine.send("/models/delete", {**fields, "csrf": ["other"]}, status=403)
    wine.send("/models/delete", {key: fields[key] for key in fields if key != "csrf"}, status=403)
    wine.cookies.clear()
    wine.send("/models/delete", fields, status=403)
    wine.get("/models")
    wine.may_only_read()
    assert refused(lambda: wine.send("/models/delete", fields)).status == 403
    assert "Plan" in wine.get("/models/delete", name="wine"), "who may only read may read plans"
    assert len(model_facts(wine.gateway.client, "wine").versions) == 3


def test_commands_are_quoted_for_a_shell(site: Site, tmp_path: Path) -> None:
    name = "wine; echo $(id)"
    (tmp_path / "weights").write_text("1")
    site.gateway.client.register_model(tmp_path / "weights", name)
    text = site.get(model_address(name))
    assert "bridge models show &#39;wine; echo $(id)&#39; --json" in text
    plan = site.get("/models/approval", name=name, version="1", approval="approved")
    assert "bridge models approve &#39;wine; echo $(id)/1&#39; --json" in plan
