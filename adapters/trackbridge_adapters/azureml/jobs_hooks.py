"""What the bootstrap asks of Azure ML on the machine of a job; goes there as ``platform_hooks.py``.

Only the standard library, Python 3.8 or later, as for the bootstrap.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

ANSWER_S = 30.0
VAULT_VARIABLE = "BRIDGE_AZUREML_VAULT"
JOB_PREFIX = "BRIDGE_AZUREML_JOB_"
MACHINE_IDENTITY = "http://169.254.169.254/metadata/identity/oauth2/token"
RANKS = (("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"), ("RANK", "WORLD_SIZE"))


def machines() -> dict[str, Any]:
    """Return which machine this is, by the variables of Azure's distribution; {} where there is but one."""
    for rank, count in RANKS:
        if rank in os.environ and count in os.environ:
            return {
                "rank": int(os.environ[rank]),
                "count": int(os.environ[count]),
                "main_address": os.environ.get("MASTER_ADDR")
                or os.environ.get("AZ_BATCHAI_MPI_MASTER_NODE")
                or "127.0.0.1",
                "main_port": int(os.environ.get("MASTER_PORT") or 29500),
            }
    return {}


def variables() -> dict[str, str]:
    """Return what Azure presets under names that only our own adapter reads, before it is taken away."""
    names = ("TRACKING_URI", "TRACKING_TOKEN", "RUN_ID", "EXPERIMENT_ID")
    return {
        JOB_PREFIX + name: os.environ["MLFLOW_" + name] for name in names if "MLFLOW_" + name in os.environ
    }


def secret(reference: str) -> str:
    """Return a secret of the workspace's key vault, with the identity of the compute."""
    kind, _, name = reference.partition(":")
    if kind != "keyvault":
        raise ValueError("Azure ML resolves keyvault:NAME")
    vault = os.environ[VAULT_VARIABLE]
    resource = "https://" + urllib.parse.urlsplit(vault).netloc.partition(".")[2]
    url = "{}/secrets/{}?api-version=7.4".format(vault, urllib.parse.quote(name, safe=""))
    token = _token(resource)
    return str(_answer(url, {"Authorization": "Bearer " + token})["value"])


def _token(resource: str) -> str:
    """Return a token of the machine's managed identity, from where the machine hands it out."""
    ours = os.environ.get
    query = {"resource": resource}
    client = ours("DEFAULT_IDENTITY_CLIENT_ID")
    if ours("MSI_ENDPOINT") and ours("MSI_SECRET"):  # Azure ML's own, as azure-identity knows it
        query.update({"api-version": "2017-09-01"}, **({"clientid": client} if client else {}))
        url, headers = os.environ["MSI_ENDPOINT"], {"secret": os.environ["MSI_SECRET"]}
    elif ours("IDENTITY_ENDPOINT") and ours("IDENTITY_HEADER"):
        query.update({"api-version": "2019-08-01"}, **({"client_id": client} if client else {}))
        url, headers = os.environ["IDENTITY_ENDPOINT"], {"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]}
    else:
        query.update({"api-version": "2018-02-01"}, **({"client_id": client} if client else {}))
        url, headers = MACHINE_IDENTITY, {"Metadata": "true"}
    return str(_answer(url + "?" + urllib.parse.urlencode(query), headers)["access_token"])


def _answer(url: str, headers: dict[str, str]) -> dict[str, Any]:
    request = urllib.request.Request(url, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:  # its words quote the address, which is no secret
        raise OSError(f"{urllib.parse.urlsplit(url).netloc} answered {error.code}") from None
    return found
