"""The emulator as a whole: Azure ML, and what of Azure it needs, on ports of this machine."""

from __future__ import annotations

import base64
import hashlib
import shutil
import socket
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from trackbridge.testing.emulators.azureml.addresses import CLOUDS, MICROSOFTS, Addresses, Suffixes
from trackbridge.testing.emulators.azureml.blob_server import BlobServer
from trackbridge.testing.emulators.azureml.certificates import Certificates
from trackbridge.testing.emulators.azureml.containers import Images
from trackbridge.testing.emulators.azureml.core import (
    GROUP,
    REGION,
    SUBSCRIPTION,
    TENANT,
    WORKSPACE_NAME,
    Cloud,
    Request,
)
from trackbridge.testing.emulators.azureml.faults import Faults
from trackbridge.testing.emulators.azureml.mlflow_server import MlflowServer
from trackbridge.testing.emulators.azureml.server import Call, Services
from trackbridge.testing.emulators.azureml.slow_operations import SlowOperations
from trackbridge.testing.emulators.azureml.storage import ACCOUNT, REGISTRY_ACCOUNT, Storage
from trackbridge.testing.emulators.azureml.tokens import IDENTITY_HEADER, IDENTITY_PATH, EmulatedCredential
from trackbridge.testing.emulators.azureml.vaults import SUFFIX as VAULT_SUFFIX
from trackbridge.testing.emulators.azureml.workspaces import Workspaces
from trackbridge.testing.emulators.listener import Listener
from trackbridge.testing.emulators.whole import Emulator

RIGHTS = frozenset({"read", "write", "secrets"})
MLFLOW_OF_ITS_OWN = "own"


class AzureMlEmulator(Emulator[Services]):
    """Azure ML, its Resource Manager, Entra ID, Blob storage and Azure Monitor, for one subscription.

    Listens on 127.0.0.1 while its context is entered: HTTP, HTTPS with a certificate of its own, and Blob
    storage with and without TLS. The HTTP port is a proxy as well: with ``environment()``, programs use
    Azure's own host names, and are led here; for other hosts see ``leads_on``. The MLflow server
    takes seconds more to start: the first call of its routes waits for it.

    Args:
        port: Of HTTP; 0 for a free one.
        pace: Seconds that a second of a life cycle takes: less is quicker.
        region: Of the workspace.
        subscription: The subscription that is there at the beginning.
        group: Its resource group.
        workspace: The workspace in it.
        tenant: The tenant that signs in.
        azure_cloud: ``AzureCloud``, ``AzureChinaCloud`` or ``AzureUSGovernment``: whose host names it has.
        mlflow: ``own`` for a server of its own, the address of one that runs, or "" for none.
        token_seconds: How long tokens last.
        signature_seconds: How long signed addresses of blobs last.
        permissions: ``read``, ``write`` and ``secrets``; without one, what needs it is 403.
        blobs_in: A folder in which Azurite keeps blobs; in memory without it.
        leads_on: Whether its proxy leads on to hosts that are not Microsoft's, such as an index of packages.

    Example:
        >>> with AzureMlEmulator() as emulator:  # doctest: +SKIP
        ...     client = trackbridge.testing.azureml.client(emulator)
        ...     client.models.list()
    """

    _images = Images

    def __init__(
        self,
        *,
        port: int = 0,
        pace: float = 1.0,
        region: str = REGION,
        subscription: str = SUBSCRIPTION,
        group: str = GROUP,
        workspace: str = WORKSPACE_NAME,
        tenant: str = TENANT,
        azure_cloud: str = "AzureCloud",
        mlflow: str = MLFLOW_OF_ITS_OWN,
        token_seconds: float = 3600.0,
        signature_seconds: float = 3600.0,
        permissions: frozenset[str] = RIGHTS,
        blobs_in: Path | None = None,
        leads_on: bool = False,
    ) -> None:
        self.cloud: Cloud = Cloud(
            subscription=subscription,
            group=group,
            workspace=workspace,
            region=region,
            tenant=tenant,
            pace=pace,
            token_seconds=token_seconds,
            signature_seconds=signature_seconds,
        )
        self.suffixes: Suffixes = next(cloud for cloud in CLOUDS if cloud.name == azure_cloud)
        self.faults = Faults(self.cloud.now_s)
        self.permissions = set(permissions)
        """May be changed while it runs."""
        self._settings = (port, pace, mlflow, blobs_in, permissions)
        self._seconds = (token_seconds, signature_seconds)
        self._leads_on = leads_on
        self._stack = ExitStack()
        self._server: MlflowServer | None = None

    def __enter__(self) -> AzureMlEmulator:
        with ExitStack() as stack:
            self._start(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _start(self, stack: ExitStack) -> None:
        port, _, mlflow, blobs_in, _ = self._settings
        socket.create_server(("127.0.0.1", port)).close()  # before all that takes seconds: is it free?
        folder = Path(tempfile.mkdtemp(prefix="bridge-azureml-")).resolve()
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        keys = {name: key_of(name) for name in (ACCOUNT, REGISTRY_ACCOUNT)}
        # Both take seconds to start: side by side.
        self.certificates = Certificates(folder, self.suffixes, self.cloud.region)
        blobs = self._blobs = BlobServer(
            keys,
            certificate=self.certificates.server,
            token_key=self.cloud.issuer.key,
            kept_in=blobs_in,
        )
        stack.callback(blobs.close)
        if mlflow == MLFLOW_OF_ITS_OWN:
            self._server = MlflowServer(folder)
            stack.callback(self._server.close)
        self._services = Services(self.cloud, self.faults, self.suffixes, self.permissions)
        self.cloud.storage = Storage(
            blobs.wait(),
            keys,
            now_s=time.time,  # Azurite's: it knows nothing of a clock that a test moved on
            signature_seconds=self.cloud.signature_seconds,
        )
        answer, now_s = self._services.answer, self.cloud.now_s
        self._https = Listener(answer, now_s=now_s, tls=self.certificates.tls)
        stack.callback(self._https.close)
        self._http = Listener(answer, port=port, now_s=now_s, tunnel=self._tunnel)
        stack.callback(self._http.close)
        stack.callback(self.cloud.close)
        self.cloud.addresses = self.addresses
        self.cloud.environment = self.environment()
        # Waited for when it is first asked: it takes longer than all else together.
        self.cloud.mlflow = self._server.wait if self._server else lambda: mlflow
        self.cloud.part(Workspaces)

    def wait_for_mlflow(self) -> None:
        """Wait until the MLflow server answers, as all else does from the start: else the first call waits.

        Raises:
            NotStarted: It did not start.
        """
        self.cloud.mlflow()

    @property
    def url(self) -> str:
        """Where it listens, without TLS."""
        return self._http.url

    @property
    def tls_url(self) -> str:
        """Where it listens with TLS; ``certificates.authority`` is the file to trust."""
        return self._https.url

    @property
    def blob_url(self) -> str:
        """Where Blob storage listens without TLS; accounts are below, such as ``/tbteststore``."""
        return self.cloud.storage.url

    @property
    def blob_tls_url(self) -> str:
        """The same with TLS."""
        return f"https://127.0.0.1:{self._blobs.tls_port}"

    @property
    def uri(self) -> str:
        """The short tracking URI of the workspace."""
        cloud = self.cloud
        return f"azureml://{cloud.subscription}/{cloud.group}/{cloud.workspace}"

    @property
    def tracking_uri(self) -> str:
        """The tracking URI that the workspace tells to those who come without the proxy."""
        return f"azureml://{self.cloud.addresses(None).mlflow}/mlflow/v1.0{self.scope}"

    @property
    def scope(self) -> str:
        """The workspace's id in ARM."""
        return self.cloud.workspace_id

    @property
    def options(self) -> dict[str, str]:
        """Options of a remote that lead here instead of to Azure, without the proxy."""
        return {
            "arm_endpoint": self.url,
            "endpoint": self.url,
            "blob_endpoint": f"{self.blob_url}/{{account}}",
            "vault_endpoint": f"{self.url}/keyvault/{{vault}}",
        }

    @property
    def calls(self) -> Sequence[Call]:
        """Every request since the last ``reset``, in order of arrival."""
        return list(self._answering().calls)

    @property
    def slow_operations(self) -> SlowOperations:
        """Operations that take their time: ``fail("*/deployments/*")`` lets the next one fail."""
        return self.cloud.part(SlowOperations)

    def credential(self) -> EmulatedCredential:
        """Return a credential as azure-identity has them."""
        return EmulatedCredential(self.cloud.issuer)

    def environment(self) -> dict[str, str]:
        """Return the variables by which programs find the emulator under Azure's host names, and sign in."""
        trusted = str(self.certificates.trusted)
        cloud = self.cloud
        return {
            "HTTPS_PROXY": self.url,
            "https_proxy": self.url,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "REQUESTS_CA_BUNDLE": trusted,
            "SSL_CERT_FILE": trusted,
            "AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential",
            "IDENTITY_ENDPOINT": f"{self.url}{IDENTITY_PATH}",
            "IDENTITY_HEADER": IDENTITY_HEADER,
            "AZUREML_CURRENT_CLOUD": self.suffixes.name,
            "AZURE_SUBSCRIPTION_ID": cloud.subscription,
            "AZURE_RESOURCE_GROUP": cloud.group,
            "AZURE_WORKSPACE_NAME": cloud.workspace,
        }

    def addresses(self, request: Request | None) -> Addresses:
        """Return the addresses that the sender of a request is to be told."""
        host = request.host if request is not None else ""
        name = host.partition(":")[0].lower()
        suffixes, region = self.suffixes, self.cloud.region
        if request is None or name in ("127.0.0.1", "localhost", ""):
            is_tls = request is not None and request.is_tls
            base = self.tls_url if is_tls else self.url
            blobs = self.blob_tls_url if is_tls else self.blob_url
            endpoints = f"{base}/endpoints/{{name}}"
            mlflow = base.partition("//")[2]
            return Addresses(base, base, endpoints, mlflow, suffixes.storage, blobs, suffixes.studio)
        service = f"{region}.{suffixes.service}"
        return Addresses(
            f"https://{suffixes.resource_manager}",
            f"https://{service}",
            f"https://{{name}}.{region}.inference.{suffixes.studio}",
            service,
            suffixes.storage,
            studio=suffixes.studio,
        )

    def throttle(
        self, pattern: str = "*", *, times: int | None = None, per_second: float | None = None
    ) -> None:
        """Answer requests with 429: the next ``times``, those beyond a rate, or all. See ``Faults``."""
        self.faults.throttle(pattern, times=times, per_second=per_second)

    def reset(self) -> None:
        """Make everything new but tokens: nothing is there but the workspace, nothing runs or goes wrong."""
        _, pace, _, _, permissions = self._settings
        self.faults.clear()
        self.permissions.clear()
        self.permissions.update(permissions)
        self.cloud.reset()
        self.cloud.pace = pace
        self.cloud.issuer.seconds, signature_seconds = self._seconds
        self.cloud.signature_seconds = self.cloud.storage.signature_seconds = signature_seconds
        self.cloud.storage.clear()
        if self._server is not None:
            self._server.reset()
        services = self._answering()
        services.calls.clear()
        services.failures.clear()
        self.cloud.part(Workspaces)

    def _tunnel(self, host: str, port: int) -> tuple[str, int] | None:
        """Return where a host of Azure is on this machine; others as they are where told so, else None."""
        if host in ("127.0.0.1", "localhost"):
            return host, port
        suffixes = self.suffixes
        if host.endswith(f".blob.{suffixes.storage}"):
            return "127.0.0.1", self._blobs.tls_port
        known = (
            suffixes.resource_manager,
            suffixes.login,
            suffixes.studio,
            suffixes.logs,
            f"{self.cloud.region}.{suffixes.metrics}",
        )
        ends = (
            f".{suffixes.service}",
            f".inference.{suffixes.studio}",
            f".{suffixes.studio}",
            f".{VAULT_SUFFIX}",
        )
        if host in known or host.endswith(ends):
            return "127.0.0.1", self._https.port
        return (host, port) if self._leads_on and not host.endswith(MICROSOFTS) else None


def key_of(account: str) -> str:
    """Return the key of an account of the emulator: the same at each start, and of no use elsewhere."""
    return base64.b64encode(hashlib.sha512(f"trackbridge emulator {account}".encode()).digest()).decode()
