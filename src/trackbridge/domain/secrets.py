"""What a secret looks like: by the name it is given, by where it stands, by its shape.

This is a net, not a proof: it holds back what is recognisable. Text that is known to be a secret is not to
be put into a message at all.
"""

from __future__ import annotations

import re

MASK = "***"

_SECRET_WORDS = frozenset(
    [
        "token",
        "password",
        "passwd",
        "pwd",
        "passphrase",
        "secret",
        "sig",
        "signature",
        "credential",
        "credentials",
        "authorization",
        "bearer",
        "cookie",
        "jwt",
        "sas",
        "apikey",
    ]
)
_SECRET_ENDINGS = (
    "token",
    "password",
    "passwd",
    "secret",
    "signature",
    "credential",
    "credentials",
    "apikey",
    "accesskey",
    "accountkey",
    "privatekey",
    "sharedkey",
    "secretkey",
    "masterkey",
    "subscriptionkey",
    "clientkey",
    "functionkey",
    "signingkey",
    "accesskeyid",
)
# ``token_env = "PROD_TOKEN"`` says where the secret is; it is not the secret.
_REFERENCE_ENDINGS = ("env", "file", "path", "name", "type")
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")

_VALUE = r"""(?: \*\*\*(?![^\s,;&"'<>)}\]]) | "(?:[^"\\]|\\.)*" | '(?:[^'\\]|\\.)*' | %s )"""
# One address, from its "://" to white space, a quote or the next "://".
_ADDRESS = re.compile(r"""://(?P<rest>(?:(?!://)[^\s"'<>])*)""")
_HEADER = re.compile(
    r"""(?ix) \b (?P<name>(?:proxy-)?authorization|(?:set-)?cookie) (?P<sign>["']?\s{0,3}[:=]\s{0,3}) """
    + _VALUE % r"[^\r\n]+"
)
_ASSIGNMENT = re.compile(
    r"""(?x) (?:(?<![A-Za-z0-9_])|(?<=%3[Ff])|(?<=%26)) (?P<name>[A-Za-z_][A-Za-z0-9_.\-]{0,63})
    (?P<sign>["']?\s{0,3}(?:[:=]|%3[Dd])\s{0,3})"""
)
_ASSIGNED = re.compile("(?x)" + _VALUE % r"""(?:(?i:bearer|basic)[ ]+)? ["']?[^\s&;"'<>]+""")
_OPTION = re.compile(r"(?P<name>(?<!\S)--?[A-Za-z][A-Za-z0-9\-]{0,63})(?P<sign>[ ]+)(?P<value>[^\s\-]\S*)")
_SHAPES = re.compile(
    r"""(?x)
    (?i:\b(?:bearer|basic)[ ]+)[A-Za-z0-9._~+/=\-]{8,}
    | \beyJ[A-Za-z0-9_\-]{5,}\.[A-Za-z0-9_\-]+(?:\.[A-Za-z0-9_\-]*)?     # JSON web token
    | \b(?:AKIA|ASIA)[A-Z0-9]{16}\b                                      # AWS access key
    | \bgh[pousr]_[A-Za-z0-9]{20,} | \bgithub_pat_[A-Za-z0-9_]{20,}
    | \bglpat-[A-Za-z0-9_\-]{20,}
    | \bdapi[0-9a-f]{32}(?:-[0-9]+)?                                     # Databricks
    | \bhf_[A-Za-z0-9]{20,}
    | \bsk-[A-Za-z0-9_\-]{20,}
    | \bxox[abeprs]-[A-Za-z0-9\-]{10,}                                   # Slack
    | \bbridge_[0-9a-f]{8}_[A-Za-z0-9_\-]{20,}                            # our gateway's
    """
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}-----|\Z)", re.DOTALL
)


def is_secret_name(name: str) -> bool:
    """Tell whether a value of this name is a secret: ``api_key``, ``X-Amz-Signature``, ``clientSecret``.

    ``token_env``, ``password_file`` and the like name a place and are none. A bare ``key`` is none either:
    metrics, params and dictionaries have keys.
    """
    words = [word.lower() for word in _WORD.findall(name)]
    if not words or words[-1] in _REFERENCE_ENDINGS:
        return False
    return not _SECRET_WORDS.isdisjoint(words) or "".join(words).endswith(_SECRET_ENDINGS)


def has_secret_shape(text: str) -> bool:
    """Tell whether the text holds something with the shape of a known kind of token or private key."""
    return _SHAPES.search(text) is not None or _PRIVATE_KEY.search(text) is not None


def redact(text: str) -> str:
    """Return the text with every recognisable secret replaced by ``***``.

    Covers user information in addresses, signatures and tokens in queries, authorization headers, values
    named like secrets (``password=…``, ``"api_key": "…"``, ``--token …``), well-known token shapes and
    private keys. Any text is accepted; the time is linear in its length.
    """
    text = _PRIVATE_KEY.sub(MASK, text)
    text = _ADDRESS.sub(_without_userinfo, text)
    text = _HEADER.sub(rf"\g<name>\g<sign>{MASK}", text)
    text = _without_assigned_secrets(text)
    text = _OPTION.sub(_without_option_secret, text)
    return _SHAPES.sub(MASK, text)


def shown(text: str, *, chars_max: int = 500) -> str:
    """Return text of others as a message may quote it: redacted, and cut to so many characters."""
    redacted = redact(text[: chars_max + 10_000])  # before it is cut, which could hide what marks a secret
    return redacted if len(redacted) <= chars_max else redacted[:chars_max] + "…"


def userinfo_length(rest: str) -> int:
    """Return how many characters after an address's ``://`` are user information, with its ``@``; or 0.

    A password with an unencoded ``/`` or ``@`` makes the authority ambiguous: then everything up to the
    last ``@`` counts. A port followed by a path (``host:80/a@b``) is no password.
    """
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, _, host = authority.rpartition("@")
    port = "" if host.startswith("[") else host.partition(":")[2]
    has_password = ":" in user or (port and not port.isdigit())
    return rest.rfind("@") + 1 if has_password else authority.rfind("@") + 1


def _without_userinfo(match: re.Match[str]) -> str:
    rest = match["rest"]
    length = userinfo_length(rest)
    return f"://{MASK}@{rest[length:]}" if length else match[0]


def _without_assigned_secrets(text: str) -> str:
    kept: list[str] = []
    copied = position = 0
    while match := _ASSIGNMENT.search(text, position):
        position = match.end()
        value = _ASSIGNED.match(text, position) if is_secret_name(match["name"]) else None
        if value is not None:
            kept += (text[copied:position], MASK)
            copied = position = value.end()
    return "".join(kept) + text[copied:]


def _without_option_secret(match: re.Match[str]) -> str:
    return f"{match['name']}{match['sign']}{MASK}" if is_secret_name(match["name"]) else match[0]
