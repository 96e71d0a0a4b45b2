"""AWS credentials as botocore finds them: found once, frozen for each request, renewed ahead of their end.

The object that refreshes itself is kept, never its keys alone: roles, single sign-on, containers and machines
hand out new ones. Beyond botocore: keys that last seconds are not fetched anew for every request; where a
refresh fails while the old keys are good, those go on; and after a refusal the whole chain is read again, so
that a credentials file which somebody renewed counts.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

from trackbridge.domain.secrets import shown
from trackbridge.errors import (
    AuthError,
    BridgeError,
    ConfigError,
    MissingExtra,
    RateLimited,
    Rejected,
    Unavailable,
)
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.config import Access, Location
from trackbridge_adapters.sagemaker.errors import WRONG_TIME

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

AHEAD_MS_MAX = 300_000
AHEAD_SHARE = 1 / 3
"""Of a key's life; so that one that lasts 10 s is not renewed with every request."""
PAUSE_MS = 10_000
"""Between two attempts to renew that failed, and between two searches after refusals."""
STORE_MS = 300_000
"""How long the store of artifacts keeps what it was given before it asks again."""
ROLE_SESSION_NAME = "trackbridge"
CONNECT_S, ANSWER_S = 5, 15


class Credentials:
    """The credentials of one endpoint or place. Any thread may use them; a repr shows none.

    Args:
        where: What they are for; roles are taken on in its region.
        access: Profile and role.
        clock_ms: Milliseconds since 1970.
    """

    def __init__(self, where: Location, access: Access, clock_ms: Callable[[], int]) -> None:
        self._where = where
        self._access = access
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._source: Any = None
        self._keys: ReadOnlyCredentials | None = None
        self._renew_at_ms: float = 0.0
        self._ends_ms: float = float("inf")
        self._searched_ms = 0

    def frozen(self) -> ReadOnlyCredentials:
        """Return keys that stay as they are for one request.

        Raises:
            AuthError: There are none, or they cannot be renewed.
            ConfigError: The profile or the role does not exist.
            MissingExtra: botocore is not installed.
            Unavailable: Whoever hands them out is not reached.
        """
        now_ms = self._clock_ms()
        keys = self._keys
        if keys is not None and now_ms < self._renew_at_ms:
            return keys
        # While the old keys are good, one thread renews and the others go on.
        if not self._lock.acquire(blocking=keys is None or now_ms >= self._ends_ms):
            assert keys is not None
            return keys
        try:
            return self._current(now_ms)
        finally:
            self._lock.release()

    def renew(self, used: ReadOnlyCredentials | None) -> bool:
        """Search anew after a refusal; True when there are other keys than those that were refused."""
        with self._lock:
            if self._keys is not None and self._keys != used:
                return True  # another thread has renewed them meanwhile
            now_ms = self._clock_ms()
            if now_ms >= self._renew_at_ms:  # they ended on the way
                return self._current(now_ms) != used
            if now_ms - self._searched_ms < PAUSE_MS:
                return False
            self._source = None
            return self._take(now_ms) != used

    def for_store(self) -> dict[str, Any]:
        """Return keys as obstore wants them from a provider."""
        frozen = self.frozen()
        ends_ms = min(self._clock_ms() + STORE_MS, self._ends_ms)
        return {
            "access_key_id": frozen.access_key,
            "secret_access_key": frozen.secret_key,
            "token": frozen.token,
            "expires_at": datetime.fromtimestamp(ends_ms / 1000, tz=timezone.utc),
        }

    def client(self, service: str) -> Any:
        """Return botocore's client of a service of AWS, with these credentials, for a question or two."""
        frozen = self.frozen()
        try:
            return _create_client(
                self.session(),
                self._where.region,
                self._access,
                service,
                aws_access_key_id=frozen.access_key,
                aws_secret_access_key=frozen.secret_key,
                aws_session_token=frozen.token,
            )
        except Exception as error:
            raise self.translated(error) from None

    def __repr__(self) -> str:
        return f"<Credentials for {self._where.text}>"

    def _current(self, now_ms: int) -> ReadOnlyCredentials:
        if self._keys is not None and now_ms < self._renew_at_ms:
            return self._keys
        try:
            return self._take(now_ms)
        except BridgeError:
            if self._keys is None or now_ms >= self._ends_ms:
                raise
            self._renew_at_ms = now_ms + min(PAUSE_MS, (self._ends_ms - now_ms) * AHEAD_SHARE)
            return self._keys

    def _take(self, now_ms: int) -> ReadOnlyCredentials:
        try:
            if self._source is None:
                self._searched_ms = now_ms
                self._source = self._find()
            keys: ReadOnlyCredentials = self._source.get_frozen_credentials()
        except BridgeError:
            raise
        except Exception as error:  # providers raise errors of many libraries, some of which quote answers
            raise self.translated(error) from None
        # Absent from keys that do not end. botocore tells it nowhere else.
        expiry = getattr(self._source, "_expiry_time", None)
        self._ends_ms = float("inf") if expiry is None else expiry.timestamp() * 1000
        life_ms = max(0.0, self._ends_ms - now_ms)
        self._renew_at_ms = self._ends_ms - min(AHEAD_MS_MAX, life_ms * AHEAD_SHARE)
        self._keys = keys
        return keys

    def session(self) -> Any:
        """Return a new session of botocore's, with the profile.

        Raises:
            MissingExtra: botocore is not installed.
        """
        return new_session(self._access.profile)

    def _find(self) -> Any:
        session = self.session()
        found = session.get_credentials()
        if found is None:
            raise AuthError("there are no AWS credentials", adapter=ADAPTER, hint=self._sign_in())
        role_arn = self._access.role_arn
        return found if role_arn is None else self._assumed(session, found, role_arn)

    def _assumed(self, session: Any, source: Any, role_arn: str) -> Any:
        from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials

        wanted: dict[str, Any] = {
            "RoleSessionName": ROLE_SESSION_NAME,
            "DurationSeconds": self._access.role_seconds,
        }
        if self._access.external_id:
            wanted["ExternalId"] = self._access.external_id
        fetcher = AssumeRoleCredentialFetcher(
            client_creator=partial(_create_client, session, self._where.region, self._access),
            source_credentials=source,
            role_arn=role_arn,
            extra_args=wanted,
        )
        return DeferredRefreshableCredentials(
            method="assume-role",
            refresh_using=fetcher.fetch_credentials,
            time_fetcher=lambda: datetime.fromtimestamp(self._clock_ms() / 1000, tz=timezone.utc),
        )

    def translated(self, error: Exception) -> BridgeError:
        """Return what an error of botocore's search for credentials means."""
        from botocore.exceptions import ClientError, HTTPClientError, ProfileNotFound
        from botocore.exceptions import ConnectionError as Unreachable

        text = shown(str(error))
        if isinstance(error, ProfileNotFound):
            return ConfigError(text, adapter=ADAPTER, hint="aws configure list-profiles")
        if isinstance(error, ClientError):
            return self._refused(error, text)
        why = f"AWS credentials cannot be had: {type(error).__name__}: {text}"
        if isinstance(error, (HTTPClientError, Unreachable)):
            hint = "check the network"
            return Unavailable(why, adapter=ADAPTER, hint=hint)
        if "still expired" in text:
            hint = "check this machine's clock: what has just been handed out looks expired"
            return AuthError(why, adapter=ADAPTER, hint=hint)
        return AuthError(why, adapter=ADAPTER, hint=self._sign_in())

    def _refused(self, error: Any, text: str) -> BridgeError:
        code = str(error.response.get("Error", {}).get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        why = f"AWS credentials cannot be had: {text}"
        if "Throttl" in code or "LimitExceeded" in code:
            return RateLimited(why, adapter=ADAPTER)
        if isinstance(status, int) and status >= 500:
            return Unavailable(why, adapter=ADAPTER)
        if code in ("ValidationError", "PackedPolicyTooLarge"):
            return Rejected(why, adapter=ADAPTER, hint="check role_arn, external_id and role_seconds")
        hint = self._sign_in()
        if WRONG_TIME.search(f"{code} {text}"):  # STS takes 15 minutes; nobody corrects it there
            hint = "set this machine's clock: timedatectl set-ntp true"
        elif code.startswith("AccessDenied") and self._access.role_arn:
            hint = (
                f"allow sts:AssumeRole on {self._access.role_arn}, name who you are in its trust policy, "
                "and give external_id where that asks for one"
            )
        return AuthError(why, adapter=ADAPTER, hint=hint)

    def _sign_in(self) -> str:
        profile = f" --profile {self._access.profile}" if self._access.profile else ""
        return f"sign in: aws sso login{profile}, or set AWS_PROFILE or AWS_ACCESS_KEY_ID and its secret"


def new_session(profile: str | None = None) -> Any:
    """Return a new session of botocore's, whose data of regions and services is parsed once in a process.

    Raises:
        MissingExtra: botocore is not installed.
    """
    try:
        from botocore.session import Session
    except ImportError as error:
        raise missing_extra() from error
    session = Session(profile=profile)
    session.register_component("data_loader", loader())
    return session


@lru_cache(maxsize=1)
def loader() -> Any:
    """Return botocore's loader of what it knows of services, many megabytes; all sessions share it.

    Raises:
        MissingExtra: botocore is not installed.
    """
    try:
        from botocore.loaders import create_loader
    except ImportError as error:
        raise missing_extra() from error
    return create_loader(os.environ.get("AWS_DATA_PATH"))


def missing_extra() -> MissingExtra:
    """Return the error of a machine without AWS's packages."""
    return MissingExtra(
        "SageMaker needs the package 'boto3'", adapter=ADAPTER, hint="pip install 'trackbridge[aws]'"
    )


def _create_client(session: Any, region: str, access: Access, service: str, **named: Any) -> Any:
    from botocore.config import Config

    bounds = Config(connect_timeout=CONNECT_S, read_timeout=ANSWER_S, retries={"total_max_attempts": 2})
    return session.create_client(
        service,
        region_name=region,
        verify=None if access.verify is True else access.verify,
        endpoint_url=access.services,
        config=bounds,
        **named,
    )
