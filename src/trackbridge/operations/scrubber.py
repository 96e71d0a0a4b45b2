"""What keeps secrets out of a bug report: every text of it goes through one ``Scrubber``.

``domain.secrets.redact`` takes out what looks like a secret. A report leaves the machine, so more is taken
out here: the very values that this machine's environment keeps under the name of a secret, wherever they
turn up, and long words that look like keys, of whatever kind they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from trackbridge.domain.secrets import MASK, is_secret_name, redact, userinfo_length
from trackbridge.errors import ConfigError

if TYPE_CHECKING:
    from trackbridge.resolve.config import Settings

SECRET_CHARS_MIN = 5
"""A shorter value would take too many harmless words with it."""
_FURTHER_ENDINGS = ("KEY", "PASS", "_PAT")
"""Of variables. Elsewhere a bare key is none: metrics, params and dictionaries have keys."""
_FOLDERS = frozenset({"PWD", "OLDPWD"})
"""Of the shell: no passwords, whatever others call so."""
_QUERY_VALUE = re.compile(r"[?&;][\w.%-]+=([^&;#\s\"']+)")
_KEY_LIKE = re.compile(
    r"(?<![\w+/=-])(?:[A-Za-z0-9_-]{32,}|[A-Za-z0-9+/]{40}|[A-Za-z0-9+/]{60,})={0,2}(?![\w+/=-])"
)
_CUT_PRIVATE_KEY = re.compile(r"\A(?:(?!-----BEGIN ).)*-----END [A-Z ]{0,40}PRIVATE KEY-----", re.DOTALL)
"""One whose beginning is not there, because the text is the end of a log."""
_HEX = re.compile(r"[0-9a-f-]+")
_KINDS_OF_CHARACTERS = (re.compile("[a-z]"), re.compile("[A-Z]"), re.compile("[0-9]"))


class Scrubber:
    """Takes secrets out of texts.

    Args:
        environ: The variables of this machine.
        named: Further variables that hold a secret, because a setting says so (``token_env = "PROD"``).
        user_folder: The user's home, which is written ``~``; None where there is none.
    """

    def __init__(
        self, environ: Mapping[str, str], *, named: Iterable[str] = (), user_folder: str | None = None
    ) -> None:
        values = {value for text in _secret_texts(environ, frozenset(named)) for value in _spellings(text)}
        self._values = sorted(values, key=len, reverse=True)  # one may be the beginning of another
        self._user_folder = user_folder if user_folder and len(user_folder) > 1 else None

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for value in self._values:
            text = text.replace(value, MASK)
        text = _CUT_PRIVATE_KEY.sub(MASK, text)
        text = _KEY_LIKE.sub(_without_key, redact(text))
        return text.replace(self._user_folder, "~") if self._user_folder else text

    def content(self, content: object) -> object:
        """Return plain values (for JSON) with every text in them scrubbed, keys too."""
        if isinstance(content, str):
            return self(content)
        if isinstance(content, Mapping):
            return {self(str(key)): self._field(str(key), value) for key, value in content.items()}
        if isinstance(content, (list, tuple)):
            return [self.content(item) for item in content]
        return content

    def _field(self, name: str, value: object) -> object:
        return MASK if isinstance(value, str) and value and is_secret_name(name) else self.content(value)


def scrubber_of(settings: Settings) -> Scrubber:
    """Return what takes the secrets of these settings' surroundings out of texts."""
    around = settings.around
    home = around.user_folder
    named = _secret_variables(settings)
    return Scrubber(around.environ, named=named, user_folder=str(home) if home else None)


def _secret_texts(environ: Mapping[str, str], named: frozenset[str]) -> Iterator[str]:
    """Yield the values of secret variables, and the secret parts of addresses in all others."""
    for name, value in environ.items():
        if name in named or _is_secret_variable(name):
            yield value
        for rest in value.split("://")[1:]:
            user, sign, password = rest[: max(0, userinfo_length(rest) - 1)].partition(":")
            yield password if sign else user
        if redact(value) != value:  # a connection string, a signed address, a header
            yield from (found for found in _QUERY_VALUE.findall(value) if found not in redact(value))


def _is_secret_variable(name: str) -> bool:
    return name not in _FOLDERS and (is_secret_name(name) or name.upper().endswith(_FURTHER_ENDINGS))


def _spellings(text: str) -> Iterator[str]:
    """Yield a secret as it stands and without its blanks, each of its lines, and all as others write them."""
    for spelling in {text, text.strip(), unquote(text), *text.splitlines()}:
        if len(spelling.strip()) >= SECRET_CHARS_MIN:
            yield from (spelling, quote(spelling, safe=""), json.dumps(spelling)[1:-1])


def _without_key(match: re.Match[str]) -> str:
    """Mask a long word of small and capital letters and digits; ids are of one case."""
    word = match[0]
    is_key = all(kind.search(word) for kind in _KINDS_OF_CHARACTERS) and _HEX.fullmatch(word) is None
    return MASK if is_key else word


def _secret_variables(settings: Settings) -> Iterator[str]:
    """Yield the variables that the configuration names as the places of secrets."""
    try:
        files = settings.files()
    except ConfigError:  # a finding of its own
        return
    for _, file in files:
        yield from _named_in(file.content)


def _named_in(table: Mapping[str, Any]) -> Iterator[str]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _named_in(value)
        elif isinstance(value, str) and key.endswith("_env"):
            yield value
