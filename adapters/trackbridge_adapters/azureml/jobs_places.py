"""What of a workspace jobs need: where it is, its computes, sizes of machines, quota, and its key vault."""

from __future__ import annotations

import difflib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import quote

from trackbridge.errors import AuthError, NotFound
from trackbridge.transport.http import HttpClient, error_of_status
from trackbridge_adapters._mlflow_rest.errors import message_of
from trackbridge_adapters.azureml.arm import Arm, Json, path_of
from trackbridge_adapters.azureml.assets import properties_of
from trackbridge_adapters.azureml.clouds import ADAPTER
from trackbridge_adapters.azureml.config import Workspace
from trackbridge_adapters.azureml.errors import json_of
from trackbridge_adapters.azureml.identity import AzureTokens

PROVIDER = "Microsoft.MachineLearningServices"
VAULT_VERSION = "7.4"
DEDICATED_IN_ALL, SPOT_IN_ALL = "totalclusterdedicatedregional", "totalclusterlowpriorityregional"
"""How the names of quota over all families begin, in small letters without spaces: "Total Cluster Dedicated
Regional vCPUs". A family's is called "Standard DSv2 Family Cluster Dedicated vCPUs", say; both are those of
``az ml compute list-usage``."""
VAULT_HOST = "https://{vault}.vault.{suffix}"
SIZES_SHOWN_MAX = 8


@dataclass(frozen=True, slots=True)
class Cluster:
    """A compute as ARM tells it."""

    name: str
    kind: str
    state: str
    instance_type: str | None
    nodes_max: int | None
    is_spot: bool


@dataclass(frozen=True, slots=True)
class Size:
    """A size of machine that a region has; ``family`` is what quota counts."""

    name: str
    family: str
    cores: int
    has_spot: bool


@dataclass(frozen=True, slots=True)
class Quota:
    """How many cores may be used, and are, as the portal names it."""

    name: str
    limit: int
    used: int


class JobPlaces:
    """What surrounds jobs in one workspace. Any thread may use it.

    Args:
        arm: Asks ARM.
        workspace: Which.
        http: Sends requests to the vault.
        vault_suffix: How the hosts of vaults end in this cloud, such as ``azure.net``.
        vault_endpoint: An address instead of ``https://VAULT.vault.…``; ``{vault}`` in it is its name.
    """

    def __init__(
        self,
        arm: Arm,
        workspace: Workspace,
        http: HttpClient,
        *,
        vault_suffix: str,
        vault_endpoint: str | None = None,
    ) -> None:
        self._arm = arm
        self._workspace = workspace
        self._http = http
        self._vault_suffix = vault_suffix
        self._vault_endpoint = vault_endpoint
        self._lock = threading.Lock()
        self._known: Json | None = None

    def compute_id(self, name: str) -> str:
        """Return the id of a compute."""
        return f"{self._workspace.scope}/computes/{name}"

    def find_cluster(self, name: str) -> Cluster | None:
        """Return a compute, None where there is none of that name."""
        found = self._arm.find(f"{quote(self._workspace.scope)}/computes{path_of(name)}", "computes")
        return None if found is None else _cluster(found)

    def cluster_names(self) -> list[str]:
        """Return the names of the computes that run jobs."""
        found = self._arm.pages(f"{quote(self._workspace.scope)}/computes", "computes")
        return sorted(str(item.get("name") or "") for item in found)

    def sizes(self) -> Iterator[Size]:
        """Yield the sizes of machines that the workspace's region has."""
        for item in self._arm.get(f"{self._region()}/vmSizes", "computes").get("value") or ():
            yield Size(
                str(item.get("name") or ""),
                str(item.get("family") or ""),
                int(item.get("vCPUs") or 0),
                bool(item.get("lowPriorityCapable")),
            )

    def quotas(self, size: Size, *, spot: bool) -> Iterator[Quota]:
        """Yield how many cores may be used: of the size's family, and in all; of spot capacity in all."""
        wanted = (SPOT_IN_ALL,) if spot else (f"{_plain(size.family)}clusterdedicated", DEDICATED_IN_ALL)
        for item in self._arm.pages(f"{self._region()}/usages", "computes"):
            name = item.get("name") or {}
            shown = str(name.get("localizedValue") or name.get("value") or "")
            limit = int(item.get("limit") or 0)
            if limit >= 0 and _plain(shown).startswith(wanted):  # below 0: what has no limit
                yield Quota(shown, limit, int(item.get("currentValue") or 0))

    # Secrets.

    def vault(self) -> str:
        """Return the address of the workspace's key vault.

        Raises:
            NotFound: It has none.
        """
        name = str(properties_of(self._told()).get("keyVault") or "").rpartition("/")[2]
        if not name:
            raise NotFound("the workspace has no key vault", adapter=ADAPTER, resource="workspace")
        return VAULT_HOST.format(vault=name, suffix=self._vault_suffix)

    def vault_name(self) -> str:
        """Return the vault's name, for a command that puts a secret into it."""
        return str(properties_of(self._told()).get("keyVault") or "").rpartition("/")[2] or "VAULT"

    def has_secret(self, name: str) -> bool:
        """Tell whether the vault has a secret; its value is not asked for.

        Raises:
            AuthError: The one who signs in may not look, or signs in with a token that is for Azure ML alone.
        """
        authentication = self._http.authentication
        if not isinstance(authentication, AzureTokens):
            raise AuthError("the token is for Azure ML, and not for its vault", adapter=ADAPTER)
        token = authentication.beside(f"https://vault.{self._vault_suffix}/.default").current()
        answer = self._http.request(
            "GET",
            f"{self._reached()}/secrets{path_of(name)}/versions",
            query={"api-version": VAULT_VERSION, "maxresults": "1"},
            headers={"Authorization": f"Bearer {token}"},
            authenticate=False,
        )
        if answer.status_code >= 400 and answer.status_code != 404:
            text = message_of(json_of(answer))
            raise error_of_status(answer, text, adapter=ADAPTER, resource=f"secret {name}")
        return answer.status_code != 404 and bool(json_of(answer).get("value"))

    def _reached(self) -> str:
        """Return where the vault is reached from here; machines of jobs know it by its own name."""
        if self._vault_endpoint:
            return self._vault_endpoint.replace("{vault}", self.vault_name()).rstrip("/")
        return self.vault()

    def _told(self) -> Json:
        with self._lock:
            if self._known is None:
                self._known = self._arm.get(quote(self._workspace.scope), "workspaces")
            return self._known

    def location(self) -> str:
        """Return the region of the workspace."""
        return str(self._told().get("location") or "")

    def _region(self) -> str:
        location = self.location()
        subscription = self._workspace.subscription
        return path_of("subscriptions", subscription, "providers", PROVIDER, "locations", location)


def sizes_instead(name: str, sizes: Iterable[Size]) -> str:
    """Return what to write instead of a size that there is none of: the nearest, and what else there is."""
    known = sorted(size.name for size in sizes)
    nearest = difflib.get_close_matches(name[:80].lower(), [known_name.lower() for known_name in known], 1)
    meant = [f"did you mean {known_name}?" for known_name in known if [known_name.lower()] == nearest]
    more = "" if len(known) <= SIZES_SHOWN_MAX else ", …"
    there_are = f"there are {', '.join(known[:SIZES_SHOWN_MAX])}{more}" if known else "there are none"
    return f"{' '.join([*meant, there_are])}: az ml compute list-sizes"


def _plain(text: str) -> str:
    """Return a name in small letters, without spaces: Azure writes it in several ways."""
    return "".join(letter for letter in text.lower() if letter.isalnum())


def _cluster(found: Json) -> Cluster:
    told = properties_of(found)
    inner = told.get("properties") or {}
    most = (inner.get("scaleSettings") or {}).get("maxNodeCount")
    return Cluster(
        str(found.get("name") or ""),
        str(told.get("computeType") or ""),
        str(told.get("provisioningState") or ""),
        str(inner["vmSize"]) if inner.get("vmSize") else None,
        int(most) if most is not None else None,
        str(inner.get("vmPriority") or "").lower() == "lowpriority",
    )
