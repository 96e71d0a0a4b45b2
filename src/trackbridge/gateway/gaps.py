"""Where a gateway's answers differ from those of a real ``mlflow server``, and why: all of it.

The tests run mlflow's own clients and plain HTTP against both and compare every field. A difference that no
row names fails them, and so does a row whose difference is no longer there. docs/gateway.md shows the rows.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Gap:
    """One difference from mlflow's server.

    Args:
        what: What differs, for users.
        reason: Why it is so.
        where: Regular expressions of places in the comparison: the call, then the path of the field.
        backends: The backends that have it; empty where all do.
    """

    what: str
    reason: str
    where: tuple[str, ...]
    backends: tuple[str, ...] = ()

    def is_of(self, backend: str) -> bool:
        """Tell whether a backend has it."""
        return not self.backends or backend in self.backends


LOCAL, MLFLOW, AZUREML, SAGEMAKER = "local", "mlflow", "azureml", "sagemaker"

GAPS: tuple[Gap, ...] = (
    # Experiments.
    Gap(
        "an experiment's id is 32 letters and digits, except that of `Default`; "
        "one that is no number is looked up, and not found",
        "ids are minted here, so that nothing waits for a backend",
        ("experiment of no number/code",),
    ),
    Gap(
        "renaming an experiment is NOT_IMPLEMENTED",
        "its id is made from its name, so that several programs agree on it without asking",
        (
            "experiment rename(| to another's)(|/.*)",
            "experiment renamed(|/.*)",
            "experiment by old name",
        ),
    ),
    Gap(
        "an `artifact_location` of an experiment is NOT_IMPLEMENTED",
        "the backend decides where files go",
        ("experiment with a place(|/.*)",),
    ),
    Gap(
        "deleting a tag of an experiment is NOT_IMPLEMENTED",
        "no backend's port takes one away; set it to an empty text",
        ("experiment tag (delete|then)(|/.*)",),
    ),
    # Runs.
    Gap(
        "the status SCHEDULED is told as RUNNING",
        "backends know runs that run, and runs that have ended",
        ("run updated/(status|answer/run_info/status)",),
    ),
    Gap(
        "of a run's params those beyond 200, and of its tags those beyond 49, become dead letters "
        "(`bridge sync dead-letters`)",
        "Azure ML refuses more, which it says once they are sent; mlflow's server has no bound",
        ("batches read/(params|tags)/i\\d+",),
        (AZUREML,),
    ),
    Gap(
        "a run that goes on after its end has no end time until it ends again",
        "it has not ended; mlflow keeps the time of the end before",
        ("run that went on/1",),
    ),
    Gap(
        "a run without `start_time` starts now, instead of in 1970",
        "the moment is known",
        (
            "run without start/answer/run/info/start_time",
            "end without time/answer/run_info/start_time",
        ),
    ),
    Gap(
        "a run that ends without `end_time` ends now, instead of never; "
        "an `end_time` for a run that has not ended is NOT_IMPLEMENTED",
        "a run has an end time exactly if it has ended",
        ("end without time/answer/run_info/end_time", "end time alone/.*"),
    ),
    Gap(
        "a tag that begins with `bridge.` is refused",
        "such tags say where a run belongs, in every backend",
        ("tag of ours(|/.*)", "run with values/tags/bridge.run_id"),
    ),
    # Values.
    Gap(
        "Infinity stays Infinity; mlflow makes it 1.7976931348623157e308",
        "numbers are kept as they were logged",
        (
            "history of (|minus )inf/0/value",
            "run with values/metrics/(|minus )inf",
            "history of (inf|minus)/answer/metrics/0/value",
            r"run with (values|outputs)/answer/run/data/metrics/\d/value",
            r"runs(| filtered)/answer/runs/\d/data/metrics/\d/value",
        ),
    ),
    Gap(
        "in `runs/search`, a metric whose last value is Infinity has the last value that the backend holds, "
        "or is not there; `runs/get` tells it",
        "it is kept in a file beside the run, which would have to be read for every run",
        (r"runs(| filtered)/answer/runs/\d/data/metrics/\d(|/.*)",),
        (MLFLOW, AZUREML),
    ),
    Gap(
        "params of more than 6,000 characters and tags of more than 8,000 are kept whole; mlflow cuts them",
        "nothing is lost silently; what a backend cannot hold is kept beside it",
        ("run with values/(params/p6001|tags/t8001)",),
    ),
    # Searches.
    Gap(
        "filters may have OR, parentheses, NOT IN and IN for params, which mlflow refuses",
        "the search language is the same for every backend",
        ("runs (or|parentheses|param in|param not in)/.*",),
    ),
    Gap(
        "a metric that is NaN fulfils no comparison, not even `!=`",
        "so it is in every backend; mlflow's database keeps a NaN as 0",
        ("runs metric unequal/names/.*",),
    ),
    Gap(
        "a page token is good for the search that gave it; mlflow takes it for any other",
        "it would be a page of another list",
        ("runs page of another search/.*",),
    ),
    # Requests.
    Gap(
        "an unknown word for a view or a status, half a step, a text for a list, and a data set without "
        "digest are refused; mlflow goes on without them",
        "bad input is told, not guessed at",
        (
            "(experiments|runs) of a bad view/.*",
            "run updated to no status/.*",
            "run with tags of a text/.*",
            "point of half a step(|/.*)",
            "inputs without digest(|/.*)",
        ),
    ),
    Gap(
        'the text "true" is taken for `archive_existing_versions`; mlflow wants JSON\'s true',
        "queries have only texts, and both are read the same way",
        ("version staged with a text/.*",),
    ),
    Gap(
        "errors are always JSON with an `error_code`: for unknown routes and methods, too, "
        "and for lists and texts as a body, which are mlflow's INTERNAL ERROR 500",
        "a client finds out what was wrong",
        (
            "(no route|another method|another method too)/answer/error_code",
            "(body of a list|body of a text|batch of texts)/.*",
        ),
    ),
    # Files.
    Gap(
        "paths of files that are absolute or hold `%00` or a drive's letter are refused as such (400)",
        "mlflow looks for them and finds none (404)",
        (r"got (/etc/passwd|%00|C:%5Cx)/.*",),
    ),
    Gap(
        "files are kept for runs and logged models; at other addresses there is nothing (404)",
        "a file belongs to a run",
        ("put elsewhere/.*",),
    ),
    # Registry.
    Gap(
        "renaming a registered model is NOT_IMPLEMENTED",
        "clouds do not offer it, and a name is what mirrored registries agree on",
        (
            "model rename(| to another's| missing)(|/.*)",
            "model by (old|new) name(|/.*)",
            "model renamed/.*",
        ),
    ),
    Gap(
        "names of registered models have at most 250 characters, and hold no `@`, `%` or control characters",
        "mlflow's database keeps longer ones only where it is SQLite; `models:/NAME@ALIAS` names a version",
        ("model with long name(|/.*)", "model with an at(|/.*)"),
    ),
    Gap(
        "versions come by name, then newest, where no order is asked for; mlflow's: last changed first",
        "the order is the same in every backend",
        ("versions in no order/.*",),
    ),
    Gap(
        "versions are not found by the `source` that is told",
        "backends know the addresses that they keep files at",
        ("versions by source/.*",),
    ),
    Gap(
        "a version's `source` is where its files are: `runs:/` is told as `mlflow-artifacts:/`",
        "it is told from what the version is, in every backend",
        ("version of a runs URI/source",),
    ),
    Gap(
        "a version's `run_link` is not kept",
        "registries of clouds have no place for it",
        ("version with a link/answer/model_version/run_link",),
    ),
    Gap(
        "a version whose source leads to no files is refused",
        "what is registered can be loaded",
        ("model registered from nowhere(|/.*)",),
    ),
    Gap(
        "creating a version of a missing model is RESOURCE_DOES_NOT_EXIST, not INVALID_PARAMETER_VALUE",
        "it is what every other call says of a missing model",
        ("version of no model/code",),
    ),
    Gap(
        "archiving at a transition to a stage that is not active is INVALID_PARAMETER_VALUE",
        "mlflow calls it an error of its own",
        ("archiving into None/(code|fails)",),
    ),
    Gap(
        "prompts are NOT_IMPLEMENTED",
        "versions are of files, and a prompt has none",
        ("prompt(|s| again| loaded| alias| by alias)(|/.*)",),
    ),
    # Logged models.
    Gap(
        "a logged model without a run is kept in a run of its own",
        "backends keep files, metrics and tags by run",
        ("logged without a run",),
    ),
    Gap(
        "logged models are found by `status = 'READY'`, and an unknown field is INVALID_PARAMETER_VALUE",
        "mlflow compares the status with a number, and fails at the field",
        ("logged search ready/names(|/.*)", "logged search bad field/(code|fails)"),
    ),
    # Azure ML.
    Gap(
        "a point that was sent twice is twice in its history; a run without the metric comes before one with "
        "NaN in an order; a tag of an experiment that is too long for Azure ML becomes a dead letter",
        "Azure ML keeps each point that it is sent, and does not order by NaN; what it refuses of a write "
        "that was answered is shown by `bridge sync dead-letters`",
        (
            "points/.*",
            "batch history/.*",
            "batch of 1000 read",
            "runs ordered by metric/names/.*",
            "experiment (tags|deleted/tags|deleted by name/tags|restored/tags)/long",
        ),
        (AZUREML,),
    ),
    Gap(
        "a file of a run is not deleted",
        "Azure ML has no call for it",
        ("(|got )removed(| twice)(|/.*)",),
        (AZUREML,),
    ),
    # Traces.
    Gap(
        "traces are not deleted",
        "no backend's port deletes one",
        ("traces (delete|then)(|/.*)",),
    ),
    Gap(
        "there are no traces",
        "the services keep none, or not by a documented interface",
        ("traces?(| tag| tag gone| tagged| missing|'s state| by (state|another name|metadata))(|/.*)",),
        (AZUREML, SAGEMAKER),
    ),
    Gap(
        "traces are found by tags, ids, names, states and times, not by metadata, spans, feedback or text",
        "they are read one by one, without their spans",
        ("traces by metadata(|/.*)",),
    ),
    # What is not there.
    Gap(
        "webhooks, evaluation data sets, scorers, the gateway to language models, "
        "and the traces of mlflow 2 have no routes (404)",
        "backends have nothing of the kind; events go to `bridge events`",
        ("(webhooks|evaluation sets|scorers|endpoints|traces of mlflow 2)/.*",),
    ),
)
