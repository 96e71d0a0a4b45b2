"""From a run's artifact URI to the place that keeps its files."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote, urlsplit

from trackbridge.domain.secrets import shown
from trackbridge.errors import ConfigError, MissingExtra, Rejected
from trackbridge.transport.buckets import require_obstore
from trackbridge_adapters._mlflow_rest.artifacts_files import Files
from trackbridge_adapters._mlflow_rest.artifacts_parts import Parts
from trackbridge_adapters._mlflow_rest.artifacts_parts_proxy import Offer

if TYPE_CHECKING:
    from trackbridge_adapters._mlflow_rest.tracking import RestTracking

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
FOLDERS_BELOW_ROOT = 3  # <root>/<experiment>/<run>/artifacts
ANSWER_S, CONNECT_S = "300s", "5s"
TRIES_MORE = 2  # a part of a large file is tried again here: the call as a whole would send all parts again


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """Credentials and settings of buckets, where the environment does not have the right ones.

    Args:
        s3_credentials: A credential provider of obstore's for S3.
        azure_credentials: One for Azure.
        gcs_credentials: One for Google.
        s3: Settings of obstore's ``S3Store``, for example ``region`` or ``endpoint``.
        azure: Settings of ``AzureStore``.
        gcs: Settings of ``GCSStore``.
        s3_verify: True for the system's certificates, or a file of more that S3 may show.
        s3_creates: Whether S3 writes on the condition that nothing is there: AWS does, its copies vary.
        environment: Where settings are looked up.
    """

    s3_credentials: Callable[[], Any] | None = field(default=None, repr=False)
    azure_credentials: Callable[[], Any] | None = field(default=None, repr=False)
    gcs_credentials: Callable[[], Any] | None = field(default=None, repr=False)
    s3: Mapping[str, Any] = field(default_factory=dict, repr=False)
    azure: Mapping[str, Any] = field(default_factory=dict, repr=False)
    gcs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    s3_verify: bool | str = True
    s3_creates: bool = False
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)


class Places:
    """The stores of one endpoint. Runs of one bucket share its connections."""

    def __init__(self, tracking: RestTracking, options: StoreOptions) -> None:
        self._tracking = tracking
        self._adapter = tracking.service.adapter
        self._options = options
        self._stores: dict[tuple[str, str], Any] = {}
        self._keys: tuple[Callable[[], Any] | None] | None = None
        allowed = options.environment.get("MLFLOW_ENABLE_PROXY_MULTIPART_UPLOAD", "").lower()
        self._offer = Offer(is_declined=allowed in ("false", "0"))  # mlflow's own switch
        self._lock = threading.Lock()

    def files(self, root: str) -> Files:
        """Return the files below a run's artifact URI.

        Raises:
            ConfigError: The URI is of a kind that is not known here, or the address of another server.
            MissingExtra: The package for it is not installed.
        """
        parts = urlsplit(root)
        scheme = parts.scheme.lower()
        if scheme in ("mlflow-artifacts", "http", "https"):
            return self._proxied(root, scheme)
        if scheme in ("", "file"):
            return self._folder(Path(unquote(parts.path)) if scheme else Path(root))
        if scheme in ("s3", "s3a", "gs", "abfs", "abfss", "wasb", "wasbs", "az"):
            return self._bucket(root, scheme)
        if scheme == "dbfs":
            from trackbridge_adapters._mlflow_rest.artifacts_dbfs import DbfsFiles

            return DbfsFiles(self._tracking.wire, root)
        if scheme in ("hdfs", "viewfs"):
            from trackbridge_adapters._mlflow_rest.artifacts_hdfs import hdfs_files

            return hdfs_files(root, adapter=self._adapter)
        raise ConfigError(
            f"artifacts in {scheme!r} stores cannot be reached",
            adapter=self._adapter,
            resource=shown(root),
            hint="let the server hand files on: mlflow server --serve-artifacts",
        )

    def _proxied(self, root: str, scheme: str) -> Files:
        from trackbridge_adapters._mlflow_rest.artifacts_proxy import ROUTE, ProxiedFiles

        if scheme != "mlflow-artifacts":  # the older way to name the same routes
            base, route, path = root.partition(f"{ROUTE}/")
            if not route:
                raise ConfigError("the run's artifact address is not a server's", adapter=self._adapter)
            root = f"mlflow-artifacts://{urlsplit(base).netloc}/{path}"
        tracking = self._tracking
        return ProxiedFiles(tracking.wire, root, negotiation=tracking.negotiation, offer=self._offer)

    def _folder(self, folder: Path) -> Files:
        from trackbridge_adapters._mlflow_rest.artifacts_folder import FolderFiles

        host = urlsplit(self._tracking.service.base_url()).hostname
        base = folder.parents[FOLDERS_BELOW_ROOT - 1] if len(folder.parts) > FOLDERS_BELOW_ROOT else folder
        if host not in LOOPBACK and not base.is_dir():
            raise Rejected(
                f"the server keeps artifacts in {base}, a folder that this machine does not have",
                adapter=self._adapter,
                hint="start the server with --serve-artifacts, or mount the folder here",
            )
        return FolderFiles(Path(os.path.abspath(folder)), adapter=self._adapter)

    def _bucket(self, root: str, scheme: str) -> Files:
        require_obstore(adapter=self._adapter)
        from trackbridge_adapters._mlflow_rest.artifacts_objects import ObjectFiles

        clock_ms, adapter = self._tracking.context.clock_ms, self._adapter

        # A key is taken as it is written: '?' and '#' are letters of it, as for mlflow's own client.
        authority, _, prefix = root.partition("://")[2].partition("/")
        with self._lock:
            store = self._stores.get((scheme, authority))
            if store is None:
                store = self._opened(scheme, authority)
                self._stores[scheme, authority] = store
        keys = self._s3_keys if scheme in ("s3", "s3a") else lambda: None
        parts_of = parts_in(store, keys, clock_ms, adapter=adapter, verify=self._options.s3_verify)
        creates = self._options.s3_creates and scheme in ("s3", "s3a")
        return ObjectFiles(store, root, prefix, adapter=adapter, parts_of=parts_of, creates=creates)

    def _s3_keys(self) -> Callable[[], Any] | None:
        with self._lock:
            if self._keys is None:
                self._keys = (s3_keys(self._options),)
            return self._keys[0]

    def _opened(self, scheme: str, authority: str) -> Any:
        try:
            if scheme in ("s3", "s3a"):
                return s3_store(authority, self._options)
            if scheme == "gs":
                return gcs_store(authority, self._options)
            return azure_store(authority, self._options)
        except (ValueError, TypeError) as error:
            raise ConfigError(
                f"the settings of the store {scheme}://{shown(authority)} are wrong: {type(error).__name__}",
                adapter=self._adapter,
                hint="look at the AWS_…, AZURE_… and GOOGLE_… variables",
            ) from error


def s3_store(bucket: str, options: StoreOptions) -> Any:
    """Open a bucket of S3, or of a server that speaks its protocol."""
    from obstore.store import S3Store

    named = s3_settings(options)
    return S3Store(
        bucket,
        credential_provider=_s3_provider(options, named),
        client_options=_client(str(named.get("endpoint", "")), options.s3_verify),
        retry_config={"max_retries": TRIES_MORE},
        **named,
    )


def s3_settings(options: StoreOptions) -> dict[str, Any]:
    """Return the settings of ``S3Store``: the environment's, and over them those that are given."""
    environment = options.environment
    named: dict[str, Any] = {}
    endpoint = next(
        filter(
            None, map(environment.get, ("AWS_ENDPOINT_URL_S3", "MLFLOW_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL"))
        ),
        None,
    )
    if endpoint:
        named["endpoint"] = endpoint
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if region:
        named["region"] = region
    named.update(options.s3)
    # Servers of one's own seldom answer to bucket.host: with them the bucket stands in the path.
    named.setdefault("virtual_hosted_style_request", "endpoint" not in named)
    return named


def s3_keys(options: StoreOptions) -> Callable[[], Any] | None:
    """Return what gives the keys that obstore signs with, None where only obstore can find them."""
    named = s3_settings(options)
    if named.get("skip_signature"):
        return None
    provider = _s3_provider(options, named)
    if provider is not None:
        return cast("Callable[[], Any]", provider)
    if "access_key_id" in named:
        token = named.get("session_token") or named.get("token")
        return lambda: {**named, "token": token}
    if options.environment.get("AWS_ACCESS_KEY_ID"):
        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        fields = ("access_key_id", "secret_access_key", "token")
        return lambda: dict(zip(fields, map(options.environment.get, names), strict=True))
    return _machine_keys()


def _machine_keys() -> Callable[[], Any] | None:
    """Return what gives the keys of the machine or the job, found by botocore where it is installed."""
    try:
        from botocore.exceptions import BotoCoreError
        from botocore.session import get_session
    except ImportError:
        return None
    try:
        credentials = get_session().get_credentials()
    except BotoCoreError:
        return None
    if credentials is None:
        return None

    def keys() -> Any:
        frozen = credentials.get_frozen_credentials()
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
        }

    return keys


def _s3_provider(options: StoreOptions, named: Mapping[str, Any]) -> Any:
    return options.s3_credentials or _profile_credentials(options.environment, named)


def _profile_credentials(environment: Mapping[str, str], named: Mapping[str, Any]) -> Any:
    """Return the credentials of a profile: obstore's own chain does not read ``~/.aws``."""
    if environment.get("AWS_ACCESS_KEY_ID") or "access_key_id" in named or named.get("skip_signature"):
        return None
    profile = environment.get("AWS_PROFILE")
    files = (environment.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), "~/.aws/config")
    if not profile and not any(Path(file).expanduser().is_file() for file in files):
        return None
    try:
        from boto3 import Session
        from obstore.auth.boto3 import Boto3CredentialProvider
    except ImportError as error:
        raise MissingExtra(
            "the credentials of an AWS profile need boto3", hint="pip install 'trackbridge[aws]'"
        ) from error
    return Boto3CredentialProvider(Session(profile_name=profile))


def azure_store(authority: str, options: StoreOptions) -> Any:
    """Open a container: ``container@account.dfs.core.windows.net``, or ``container`` alone."""
    from obstore.store import AzureStore

    container, _, host = authority.rpartition("@") if "@" in authority else (authority, "", "")
    named = _connection_string(options.environment.get("AZURE_STORAGE_CONNECTION_STRING", ""))
    if host:
        account = host.partition(".")[0]
        if named.get("account_name", account) != account:
            named = {}  # the connection string is of another account
        named["account_name"] = account
    key = options.environment.get("AZURE_STORAGE_ACCESS_KEY")
    if key and "account_key" not in named:
        named["account_key"] = key
    named.update(options.azure)
    provider = options.azure_credentials or _identity(options.environment, named)
    return AzureStore(
        container,
        credential_provider=provider,
        client_options=_client(str(named.get("endpoint", ""))),
        retry_config={"max_retries": TRIES_MORE},
        **named,
    )


def _connection_string(text: str) -> dict[str, Any]:
    """Read a connection string of Azure, which obstore does not."""
    fields = dict(part.partition("=")[::2] for part in text.split(";") if "=" in part)
    names = {
        "AccountName": "account_name",
        "AccountKey": "account_key",
        "SharedAccessSignature": "sas_key",
        "BlobEndpoint": "endpoint",
    }
    return {names[field]: value for field, value in fields.items() if field in names and value}


def _identity(environment: Mapping[str, str], named: Mapping[str, Any]) -> Any:
    """Return azure-identity's credentials where nothing else is given and the package is there."""
    told = (
        "AZURE_STORAGE_ACCOUNT_KEY",
        "AZURE_STORAGE_SAS_KEY",
        "AZURE_STORAGE_SAS_TOKEN",
        "AZURE_CLIENT_SECRET",
    )
    if any(name in named for name in ("account_key", "sas_key", "skip_signature")) or any(
        environment.get(name) for name in told
    ):
        return None
    try:
        from obstore.auth.azure import AzureCredentialProvider
    except ImportError:
        return None
    return AzureCredentialProvider()


def gcs_store(bucket: str, options: StoreOptions) -> Any:
    """Open a bucket of Google's; its own chain finds the application's default credentials."""
    from obstore.store import GCSStore

    return GCSStore(
        bucket,
        credential_provider=options.gcs_credentials,
        client_options=_client(""),
        retry_config={"max_retries": TRIES_MORE},
        **dict(options.gcs),
    )


def parts_in(
    store: Any,
    keys: Callable[[], Callable[[], Any] | None],
    clock_ms: Callable[[], int],
    *,
    adapter: str,
    verify: bool | str = True,
) -> Callable[[str], Parts | None]:
    """Return how a key of a store takes a file in parts: in S3 and Azure; Google's takes it as a whole.

    Args:
        store: obstore's.
        keys: Returns what gives the keys of S3, or None.
        clock_ms: Milliseconds since 1970.
        adapter: For errors.
        verify: Of S3's certificates.
    """
    from obstore.store import AzureStore, S3Store

    def parts_of(key: str) -> Parts | None:
        if isinstance(store, AzureStore):
            from trackbridge_adapters._mlflow_rest.artifacts_objects import can_sign
            from trackbridge_adapters._mlflow_rest.artifacts_parts_azure import AzureParts, signer

            return AzureParts(signer(store, key), adapter=adapter) if can_sign(store, key) else None
        found = keys() if isinstance(store, S3Store) else None
        if found is None:
            return None
        from trackbridge_adapters._mlflow_rest.artifacts_parts_s3 import S3Parts

        return S3Parts(store, key, found, clock_ms, adapter=adapter, verify=verify)

    return parts_of


def _client(endpoint: str, verify: bool | str = True) -> Any:
    more = {"root_certificate": Path(verify).read_bytes()} if isinstance(verify, str) else {}
    is_plain = endpoint.startswith("http://")
    return {"timeout": ANSWER_S, "connect_timeout": CONNECT_S, "allow_http": is_plain, **more}
