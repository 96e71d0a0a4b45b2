"""Build contexts of container images: a folder for each deployment, which ``docker build`` takes anywhere."""

from __future__ import annotations

from trackbridge_adapters.docker.config import canonical_uri as canonical_uri

TYPE_CHECKING = False
if TYPE_CHECKING:
    from trackbridge.ports.adapter import Adapter, AdapterContext


def open_adapter(uri: str, *, context: AdapterContext) -> Adapter:
    """Open the folder of ``docker:PATH``, or the project's own for ``docker:``; makes and asks nothing.

    Raises:
        ConfigError: The path names no folder, or an option is given.
    """
    from trackbridge_adapters.docker.adapter import DockerAdapter
    from trackbridge_adapters.docker.config import folder_of

    return DockerAdapter(folder_of(uri, context.options, context.home), context.clock_ms)
