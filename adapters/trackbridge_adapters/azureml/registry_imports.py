"""Whether a version in a registry is what an import has made of a workspace's version.

Azure keeps no trace of where an import came from. So everything that both say of themselves must agree: tags,
description, type, the mark of the maker where there is one, and the names, sizes and digests of the files.
"""

from __future__ import annotations

from collections.abc import Iterator

from trackbridge_adapters.azureml.arm import Json
from trackbridge_adapters.azureml.assets import MAKER, properties_of, tags_of
from trackbridge_adapters.azureml.paths import Found
from trackbridge_adapters.azureml.payloads import members_of


def says_the_same(found: Json, source: Json) -> bool:
    """Tell whether a version says of itself what the source does."""
    ours, theirs = properties_of(found), properties_of(source)
    makers = {str((held.get("properties") or {}).get(MAKER) or "") for held in (ours, theirs)} - {""}
    return (
        tags_of(found) == tags_of(source)
        and (ours.get("description") or "") == (theirs.get("description") or "")
        and str(ours.get("modelType") or "").lower() == str(theirs.get("modelType") or "").lower()
        and len(makers) <= 1
    )


def has_the_same_files(found: Found, source: Found) -> bool:
    """Tell whether files at two places have the same names and sizes, and digests where both keep some."""
    ours, theirs = dict(_described(found)), dict(_described(source))
    return ours.keys() == theirs.keys() and all(
        size == theirs[name][0] and (not digest or not theirs[name][1] or digest == theirs[name][1])
        for name, (size, digest) in ours.items()
    )


def _described(place: Found) -> Iterator[tuple[str, tuple[int | None, str]]]:
    for path, listed in members_of(place):
        # Listings of storage tell no digest.
        entry = listed if listed.digest is not None else place.files.find(path) or listed
        yield path[len(place.path) :], (entry.size, entry.digest or "")
