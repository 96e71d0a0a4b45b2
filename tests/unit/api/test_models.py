"""Models of a program: logged, registered, promoted, found and fetched, without any library of models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import trackbridge as tb
from trackbridge.domain.model_digest import digest_of_path
from trackbridge.errors import Conflict, InvalidInput, InvalidQuery, MissingExtra, NotFound, Rejected

MLMODEL = "run_id: null\nflavors:\n  python_function:\n    loader_module: mine\nmodel_uuid: abc\n"


@pytest.fixture
def folder(project: Path) -> Path:
    made = project / "exported"
    (made / "data").mkdir(parents=True)
    (made / "MLmodel").write_text(MLMODEL)
    (made / "data" / "weights.bin").write_bytes(b"1234")
    return made


def another(folder: Path, content: bytes = b"5678") -> Path:
    (folder / "data" / "weights.bin").write_bytes(content)
    return folder


# Logging.


def test_a_folder_is_logged_as_it_is(folder: Path) -> None:
    with tb.start_run() as run:
        info = tb.log_model(folder, "net")
    assert info.model_uri == f"runs:/{run.info.run_id}/net"
    assert info.digest == digest_of_path(folder)
    assert (info.name, info.flavors, info.model_uuid) == (
        "net",
        {"python_function": {"loader_module": "mine"}},
        "abc",
    )
    here = Path(tb.download_model(info.model_uri))
    assert (here / "MLmodel").read_text() == MLMODEL
    assert digest_of_path(here) == info.digest


def test_a_file_is_a_model_too(project: Path) -> None:
    (project / "weights.bin").write_bytes(b"1234")
    with tb.start_run():
        info = tb.log_model("weights.bin")
    assert info.artifact_path == "model"
    assert tb.load_model(info.model_uri) == tb.download_model(info.model_uri)
    here = Path(tb.load_model(info.model_uri))
    assert [(file.name, file.read_bytes()) for file in here.iterdir()] == [("weights.bin", b"1234")]
    inner = tb.load_model(f"{info.model_uri}/weights.bin")
    assert Path(inner).read_bytes() == b"1234"


def test_the_history_of_the_run_names_each_model_once(folder: Path) -> None:
    with tb.start_run() as run:
        tb.log_model(folder, "a")
        tb.log_model(folder, artifact_path="b")
        tb.log_model(another(folder), "a")
    history = json.loads(tb.get_run(run.info.run_id).data.tags["mlflow.log-model.history"])
    assert [item["artifact_path"] for item in history] == ["b", "a"]
    assert history[0]["flavors"] == {"python_function": {"loader_module": "mine"}}


def test_registration_follows_the_files(folder: Path) -> None:
    with tb.start_run() as run:
        tb.log_input({"a": [1.0, 2.0]}, name="wine")
        info = tb.log_model(
            folder, registered_model_name="wine", tags={"team": "red"}, description="the first"
        )
    assert (info.registered_model_name, info.registered_model_version) == ("wine", None)
    version = tb.get_model_version("wine", 1)
    assert (version.run_id, version.digest) == (run.info.run_id, info.digest)
    assert (version.tags, version.description) == ({"team": "red"}, "the first")
    assert [name.partition("@")[0] for name in version.datasets] == ["wine"]
    assert (version.status, version.current_stage, version.user_id) == ("READY", "None", version.user)
    again = tb.register_model(info.model_uri, "wine")
    assert again.version == "1"


def test_the_baseline_is_a_part_of_the_model(folder: Path) -> None:
    with tb.start_run() as run:
        info = tb.log_model(folder, training_data={"a": [1.0, 2.0, None], "b": ["x", "y", "x"]})
    here = Path(tb.download_model(info.model_uri))
    baseline = json.loads((here / "bridge-baseline.json").read_text())
    assert [(column["name"], column["kind"]) for column in baseline["columns"]] == [
        ("a", "number"),
        ("b", "text"),
    ]
    assert digest_of_path(here) == info.digest != digest_of_path(folder)
    (dataset,) = tb.get_run(run.info.run_id).inputs.dataset_inputs
    assert dataset.tags == {"mlflow.data.context": "training"}


def test_what_cannot_be_logged_is_refused_at_once(folder: Path, project: Path) -> None:
    with tb.start_run() as run:
        with pytest.raises(InvalidInput, match="training data, which is not given"):
            tb.log_model(folder, predictions=[1.0])
        with pytest.raises(NotFound, match="no model at"):
            tb.log_model("absent")
        with pytest.raises(InvalidInput, match="as it is"):
            tb.log_model(folder, flavor="sklearn")
        with pytest.raises(InvalidInput, match="give one"):
            tb.log_model(folder, "a", artifact_path="b")
        with pytest.raises(InvalidInput, match="registered"):
            tb.log_model(folder, tags={"a": "b"})
        with pytest.raises(InvalidInput, match="cannot be the name"):
            tb.log_model(folder, registered_model_name="a/b")
        with pytest.raises(InvalidInput, match="artifact path"):
            tb.log_model(folder, "../out")
        with pytest.raises(InvalidInput, match="no flavor is known"):
            tb.log_model(object())
        with pytest.raises(InvalidInput, match="cannot be described"):
            tb.log_model(folder, training_data=3)
    assert [found.path for found in tb.Client().list_artifacts(run.info.run_id)] in ([], ["bridge"])


def test_without_mlflow_the_error_says_what_to_install(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow.models", None)
    with tb.start_run(), pytest.raises(MissingExtra) as caught:
        tb.log_model(lambda values: values)
    assert caught.value.hint == "pip install 'trackbridge[mlflow]'"


PROGRAM = """
import os, signal, sys
import trackbridge as tb

with tb.start_run():
    tb.log_model(sys.argv[1], registered_model_name="wine")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_program_killed_right_after_has_registered(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(folder)], timeout=60)
    assert done.returncode < 0
    version = tb.get_model_version("wine", 1)
    assert digest_of_path(Path(tb.download_model("models:/wine/1"))) == version.digest


def test_a_project_that_was_moved_registers_with_itself(
    folder: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = "import sys, trackbridge as tb; tb.log_model(sys.argv[1], registered_model_name='wine')"
    subprocess.run(
        [sys.executable, "-c", program, str(folder)],
        check=True,
        timeout=60,
        env={**os.environ, "BRIDGE_DELIVERY": "off"},
    )
    moved = project / "moved"
    moved.mkdir()
    (project / ".bridge").rename(moved / ".bridge")
    monkeypatch.chdir(moved)
    assert tb.get_model_version("wine", 1).version == "1"
    assert not (project / ".bridge").exists()


# Registering.


def test_the_same_files_are_one_version(folder: Path) -> None:
    with tb.start_run():
        info = tb.log_model(folder)
    first = tb.register_model(info.model_uri, "wine", description="first")
    again = tb.register_model(info.model_uri, "wine", description="not taken")
    assert (first.version, again.version, again.description) == ("1", "1", "first")
    assert tb.register_model(info.model_uri, "beer").version == "1"


def test_a_deleted_version_can_be_registered_anew(folder: Path) -> None:
    with tb.start_run():
        uri = tb.log_model(folder).model_uri
    tb.register_model(uri, "wine")
    tb.Client().delete_model_version("wine", 1)
    assert [tb.register_model(uri, "wine").version for _ in range(2)] == ["2", "2"]


def test_a_folder_gets_a_run_of_its_own(folder: Path) -> None:
    version = tb.register_model(folder, "wine")
    assert version.run_id is not None
    run = tb.get_run(version.run_id)
    assert (run.info.run_name, run.info.status) == ("register wine", tb.RunStatus.FINISHED)
    assert tb.register_model(folder, "wine").version == "1"
    assert tb.register_model(another(folder), "wine").version == "2"
    assert len(tb.search_runs()) == 2


def test_a_folder_goes_to_the_active_run(folder: Path) -> None:
    with tb.start_run() as run:
        version = tb.register_model(str(folder), "wine")
    assert version.run_id == run.info.run_id


def test_a_copy_remembers_where_it_came_from(folder: Path) -> None:
    tb.register_model(folder, "wine")
    copy = tb.register_model("models:/wine/1", "champion-wine")
    assert copy.origin is not None
    assert (copy.origin.name, copy.origin.version) == ("wine", "1")
    assert copy.origin.registry == tb.get_tracking_uri()
    assert tb.Client().copy_model_version("models:/champion-wine/1", "third").origin == copy.origin


def test_nothing_to_register(project: Path) -> None:
    with tb.start_run() as run:
        tb.log_metric("a", 1)
    for address in (f"runs:/{run.info.run_id}/absent", "models:/absent/1", "./absent"):
        with pytest.raises(NotFound):
            tb.register_model(address, "wine")
    with pytest.raises(InvalidInput):
        tb.register_model("s3://bucket/model", "wine")
    assert tb.search_registered_models() == []


# Promoting, describing, finding.


@pytest.fixture
def three(folder: Path) -> tb.Client:
    for content in (b"1", b"2", b"3"):
        tb.register_model(another(folder, content), "wine", tags={"content": content.decode()})
    return tb.Client()


def test_aliases_stages_and_approval(three: tb.Client) -> None:
    tb.set_registered_model_alias("wine", "champion", 1, why="best")
    tb.set_registered_model_alias("wine", "champion", "2")
    assert three.get_model_version_by_alias("wine", "champion").version == "2"
    assert three.get_model_version_by_alias("wine", "latest").version == "3"
    tb.delete_registered_model_alias("wine", "champion")
    with pytest.raises(NotFound):
        three.get_model_version_by_alias("wine", "champion")
    tb.transition_model_version_stage("wine", 1, "production")
    changed = tb.transition_model_version_stage("wine", 2, "Production", archive_existing_versions=True)
    assert changed.stage == "Production"
    assert [(found.version, found.stage) for found in three.get_latest_versions("wine")] == [
        ("3", "None"),
        ("2", "Production"),
        ("1", "Archived"),
    ]
    assert [found.version for found in three.get_latest_versions("wine", ["production"])] == ["2"]
    assert tb.set_model_version_approval("wine", 2, "Approved", why="reviewed").approval.value == "approved"


def test_the_history_says_who_and_why(three: tb.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_USER", "ana")
    tb.Client().set_model_version_approval("wine", 2, "rejected", why="biased")
    (change, *_) = tb.get_model_history("wine", 2)
    assert (change.what, change.before, change.after, change.user, change.why) == (
        "approval",
        "pending",
        "rejected",
        "ana",
        "biased",
    )
    assert len(three.get_model_history("wine", max_results=3)) == 3


def test_what_cannot_be_set(three: tb.Client) -> None:
    with pytest.raises(InvalidInput, match="no stage"):
        tb.transition_model_version_stage("wine", 1, "Canary")
    with pytest.raises(InvalidInput, match="cannot be archived"):
        tb.transition_model_version_stage("wine", 1, "None", True)
    with pytest.raises(InvalidInput, match="cannot be an alias"):
        tb.set_registered_model_alias("wine", "v3", 1)
    with pytest.raises(InvalidInput, match="cannot be"):
        tb.set_model_version_approval("wine", 1, "perhaps")
    with pytest.raises(NotFound):
        tb.set_model_version_approval("wine", 9, "approved")
    with pytest.raises(Conflict, match="exists already"):
        three.create_registered_model("wine")


def test_tags_and_descriptions(three: tb.Client) -> None:
    three.set_registered_model_tag("wine", "team", "red")
    three.set_model_version_tag("wine", 2, "auc", 0.9)
    assert three.update_registered_model("wine", "all wines").description == "all wines"
    assert three.update_model_version("wine", 2, "the second").description == "the second"
    assert three.get_registered_model("wine").tags == {"team": "red"}
    assert three.get_model_version("wine", 2).tags == {"content": "2", "auc": "0.9"}
    three.delete_registered_model_tag("wine", "team")
    three.delete_model_version_tag("wine", 2, "auc")
    assert three.get_registered_model("wine").tags == {}
    assert three.get_model_version("wine", 2).tags == {"content": "2"}


@pytest.mark.parametrize(
    ("text", "versions"),
    [
        ("name = 'wine'", ["3", "2", "1"]),
        ("name = 'beer'", []),
        ("name LIKE 'w%' and tags.content != '2'", ["3", "1"]),
        ("version_number >= 2", ["3", "2"]),
        ("alias = 'champion'", ["2"]),
        ("current_stage = 'Production' or approval = 'approved'", ["3", "1"]),
        ("tags.absent IS NULL and version_number = 1", ["1"]),
        ("last_updated_timestamp > 0 and creation_timestamp > 0 and run_id = 'x'", []),
    ],
)
def test_finding_versions(three: tb.Client, text: str, versions: list[str]) -> None:
    three.set_registered_model_alias("wine", "champion", 2)
    three.transition_model_version_stage("wine", 1, "Production")
    three.set_model_version_approval("wine", 3, "approved")
    assert [found.version for found in tb.search_model_versions(text)] == versions


def test_pages_and_orders(three: tb.Client) -> None:
    for name in ("ale", "beer", "cider"):
        three.create_registered_model(name, {"kind": "other"}, "a drink")
    page = three.search_registered_models("tags.kind = 'other'", 2)
    assert [model.name for model in page] == ["ale", "beer"]
    rest = three.search_registered_models("tags.kind = 'other'", 2, page_token=page.token)
    assert ([model.name for model in rest], rest.token) == (["cider"], None)
    assert tb.search_registered_models(order_by=["name DESC"])[0].name == "wine"
    ascending = tb.search_model_versions("name='wine'", order_by=["version_number ASC"], max_results=2)
    assert [found.version for found in ascending] == ["1", "2"]
    assert tb.search_registered_models("name LIKE 'wi%'")[0].description == ""


@pytest.mark.parametrize("text", ["nmae = 'wine'", "metrics.a > 1", "version_number = 'a'", "name > 3"])
def test_wrong_searches(project: Path, text: str) -> None:
    with pytest.raises(InvalidQuery):
        tb.search_model_versions(text)


def test_deleting(three: tb.Client) -> None:
    three.delete_model_version("wine", 3)
    three.delete_model_version("wine", 3)
    assert three.get_model_version_by_alias("wine", "latest").version == "2"
    three.delete_registered_model("wine")
    with pytest.raises(NotFound):
        three.get_registered_model("wine")
    assert {change.what for change in three.get_model_history("wine")} >= {"created", "deleted"}


# Fetching.


def test_fetching_by_every_name(three: tb.Client, folder: Path, project: Path) -> None:
    three.set_registered_model_alias("wine", "champion", 2)
    for uri, content in (("models:/wine/1", b"1"), ("models:/wine@champion", b"2"), ("models:/wine", b"3")):
        here = Path(tb.download_model(uri))
        assert (here / "data" / "weights.bin").read_bytes() == content
    assert tb.download_model(folder) == str(folder)
    copy = tb.download_model("models:/wine/1", project / "copy")
    assert copy == str(project / "copy")
    assert (project / "copy" / "data" / "weights.bin").read_bytes() == b"1"


def test_a_model_that_was_tampered_with_is_not_loaded(three: tb.Client, project: Path) -> None:
    run_id = three.get_model_version("wine", 1).run_id
    (file,) = project.glob(f".bridge/artifacts/{run_id}/model/data/weights.bin")
    file.chmod(0o600)
    file.write_bytes(b"9")
    with pytest.raises(Rejected, match="not those that were registered"):
        tb.load_model("models:/wine/1")


def test_a_registry_of_its_own(folder: Path, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_REGISTRY_URI", f"file:{project / 'shared'}")
    with tb.start_run() as run:
        info = tb.log_model(folder, registered_model_name="wine")
    version = tb.get_model_version("wine", 1)
    assert version.source == (project / ".bridge" / "artifacts" / run.info.run_id / "model").as_uri()
    assert tb.register_model(info.model_uri, "beer").source == version.source
    assert digest_of_path(Path(tb.download_model("models:/wine/1"))) == info.digest
    monkeypatch.delenv("BRIDGE_REGISTRY_URI")
    assert tb.Client("./.bridge").registry_uri == tb.get_tracking_uri()
    assert tb.Client(project / "shared").get_registered_model("wine").name == "wine"


# A name that is used again, and other ways to lose a model.


def test_a_registered_version_keeps_its_files_when_its_name_is_used_again(folder: Path) -> None:
    with tb.start_run() as run:
        first = tb.log_model(folder, registered_model_name="wine")
        with pytest.warns(UserWarning, match="whose files are kept"):
            second = tb.log_model(another(folder), registered_model_name="wine")
        again = tb.log_model(another(folder, b"1234"), registered_model_name="wine")
    assert (first.artifact_path, again.artifact_path) == ("model", "model")
    assert second.model_uri == f"runs:/{run.info.run_id}/model-{second.digest[7:19]}"
    for number, content in ((1, b"1234"), (2, b"5678")):
        here = Path(tb.download_model(f"models:/wine/{number}"))
        assert (here / "data" / "weights.bin").read_bytes() == content
    assert len(tb.search_model_versions("name = 'wine'")) == 2


def test_what_is_registered_later_keeps_its_files_too(folder: Path) -> None:
    with tb.start_run():
        tb.register_model(tb.log_model(folder).model_uri, "wine")
        with pytest.warns(UserWarning, match="whose files are kept"):
            tb.log_model(another(folder))
    assert Path(tb.download_model("models:/wine/1"), "data", "weights.bin").read_bytes() == b"1234"


def test_a_name_that_nobody_registered_means_the_newest(folder: Path) -> None:
    with tb.start_run():
        tb.log_model(folder)
        info = tb.log_model(another(folder))
    assert info.artifact_path == "model"
    assert Path(tb.download_model(info.model_uri), "data", "weights.bin").read_bytes() == b"5678"


def test_leftovers_of_another_model_are_not_registered_with_one(folder: Path) -> None:
    with tb.start_run():
        tb.log_model(folder)
        (folder / "data" / "weights.bin").rename(folder / "other.bin")
        with pytest.warns(UserWarning, match="whose files are kept"):
            info = tb.log_model(folder, registered_model_name="wine")
    here = Path(tb.download_model("models:/wine/1"))
    assert digest_of_path(here) == info.digest == tb.get_model_version("wine", 1).digest


def test_registering_a_folder_spares_the_model_of_the_active_run(folder: Path, project: Path) -> None:
    (project / "other").mkdir()
    (project / "other" / "b.bin").write_bytes(b"b")
    with tb.start_run():
        tb.log_model(folder, registered_model_name="wine")
        versions = [tb.register_model("other", "beer").version for _ in range(2)]
    assert versions == ["1", "1"]
    assert digest_of_path(Path(tb.download_model("models:/wine/1"))) == digest_of_path(folder)
    assert digest_of_path(Path(tb.download_model("models:/beer/1"))) == digest_of_path(project / "other")


def test_a_folder_with_a_file_of_its_own_name(project: Path) -> None:
    (project / "exported").mkdir()
    (project / "exported" / "model").write_bytes(b"1")
    (project / "exported" / "words.txt").write_bytes(b"2")
    with tb.start_run():
        info = tb.log_model("exported")
    assert sorted(file.name for file in Path(tb.load_model(info.model_uri)).iterdir()) == [
        "model",
        "words.txt",
    ]


def test_what_no_registry_could_hold_is_refused_before_anything_is_logged(folder: Path) -> None:
    odd: list[dict[str, object]] = [
        {"description": "\ud800"},
        {"tags": {"\ud800": 1}},
        {"tags": {"a": "\ud800"}},
        {"tags": [1]},
        {"registered_model_name": 5},
        {"registered_model_name": "\ud800"},
        {"name": 5},
    ]
    with tb.start_run() as run:
        for options in odd:
            with pytest.raises(InvalidInput):
                tb.log_model(folder, **{"registered_model_name": "wine", **options})  # type: ignore[arg-type]
        tb.log_model(folder, registered_model_name="wine", description=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput):
        tb.register_model(folder, "beer", description="\ud800")
    assert tb.get_model_version("wine", 1).description == "5"
    assert [model.name for model in tb.search_registered_models()] == ["wine"]
    assert len(tb.search_runs()) == 1
    assert len(tb.Client().list_artifacts(run.info.run_id, "model")) == 2


def test_what_is_no_file_is_refused_and_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "data" / "pipe")
    with tb.start_run() as run:
        for call in (lambda: tb.log_model(folder), lambda: tb.log_model(folder / "data" / "pipe")):
            with pytest.raises(InvalidInput, match="regular file"):
                call()
    with pytest.raises(InvalidInput, match="no file that can be read"):
        tb.register_model(folder, "wine")
    assert tb.Client().list_artifacts(run.info.run_id, "model") == []


def test_a_tag_that_somebody_has_set_to_something_else(folder: Path) -> None:
    for text in ("nonsense", "3", "[3]"):
        with tb.start_run() as run:
            tb.set_tag("mlflow.log-model.history", text)
            tb.log_model(folder)
        (item,) = json.loads(tb.get_run(run.info.run_id).data.tags["mlflow.log-model.history"])
        assert item["artifact_path"] == "model"


def test_addresses_with_secrets_do_not_reach_errors(project: Path) -> None:
    address = "https://ana:hunter2@host/model?sig=abcdef123456"
    for call in (tb.load_model, lambda uri: tb.register_model(uri, "wine"), tb.download_model):
        with pytest.raises(InvalidInput) as caught:
            call(address)
        assert "hunter2" not in f"{caught.value} {caught.value.hint}"
        assert "abcdef123456" not in f"{caught.value} {caught.value.hint}"


def test_a_copy_is_not_mixed_with_other_files(three: tb.Client, project: Path) -> None:
    place = project / "copy"
    for uri, content in (("models:/wine/1", b"1"), ("models:/wine/2", b"2")):
        tb.download_model(uri, place)
        assert (place / "data" / "weights.bin").read_bytes() == content
    (place / "mine.txt").write_text("mine")
    with pytest.raises(Conflict, match=r"mine\.txt"):
        tb.download_model("models:/wine/3", place)
    assert (place / "data" / "weights.bin").read_bytes() == b"2"
    with pytest.raises(InvalidInput, match="cannot be copied"):
        tb.download_model("models:/wine/3", place / "mine.txt")
