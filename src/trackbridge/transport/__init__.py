"""What adapters share on the way out: what may be shown of an address, a header or an answer."""
