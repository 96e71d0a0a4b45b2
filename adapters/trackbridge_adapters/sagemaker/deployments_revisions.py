"""How an endpoint stood before each operation: a file for each revision, in the bucket."""

from __future__ import annotations

import msgspec

from trackbridge.domain.deployments import EndpointRevision
from trackbridge.domain.page_tokens import listing_of, page_size, place_of, token_of
from trackbridge.domain.paging import Page
from trackbridge.errors import Conflict, Unavailable
from trackbridge_adapters.sagemaker.arn import ADAPTER
from trackbridge_adapters.sagemaker.bucket import SWAPS_MAX, Bucket
from trackbridge_adapters.sagemaker.capabilities import PAGE_ITEMS_MAX
from trackbridge_adapters.sagemaker.deployments_names import FOLDER
from trackbridge_adapters.sagemaker.deployments_records import damaged


class Revisions:
    """The revisions of a place's endpoints. Any thread may use it."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def save(self, revision: EndpointRevision) -> EndpointRevision:
        """Keep a revision and return it with its number; the same state twice in a row is one."""
        for _ in range(SWAPS_MAX):
            numbers = self._numbers(revision.endpoint)
            last = numbers[-1] if numbers else 0
            held = self._bucket.get(_key(revision.endpoint, last)) if last else None
            is_same = held is not None and _decoded(held[0], last).deployments == revision.deployments
            number = last if is_same else last + 1
            numbered = msgspec.structs.replace(revision, number=number)
            data = msgspec.json.encode(numbered)
            try:
                if is_same and held is not None:
                    self._bucket.put(_key(revision.endpoint, number), data, match=held[1])
                else:
                    self._bucket.put(_key(revision.endpoint, number), data, absent=True)
            except Conflict:  # somebody else was quicker, or our own write got through without an answer
                now = self._bucket.get(_key(revision.endpoint, number))
                if now is None or now[0] != data:
                    continue
            return numbered
        raise Unavailable(
            "others save revisions all the time", adapter=ADAPTER, operation="deployments.save_revision"
        )

    def page(self, endpoint: str, *, max_results: int, token: str | None) -> Page[EndpointRevision]:
        """List the revisions of an endpoint, newest first."""
        operation = "deployments.list_revisions"
        listing = listing_of("list_revisions", self._bucket.address(endpoint))
        size = page_size(max_results, most=PAGE_ITEMS_MAX, adapter=ADAPTER, operation=operation)
        place = place_of(token, listing, adapter=ADAPTER, operation=operation, types=(int,))
        numbers = [number for number in reversed(self._numbers(endpoint)) if not place or number < place[0]]
        keys = [_key(endpoint, number) for number in numbers[:size]]
        found = self._bucket.get_many(keys)
        revisions = [_decoded(held[0], key) for key, held in found if held is not None]
        more = token_of(listing, [numbers[size - 1]]) if len(numbers) > size else None
        return Page(items=tuple(revisions), token=more)

    def _numbers(self, endpoint: str) -> list[int]:
        folder = f"{FOLDER}/{endpoint}/revisions"
        names = (key.removeprefix(f"{folder}/").removesuffix(".json") for key in self._bucket.list(folder))
        return sorted(int(name) for name in names if name.isdecimal())


def _key(endpoint: str, number: int) -> str:
    return f"{FOLDER}/{endpoint}/revisions/{number:08d}.json"


def _decoded(data: bytes, key: object) -> EndpointRevision:
    try:
        return msgspec.json.decode(data, type=EndpointRevision)
    except msgspec.DecodeError as error:
        raise damaged(str(key), error) from error
