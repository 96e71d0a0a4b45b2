"""One tracking API in front of swappable backends."""

from trackbridge._version import __version__ as __version__
