"""What the ports of ``sagemaker:`` share, as one value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

from trackbridge.ports.adapter import AdapterContext
from trackbridge.ports.capabilities import Capabilities
from trackbridge_adapters.sagemaker.bucket import Bucket
from trackbridge_adapters.sagemaker.capabilities import CAPABILITIES
from trackbridge_adapters.sagemaker.clients import Clients
from trackbridge_adapters.sagemaker.config import Access, place_access
from trackbridge_adapters.sagemaker.credentials import Credentials, missing_extra
from trackbridge_adapters.sagemaker.place import Place, parse_place


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """One opened place of SageMaker."""

    place: Place
    access: Access
    credentials: Credentials
    clients: Clients
    bucket: Bucket
    context: AdapterContext
    capabilities: Capabilities


def backend_of(uri: str, context: AdapterContext, *, environment: Mapping[str, str] = os.environ) -> Backend:
    """Open the place of a URI; nobody is contacted.

    Raises:
        ConfigError: The URI or an option is wrong, or nothing names a region.
        MissingExtra: The packages of AWS are not installed.
    """
    place = parse_place(uri, context.options, environment)
    access = place_access(place, context.options, environment)
    if find_spec("botocore") is None:
        raise missing_extra()
    credentials = Credentials(place, access, context.clock_ms)
    clients = Clients(place, access, credentials, context.clock_ms)
    return Backend(
        place=place,
        access=access,
        credentials=credentials,
        clients=clients,
        bucket=Bucket(place, access, credentials, clients),
        context=context,
        capabilities=CAPABILITIES,
    )
