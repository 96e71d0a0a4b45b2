"""What to do where nobody is signed in, by how a program signs in: ``az login`` helps few of them.

Each way is given in words that follow "sign in: ", "sign in again: " and "the token is of another tenant: ".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trackbridge.transport.authentication import BearerToken, TokenFile

SERVICE = "https://management.azure.com"
_SECRET = "AZURE_CLIENT_ID, AZURE_TENANT_ID and AZURE_CLIENT_SECRET"  # names of variables


@dataclass(frozen=True, slots=True)
class Way:
    """How somebody signs in.

    Args:
        first: What to do where nothing is signed in.
        again: What to do for a new token; the same as at first without it.
        of_tenant: What to do for a token of another tenant, with ``{tenant}`` for its id.
        audience: What to do for a token for the right service.
    """

    first: str
    again: str = ""
    of_tenant: str = "set AZURE_TENANT_ID to {tenant}"
    audience: str = f"ask for {SERVICE}"

    @property
    def renewal(self) -> str:
        """What to do for a new token."""
        return self.again or self.first

    def tenant(self, tenant: str = "TENANT") -> str:
        """Return what to do for a token of a tenant, or of any."""
        return self.of_tenant.format(tenant=tenant)


WAYS: Mapping[str, Way] = {
    "default": Way(
        f"az login; on a server set {_SECRET}",
        "az login",
        "az login --tenant {tenant}, or set AZURE_TENANT_ID",
    ),
    "environment": Way(f"set {_SECRET}", f"check {_SECRET}"),
    "workload": Way("check AZURE_FEDERATED_TOKEN_FILE, and the identity of the pod"),
    "managed": Way(
        "give this machine a managed identity, or name one of several by the option client_id",
        of_tenant="use a managed identity of the tenant {tenant}",
    ),
    "cli": Way("az login", of_tenant="az login --tenant {tenant}"),
    "powershell": Way("Connect-AzAccount", of_tenant="Connect-AzAccount -Tenant {tenant}"),
    "azd": Way("azd auth login", of_tenant="azd auth login --tenant-id {tenant}"),
}
"""By the value of the option ``sign_in``."""
GIVEN = Way(
    "with the credential that the program gives",
    of_tenant="let the program give a credential of the tenant {tenant}",
)
JOB = Way(
    "give the job an identity: identity: managed, in its specification",
    of_tenant="give the job an identity of the tenant {tenant}",
)


def way_of(authentication: object) -> Way:
    """Return how somebody signs in who sends requests so."""
    if isinstance(authentication, TokenFile):
        return _kept_in(f"the file {authentication.path}")
    if isinstance(authentication, BearerToken) and authentication.variable:
        return _kept_in(authentication.variable)
    way = getattr(authentication, "way", None)
    return way if isinstance(way, Way) else WAYS["default"]


def _kept_in(place: str) -> Way:
    escaped = place.replace("{", "{{").replace("}", "}}")
    return Way(
        f"put a token for {SERVICE} into {place}",
        f"put a new one into {place}",
        f"put one of the tenant {{tenant}} into {escaped}",
        f"put one for {SERVICE} into {place}",
    )
