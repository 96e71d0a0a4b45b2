"""Paging tokens of the local backend."""

from __future__ import annotations

from functools import partial

from trackbridge.domain import page_tokens
from trackbridge.domain.page_tokens import listing_of, token_of
from trackbridge_adapters.local.capabilities import ADAPTER, PAGE_ITEMS_MAX

__all__ = ["listing_of", "page_size", "place_of", "token_of"]

place_of = partial(page_tokens.place_of, adapter=ADAPTER)
page_size = partial(page_tokens.page_size, most=PAGE_ITEMS_MAX, adapter=ADAPTER)
