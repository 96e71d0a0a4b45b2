"""The package for files in buckets, obstore, which the core does without: it is half as large as the rest."""

from __future__ import annotations

from trackbridge.errors import MissingExtra


def require_obstore(*, extra: str = "buckets", adapter: str | None = None) -> None:
    """Import obstore, which reads and writes S3, Azure's storage and Google's.

    Args:
        extra: What the hint names: every extra of a cloud brings it as well.
        adapter: For the error.

    Raises:
        MissingExtra: It is not installed.
    """
    try:
        import obstore  # noqa: F401
    except ImportError as error:
        raise MissingExtra(
            f"files in buckets (S3, Azure, Google) need obstore, which cannot be imported ({error})",
            adapter=adapter,
            hint=f"pip install 'trackbridge[{extra}]'",
        ) from error
