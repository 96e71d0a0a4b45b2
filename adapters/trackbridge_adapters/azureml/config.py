"""Which workspace a tracking URI means, and the options of a remote.

===================  ===========================================================================
option               what it is
===================  ===========================================================================
``cloud``            ``AzureCloud``, ``AzureChinaCloud`` or ``AzureUSGovernment``
``sign_in``          ``default``, ``environment``, ``workload``, ``managed``, ``cli``,
                     ``powershell`` or ``azd``: the one way to sign in that is tried
``client_id``        of a managed identity, where a machine has several
``token_env``        a variable that holds an access token
``token_file``       a file that holds one, read again when it changes
``config``           the config.json to use instead of searching for one
``endpoint``         an address of the workspace's services other than the one that ARM names
``arm_endpoint``     an address of ARM, where a proxy stands before it
``artifacts``        ``addresses`` (each file of a run has a signed one), or ``account``: the secret of the
                     workspace's datastore opens its storage
``blob_endpoint``    an address of storage accounts instead of ``https://ACCOUNT.blob.…``; ``{account}``
                     in it stands for the account
``vault_endpoint``   an address of key vaults instead of ``https://VAULT.vault.…``; ``{vault}`` in it
                     stands for the vault
===================  ===========================================================================
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from trackbridge.errors import ConfigError
from trackbridge_adapters.azureml.clouds import ADAPTER

OPTIONS = frozenset(
    {
        "cloud",
        "sign_in",
        "client_id",
        "token_env",
        "token_file",
        "config",
        "endpoint",
        "arm_endpoint",
        "blob_endpoint",
        "vault_endpoint",
        "artifacts",
    }
)
FROM_SURROUNDINGS = ("azureml:", "azureml", "azureml://")
"""What leaves it to variables, or to a config.json, which workspace is meant."""
PARENTS_MAX = 20
CONFIG_FILES = (".azureml/config.json", "aml_config/config.json", "config.json")
PROJECT_FILES = (".azureml/project.json", "aml_config/project.json", "project.json")
JOB_VARIABLES = ("AZUREML_ARM_SUBSCRIPTION", "AZUREML_ARM_RESOURCEGROUP", "AZUREML_ARM_WORKSPACE_NAME")
NAMING_VARIABLES = ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "AZURE_WORKSPACE_NAME")
"""What Azure's own examples read; the last resort, since they may be meant for another program."""
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_SCOPE = re.compile(
    r"/subscriptions/(?P<subscription>[^/]+)/resourcegroups/(?P<group>[^/]+)"
    r"(?:/providers/Microsoft\.MachineLearningServices)?/workspaces/(?P<name>[^/?]+)",
    re.IGNORECASE,
)
_SHORT = re.compile(r"azureml://(?P<subscription>[^/.]+)/(?P<group>[^/]+)/(?P<name>[^/?]+)/?")
_REGISTRY = re.compile(r"azureml://[^/]+/mlflow/[^/]+/registries/", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace; ``host`` is known where the long URI names it."""

    subscription: str
    group: str
    name: str
    host: str | None = None

    @property
    def scope(self) -> str:
        """The path in ARM and in every address of the workspace's services."""
        return (
            f"/subscriptions/{self.subscription}/resourceGroups/{self.group}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.name}"
        )

    @property
    def address(self) -> str:
        """The short URI, the same for every form."""
        return f"azureml://{self.subscription}/{self.group}/{self.name}".lower()


def workspace_of(
    uri: str, options: Mapping[str, str], environment: Mapping[str, str], folder: Path
) -> Workspace:
    """Return the workspace of a tracking URI; reads files, contacts nobody.

    Raises:
        ConfigError: The URI names none, there is no config.json, or an option is unknown.
    """
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        known = ", ".join(sorted(OPTIONS))
        raise ConfigError(f"the option {unknown[0]!r} is unknown", adapter=ADAPTER, hint=f"known are {known}")
    if uri in FROM_SURROUNDINGS:
        return _of_surroundings(options, environment, folder)
    short = _SHORT.fullmatch(uri)
    if short is not None:
        return Workspace(short["subscription"], short["group"], short["name"])
    found = workspace_in(uri)
    if found is None:
        problem = "is a registry, which keeps no runs" if _REGISTRY.match(uri) else "names no workspace"
        raise ConfigError(
            f"the tracking URI {uri!r} {problem}",
            adapter=ADAPTER,
            hint="write azureml:, azureml://SUBSCRIPTION/GROUP/WORKSPACE, or the workspace's tracking URI",
        )
    return found


def canonical_uri(
    uri: str, *, options: Mapping[str, str], environment: Mapping[str, str], folder: Path
) -> str:
    """Return ``azureml:`` with the workspace that it means here; any other URI names one and stays.

    Raises:
        ConfigError: There is no config.json, or an option is unknown.
    """
    if uri not in FROM_SURROUNDINGS:
        return uri
    found = workspace_of(uri, options, environment, folder)
    if found.host is not None:
        return f"azureml://{found.host}/mlflow/v1.0{found.scope}"
    return f"azureml://{found.subscription}/{found.group}/{found.name}"


def workspace_in(uri: str) -> Workspace | None:
    """Return the workspace and the host of a long URI; None for any other text."""
    match = _SCOPE.search(uri)
    host = urlsplit(uri).netloc
    if match is None or not host or not uri.startswith("azureml://"):
        return None
    return Workspace(match["subscription"], match["group"], match["name"], host)


def plain_address(options: Mapping[str, str], option: str) -> str | None:
    """Return an address that an option gives.

    Raises:
        ConfigError: It is no address, or tokens would go over the network unencrypted.
    """
    text = options.get(option)
    if not text:
        return None
    parts = urlsplit(text)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK):
        return text.rstrip("/")
    raise ConfigError(f"{option} is {text!r}", adapter=ADAPTER, hint="give an address with https://")


def uses_account(options: Mapping[str, str]) -> bool:
    """Tell whether files of runs go by the secret of the datastore.

    Raises:
        ConfigError: The option ``artifacts`` is neither of the two.
    """
    chosen = options.get("artifacts") or "addresses"
    if chosen in ("addresses", "account"):
        return chosen == "account"
    raise ConfigError(
        f"the option artifacts is {chosen!r}", adapter=ADAPTER, hint="known are addresses, account"
    )


def _of_surroundings(options: Mapping[str, str], environment: Mapping[str, str], folder: Path) -> Workspace:
    named = options.get("config")
    if named:
        return _checked_file(Path(named).expanduser())
    parts = [environment.get(name, "") for name in JOB_VARIABLES]
    if all(parts):
        job = workspace_in(environment.get("MLFLOW_TRACKING_URI", ""))
        here = Workspace(*parts)
        return job if job is not None and job.address == here.address else here
    seen: list[Path] = []
    for file in _candidates(folder):
        seen.append(file)
        found = _read(file)
        if found is not None:
            return found
    named_parts = [environment.get(name, "") for name in NAMING_VARIABLES]
    if all(named_parts):
        return Workspace(*named_parts)
    looked = f"; {', '.join(map(str, seen))} is not one of a workspace" if seen else ""
    raise ConfigError(
        f"there is no config.json of an Azure ML workspace in {folder} or above it{looked}",
        adapter=ADAPTER,
        hint=(
            "download it from the studio (workspace menu), or write azureml://SUBSCRIPTION/GROUP/WORKSPACE; "
            "for the emulator, type this in the shell of: bridge emulate azureml"
        ),
    )


def _candidates(folder: Path) -> Iterator[Path]:
    for place in [folder, *folder.parents][: PARENTS_MAX + 1]:
        for name in (*CONFIG_FILES, *PROJECT_FILES):
            file = place / name
            if file.is_file():
                yield file


def _checked_file(file: Path) -> Workspace:
    found = _read(file) if file.is_file() else None
    if found is None:
        raise ConfigError(
            f"{file} is not a config.json of an Azure ML workspace",
            adapter=ADAPTER,
            hint="it needs subscription_id, resource_group and workspace_name",
        )
    return found


def _read(file: Path) -> Workspace | None:
    """Return the workspace that a file names; None for a file of something else."""
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict):
        return None
    match = _SCOPE.search(str(found.get("Scope") or found.get("scope") or ""))
    if match is not None:
        return Workspace(match["subscription"], match["group"], match["name"])
    parts = [found.get(name) for name in ("subscription_id", "resource_group", "workspace_name")]
    return Workspace(*map(str, parts)) if all(parts) else None
