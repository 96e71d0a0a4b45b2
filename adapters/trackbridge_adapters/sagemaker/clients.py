"""Calls of AWS's services by botocore: checked before they are sent, one attempt each, refusals translated.

::

    check against the limits -> client of the service -> send -> translate a refusal
                                                          |
                        keys refused: search for others --+-- and send once more where there are some
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from trackbridge.errors import BridgeError
from trackbridge_adapters.sagemaker.config import Access
from trackbridge_adapters.sagemaker.credentials import Credentials, missing_extra
from trackbridge_adapters.sagemaker.errors import EXPIRED, UNKNOWN_KEY
from trackbridge_adapters.sagemaker.errors_services import translated
from trackbridge_adapters.sagemaker.limits import check
from trackbridge_adapters.sagemaker.place import Place

if TYPE_CHECKING:
    from botocore.credentials import ReadOnlyCredentials

CONNECT_S = 5.0
CONNECTIONS_MAX = 32
Part = TypeVar("Part")


class Clients:
    """The services of one place. Any thread may use them; the clients are made when they are first called.

    Args:
        place: The region.
        access: Addresses, certificates and time limits.
        credentials: The keys; each request is signed with those of its moment.
        clock_ms: Milliseconds since 1970.
    """

    def __init__(
        self, place: Place, access: Access, credentials: Credentials, clock_ms: Callable[[], int]
    ) -> None:
        self._place = place
        self._access = access
        self._credentials = credentials
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._session: Any = None
        self._made: dict[str, Any] = {}
        self._account: str | None = None

    def call(self, service: str, operation: str, /, **named: Any) -> dict[str, Any]:
        """Call one operation and return its answer, without ``ResponseMetadata``.

        Args:
            service: As botocore names it: ``sagemaker``, ``sagemaker-metrics``, ``sts``, ``s3`` …
            operation: As AWS names it: ``CreateExperiment``.
            named: Its parameters.

        Raises:
            Rejected: A parameter is beyond a limit; nothing was sent. Or the service refused it for good, a
                quota (``QuotaReached``) among the reasons.
            NotFound, Conflict, AuthError, RateLimited, Unavailable, TimedOut: What the service answered.
            ConfigError: The profile does not exist.
            MissingExtra: botocore is not installed.
        """
        check(service, operation, named, now_s=self._clock_ms() / 1000)
        client = self.client(service)
        used = self._credentials.frozen()
        try:
            answer = client._make_api_call(operation, named)
        except Exception as error:
            if not self._can_help(error, used):
                raise self._meaning(error, service, operation, named) from None
            answer = self._again(client, service, operation, named)
        answer.pop("ResponseMetadata", None)
        found: dict[str, Any] = answer
        return found

    def client(self, service: str) -> Any:
        """Return botocore's client of a service, for what ``call`` cannot do (streams, waiting)."""
        found = self._made.get(service)
        if found is not None:
            return found
        with self._lock:  # botocore's clients may be shared by threads, making them may not
            if service not in self._made:
                try:
                    self._made[service] = self._create(service)
                except BridgeError:
                    raise
                except Exception as error:
                    raise self._credentials.translated(error) from None
            return self._made[service]

    def account(self) -> str:
        """Return the number of the account that the credentials are of; asked once."""
        if self._account is None:
            self._account = str(self.call("sts", "GetCallerIdentity")["Account"])
        return self._account

    def pages(self, service: str, operation: str, key: str, /, **named: Any) -> Any:
        """Yield the items of all pages of a listing, ``key`` being the list in each answer."""
        token: str | None = None
        while True:
            more = {} if token is None else {"NextToken": token}
            answer = self.call(service, operation, **named, **more)
            yield from answer.get(key, ())
            token = answer.get("NextToken")
            if not token:
                return

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            made, self._made = list(self._made.values()), {}
        for client in made:
            client.close()

    def __repr__(self) -> str:
        return f"<Clients of {self._place.text}>"

    def _create(self, service: str) -> Any:
        try:
            from botocore.config import Config
        except ImportError as error:
            raise missing_extra() from error
        if self._session is None:
            self._session = self._credentials.session()
            self._session.register_component("credential_provider", _Chain(self._credentials.frozen))
        is_storage = service == "s3"
        endpoint = self._access.s3_endpoint if is_storage else self._access.services
        bounds = Config(
            connect_timeout=min(CONNECT_S, self._access.answer_s),
            read_timeout=self._access.answer_s,
            retries={"total_max_attempts": 1},  # calls/ tries again, and says so
            max_pool_connections=CONNECTIONS_MAX,
            tcp_keepalive=True,
            parameter_validation=False,  # done before, and more strictly
            # As obstore does it: servers of one's own seldom answer to bucket.host.
            s3={"addressing_style": "path"} if endpoint else None,
        )
        return self._session.create_client(
            service,
            region_name=self._access.s3_region if is_storage else self._place.region,
            endpoint_url=endpoint,
            verify=None if self._access.verify is True else self._access.verify,
            config=bounds,
        )

    def _can_help(self, error: Exception, used: ReadOnlyCredentials) -> bool:
        answer = getattr(error, "response", None) or {}  # errors of the network have None
        code = str(answer.get("Error", {}).get("Code", ""))
        if not (EXPIRED.search(code) or UNKNOWN_KEY.search(code)):
            return False
        return self._credentials.renew(used)

    def _again(self, client: Any, service: str, operation: str, named: dict[str, Any]) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = client._make_api_call(operation, named)
        except Exception as error:
            raise self._meaning(error, service, operation, named) from None
        return answer

    def _meaning(self, error: Exception, service: str, operation: str, named: dict[str, Any]) -> BridgeError:
        if isinstance(error, BridgeError):
            return error
        return translated(error, service, operation, named, self._place, self._access)


class _Chain:
    """What botocore asks for credentials: hands out ours, which freeze for each request."""

    def __init__(self, frozen: Callable[[], ReadOnlyCredentials]) -> None:
        self._keys = _Keys(frozen)

    def load_credentials(self) -> _Keys:
        """Return them."""
        return self._keys


class _Keys:
    """Credentials in the form of botocore's."""

    method = "trackbridge"
    account_id = None

    def __init__(self, frozen: Callable[[], ReadOnlyCredentials]) -> None:
        self._frozen = frozen

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return those of this moment."""
        return self._frozen()

    @property
    def access_key(self) -> str:
        """The key's name."""
        return str(self._frozen().access_key)

    @property
    def secret_key(self) -> str:
        """Its secret."""
        return str(self._frozen().secret_key)

    @property
    def token(self) -> str | None:
        """That of the session."""
        return self._frozen().token

    def get_deferred_property(self, name: str) -> Callable[[], Any]:
        """Return what returns a field (botocore asks for ``account_id``)."""
        return lambda: getattr(self, name)
