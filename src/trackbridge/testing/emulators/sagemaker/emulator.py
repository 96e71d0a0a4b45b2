"""The emulator as a whole: SageMaker, and what of AWS it needs, on one port of this machine."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from trackbridge.testing.emulators.aws_keys import Key, KeyRing
from trackbridge.testing.emulators.sagemaker.access import Access
from trackbridge.testing.emulators.sagemaker.core import ACCOUNT, Cloud
from trackbridge.testing.emulators.sagemaker.faults import Faults
from trackbridge.testing.emulators.sagemaker.images import Images
from trackbridge.testing.emulators.sagemaker.server import Call, Server, Services
from trackbridge.testing.emulators.whole import Emulator

VARIABLES_OF_OTHERS = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "false"}
"""So that a client looks neither for keys of the machine that it runs on, nor at other addresses."""

ROLE_KEY_S = 12 * 3600.0
"""How long the keys of a job's or a model's role last."""


class SageMakerEmulator(Emulator[Services]):
    """SageMaker, S3, STS, IAM, ECR, CloudWatch and autoscaling of one account in one region.

    Listens on 127.0.0.1 while its context is entered. What it refuses is what AWS refuses; see ``table``.

    Args:
        region: That requests must be signed for.
        port: 0 for a free one.
        pace: Seconds that a second of a life cycle takes: less is quicker.
        check_signatures: Whether a request must be signed with a key that this emulator gave out.
        account: Twelve digits. Emulators of one process share the buckets of an account.

    Example:
        >>> with SageMakerEmulator() as emulator:  # doctest: +SKIP
        ...     client = emulator.client("sagemaker")
        ...     client.create_experiment(ExperimentName="digits")
    """

    _images = Images

    def __init__(
        self,
        *,
        region: str = "us-east-1",
        port: int = 0,
        pace: float = 1.0,
        check_signatures: bool = True,
        account: str = ACCOUNT,
    ) -> None:
        self.cloud: Cloud = Cloud(region, account, pace=pace)
        self.faults = Faults(self.cloud.now_s)
        self.access = Access(self.cloud, check_signatures=check_signatures)
        self.cloud.denies = self.access.denies
        self.key: Key = self.keys.issue()
        """The key that ``environment`` tells of."""
        self._pace, self._port = pace, port
        self._server: Server | None = None
        self._session: Any = None
        self._clients: dict[tuple[str, str, str], Any] = {}
        self._clients_lock = threading.Lock()

    def __enter__(self) -> SageMakerEmulator:
        self._services = Services(self.cloud, self.access, self.faults)
        self._server = Server(self._services, self._port)
        self.cloud.environment = self.environment()
        self.cloud.role_environment = self._environment_of_role
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening().close()
        self.cloud.close()
        self._answering().moto.reset()

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._listening().url

    @property
    def region(self) -> str:
        """Its region."""
        return self.cloud.region

    @property
    def uri(self) -> str:
        """The tracking URI of SageMaker Experiments there."""
        return f"sagemaker://{self.cloud.region}"

    @property
    def keys(self) -> KeyRing:
        """The keys that were given out: ``keys.issue(seconds=60)``, ``keys.revoke(key)``."""
        return self.access.keys

    @property
    def calls(self) -> Sequence[Call]:
        """Every request since the last ``reset``, in order of arrival."""
        return list(self._answering().calls)

    def environment(self, key: Key | None = None) -> dict[str, str]:
        """Return the variables by which AWS's tools find the emulator and sign for it."""
        named = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            **VARIABLES_OF_OTHERS,
        }
        return named | (key or self.key).environment()

    def _environment_of_role(self, role: str) -> dict[str, str]:
        """Return what a container gets that runs with a role: keys that were made by taking it on."""
        account = f"arn:{self.cloud.partition}:sts::{self.cloud.account}"
        principal = f"{account}:assumed-role/{role.rpartition('/')[2]}/SageMaker"
        return self.environment(self.keys.issue(seconds=ROLE_KEY_S, principal=principal))

    def client(self, service: str, key: Key | None = None) -> Any:
        """Return boto3's client of a service; it tries once, so that a test sees what happens."""
        key = key or self.key
        with self._clients_lock:
            if (service, key.access_key, key.secret_key) not in self._clients:
                self._clients[service, key.access_key, key.secret_key] = self._made_client(service, key)
            return self._clients[service, key.access_key, key.secret_key]

    def _made_client(self, service: str, key: Key) -> Any:
        import boto3
        from botocore.config import Config

        if self._session is None:
            self._session = boto3.session.Session(region_name=self.region)
        version = "s3v4" if service == "s3" else "v4"
        return self._session.client(
            service,
            endpoint_url=self.url,
            aws_access_key_id=key.access_key,
            aws_secret_access_key=key.secret_key,
            aws_session_token=key.token,
            config=Config(
                retries={"total_max_attempts": 1}, parameter_validation=False, signature_version=version
            ),
        )

    def throttle(
        self, operation: str = "*", *, times: int | None = None, per_second: float | None = None
    ) -> None:
        """Refuse calls as too many: the next ``times``, those beyond a rate, or all. See ``Faults``."""
        self.faults.throttle(operation, times=times, per_second=per_second)

    def deny(self, action: str, *, principal: str = "*") -> None:
        """Take a right away, such as ``sagemaker:Create*`` or ``s3:PutObject``."""
        self.access.deny(action, principal=principal)

    def make_role(self, name: str, service: str = "sagemaker.amazonaws.com", *, path: str = "/") -> str:
        """Make a role that a service may take on; returns its ARN."""
        statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        made = self.client("iam").create_role(Path=path, RoleName=name, AssumeRolePolicyDocument=policy)
        return str(made["Role"]["Arn"])

    def push_image(self, name: str, kind: str = "application/vnd.oci.image.manifest.v1+json") -> str:
        """Put an image without content into the account's registry; returns its URI.

        Args:
            name: Repository and tag, such as ``train:1``.
            kind: The media type of its manifest.
        """
        repository, _, tag = name.partition(":")
        registry = self.client("ecr")
        with contextlib.suppress(registry.exceptions.RepositoryAlreadyExistsException):
            registry.create_repository(repositoryName=repository)
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "layers": [],
            "config": {"digest": f"sha256:{name}"},
        }
        registry.put_image(
            repositoryName=repository,
            imageTag=tag,
            imageManifest=json.dumps(manifest),
            imageManifestMediaType=kind,
        )
        return f"{self.cloud.account}.dkr.ecr.{self.region}.amazonaws.com/{name}"

    def prepare_jobs(self) -> dict[str, str]:
        """Make a role, and images for jobs and endpoints; return the variables that name them."""
        return {
            "BRIDGE_SAGEMAKER_ROLE": self.make_role("jobs"),
            "BRIDGE_SAGEMAKER_IMAGE": self.push_image("python:3.11"),
            "BRIDGE_SAGEMAKER_SERVING_IMAGE": self.push_image("trackbridge-serving:1"),
        }

    def reset(self) -> None:
        """Make everything new but the keys: nothing is there, nothing runs, nothing goes wrong."""
        self.faults.clear()
        self.access.allow_all()
        self.cloud.reset()
        self.cloud.pace = self._pace
        services = self._answering()
        services.moto.reset()
        services.calls.clear()
        services.failures.clear()

    def _listening(self) -> Server:
        if self._server is None:
            raise RuntimeError("enter the emulator's context first")
        return self._server
