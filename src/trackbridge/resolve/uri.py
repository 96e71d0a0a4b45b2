"""The grammar of tracking URIs. Pure text: opens nothing and asks nobody but the file system's names.

=====================================================  ==========================
form                                                   scheme
=====================================================  ==========================
nothing, ``file:PATH``, ``./path``, ``/path``, ``~``   ``file``
``http://host``, ``https://host/path``                 ``http``, ``https``
``azureml:``, ``azureml://REGION-HOST/mlflow/…``,      ``azureml``
``azureml://SUBSCRIPTION/GROUP/WORKSPACE``,
``azureml://registries/REGISTRY``
``arn:aws:sagemaker:…:mlflow-tracking-server/NAME``,   ``arn``
``arn:aws:sagemaker:…:mlflow-app/ID``
``sagemaker:``, ``sagemaker://REGION[/PREFIX]``        ``sagemaker``
``databricks:``, ``databricks://PROFILE``              ``databricks``
``mlflow+URI``                                         ``mlflow``
a bare word                                            none yet: ``is_name``
any other ``scheme:…``                                 that scheme
=====================================================  ==========================

``?name=value&…`` at the end are options of the adapter (but for ``mlflow+``, where all belongs to mlflow).
Inside ``file:`` text, ``%``, ``#``, ``?`` and ``,`` of a path are percent-encoded; a plain path is literal.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from trackbridge.domain.file_uris import file_path, file_uri
from trackbridge.domain.secrets import has_secret_shape, is_secret_name, redact, shown, userinfo_length
from trackbridge.errors import ConfigError
from trackbridge.resolve.home import Surroundings, project_folder

URI_CHARS_MAX = 8192
SHOWN_CHARS_MAX = 100

_FORBIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]{1,31}):(?P<rest>.*)")
_DRIVE = re.compile(r"[A-Za-z]:")
_OPTION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_COMMA = re.compile(r",(?![^\[\]]*\])")  # none of those in spark:local-cluster[2,1,1024]
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ARN = re.compile(
    r"arn:aws[a-z-]{0,20}:sagemaker:[a-z0-9-]{1,32}:[0-9]{12}:"
    r"(?:mlflow-tracking-server|mlflow-app)/[A-Za-z0-9][A-Za-z0-9-]{0,255}"
)
_AZUREML_LONG = re.compile(r"//[^/.]+\.[^/]+/mlflow/.+/(?:workspaces|registries)/[^/]+")
_AZUREML_REGISTRY = re.compile(r"//registries/[^/]+|//[^/.]+\.[^/]+/mlflow/(?:.+/)?[^/]+/registries/[^/]+")
_AZUREML_SHORT = re.compile(r"//(?!registries/)[^/.]+/[^/]+/[^/]+")
_AZUREML_OLD_OPTIONS = ("is-remote", "auth", "auth-type")  # of azureml-mlflow before 1.40; mean nothing now
_SAGEMAKER = re.compile(r"//[a-z]{2,8}(?:-[a-z]{2,16}){1,3}-[0-9]{1,2}(?:/[A-Za-z0-9][A-Za-z0-9-]{0,119})?")
_DATABRICKS = re.compile(r"//[^/@\s]{1,256}")
_CREDENTIALS_HINT = (
    "take the credential out of the URI; give it in the environment (for example MLFLOW_TRACKING_TOKEN), "
    "or name the variable that holds it in a remote: bridge remotes add NAME URI --option token_env=VARIABLE"
)


@dataclass(frozen=True, slots=True)
class TrackingUri:
    """One parsed URI.

    ``address`` is normalised and does not depend on the current directory; ``options`` are its query, in
    order of name. ``is_name`` marks a bare word, whose meaning depends on the remotes: it has no scheme.
    """

    scheme: str
    address: str
    options: tuple[tuple[str, str], ...] = ()
    is_name: bool = False

    @property
    def text(self) -> str:
        """The whole URI; parsing it gives an equal value."""
        return (
            f"{self.address}?{urlencode(self.options, quote_via=quote, safe='')}"
            if self.options
            else self.address
        )

    @property
    def path(self) -> Path | None:
        """The folder of a ``file:`` URI, None for all others."""
        return file_path(self.address) if self.scheme == "file" else None

    @property
    def keeps_runs(self) -> bool:
        """Whether runs can be logged there; a registry of Azure ML has models alone."""
        rest = self.address.removeprefix("azureml:")
        return self.scheme != "azureml" or _AZUREML_REGISTRY.fullmatch(rest) is None

    def __str__(self) -> str:
        return self.text


def parse(uri: str | os.PathLike[str] | None, *, around: Surroundings | None = None) -> TrackingUri:
    """Parse one tracking URI; None and "" mean the project's own folder. A path object is taken literally.

    Raises:
        ConfigError: The text is not a tracking URI, or holds a credential (which the error does not show).
    """
    around = around or Surroundings.current()
    if isinstance(uri, os.PathLike):
        return _local(_checked(os.fspath(uri)), around)
    text = _checked(uri or "").strip()
    if not text:
        return _local(str(project_folder(around)), around)
    if _is_path(text):
        return _local(text, around)
    _refuse_credentials(text)
    if text[:7].lower() == "mlflow+":
        found = _mlflow(text[7:], around)
        if found.address != found.address.strip():  # it would be another one when it is read back
            raise _malformed(text, "ends in a blank", "rename the folder or the file")
        return found
    if _NAME.fullmatch(text):
        return TrackingUri("", text, is_name=True)
    match = _SCHEME.fullmatch(text)
    if match is None:
        is_windows = _DRIVE.match(text)
        hint = "paths with a drive work on Windows only" if is_windows else "write ./NAME for a folder"
        raise _malformed(text, "is neither a URI, a path nor a name", hint)
    return _with_scheme(match["scheme"].lower(), match["rest"], around)


def parse_several(
    uris: str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | None,
    *,
    around: Surroundings | None = None,
) -> tuple[TrackingUri, ...]:
    """Parse one or several URIs: comma-separated text, or a list whose items may hold commas.

    Raises:
        ConfigError: One is wrong, empty among several, or named twice.
    """
    around = around or Surroundings.current()
    if isinstance(uris, str):
        if "," in uris:  # before it is split, because a password may hold a comma
            _refuse_credentials(_checked(uris))
        uris = _COMMA.split(uris)
    if uris is None or isinstance(uris, os.PathLike):
        return (parse(uris, around=around),)
    if len(uris) != 1 and any(isinstance(uri, str) and not uri.strip() for uri in uris):
        raise ConfigError(
            "one of several tracking URIs is empty", hint="write './a,b' in a list, not in text"
        )
    parsed = tuple(parse(uri, around=around) for uri in uris) or (parse(None, around=around),)
    if len(set(parsed)) < len(parsed):
        raise ConfigError("the same tracking URI is named twice", resource=_shown(",".join(map(str, parsed))))
    return parsed


def unwrapped(uri: str) -> str:
    """Return what a URI of our mlflow plugin means: ``bridge+X`` and ``bridge:X`` are X, any other is itself.

    ``bridge:`` alone is "", that is, whatever is configured.
    """
    for prefix in ("bridge+", "bridge:"):
        if uri[: len(prefix)].lower() == prefix:
            return uri[len(prefix) :]
    return uri


def named_scheme(scheme: str, *, around: Surroundings | None = None) -> TrackingUri:
    """Return the URI of a scheme alone, as a bare word means it: ``azureml`` is ``azureml:``.

    Raises:
        ConfigError: The scheme needs more than its name.
    """
    return _with_scheme(scheme.lower(), "", around or Surroundings.current())


# The forms.


def _is_path(text: str) -> bool:
    """Tell whether the text is a plain path: it starts like one, or has a slash and no scheme."""
    if text.startswith(("/", ".", "~")) or (os.name == "nt" and _DRIVE.match(text)):
        return True
    before_slash, slash, _ = text.partition("/")
    return bool(slash) and ":" not in before_slash and not text[:7].lower().startswith("mlflow+")


def _with_scheme(scheme: str, rest: str, around: Surroundings) -> TrackingUri:
    if "#" in rest:
        raise _malformed(f"{scheme}:{rest}", "holds a '#'", "write %23 for a '#' that belongs to a path")
    rest, _, query = rest.partition("?")
    options = _options(scheme, query)
    if scheme == "file":
        local = _local(_decoded(rest), around) if rest else parse(None, around=around)
        return TrackingUri("file", local.address, options)
    if rest.partition("/")[0].isdigit():
        raise _malformed(f"{scheme}:{rest}", "has no scheme", f"did you mean http://{scheme}:{rest} ?")
    known = _FORMS.get(scheme)
    return TrackingUri(scheme, known(scheme, rest) if known else f"{scheme}:{rest}", options)


def _local(path: str, around: Surroundings) -> TrackingUri:
    expanded = os.path.expanduser(path)
    if path.startswith("~") and expanded == path:
        raise _malformed(path, "names a user that is unknown", "write ./~… for a folder of that name")
    absolute = os.path.join(around.cwd, expanded)
    if absolute.startswith("//"):  # would read as a host
        absolute = "/" + absolute.lstrip("/")
    try:
        return TrackingUri("file", file_uri(Path(absolute)))
    except (OSError, RuntimeError, UnicodeEncodeError) as error:
        raise _malformed(
            path, f"is not a usable path ({type(error).__name__})", "choose another folder"
        ) from error


def _decoded(rest: str) -> str:
    """Return the path of what follows ``file:``."""
    if rest.startswith("//"):
        host, slash, path = rest[2:].partition("/")
        if host not in ("", "localhost"):
            raise _malformed(f"file:{rest}", f"names the host {host!r}", "write file:/PATH or file:./PATH")
        rest = slash + path
    if _BAD_ESCAPE.search(rest):
        raise _malformed(f"file:{rest}", "holds a '%' that starts no escape", "write %25 for a '%'")
    try:
        path = unquote(rest, errors="strict")
    except UnicodeDecodeError as error:
        raise _malformed(f"file:{rest}", "is not UTF-8 after decoding", "rename the folder") from error
    if os.name == "nt" and _DRIVE.match(path[1:]):
        return path[1:]
    return _checked(path)


def _http(scheme: str, rest: str) -> str:
    hint = f"write {scheme}://HOST[:PORT][/PATH]"
    try:
        parts = urlsplit(f"{scheme}:{rest}")
        port = parts.port
    except ValueError as error:
        raise ConfigError(f"the {scheme} address has a bad host or port", hint=hint) from error
    if not rest.startswith("//") or not parts.hostname or re.search(r"\s", rest):
        raise ConfigError(f"the {scheme} address has no valid host", hint=hint)
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    authority = f"{host}:{port}" if port is not None else host
    return f"{scheme}://{authority}{parts.path.rstrip('/')}"


def _azureml(scheme: str, rest: str) -> str:
    rest = rest.rstrip("/") if len(rest) > 2 else rest
    if not rest or any(form.fullmatch(rest) for form in (_AZUREML_LONG, _AZUREML_REGISTRY, _AZUREML_SHORT)):
        return f"{scheme}:{rest}"
    raise _malformed(
        f"{scheme}:{rest}",
        "is not an Azure ML workspace",
        "write azureml: (reads config.json), azureml://SUBSCRIPTION/GROUP/WORKSPACE, the MLflow tracking "
        "URI of the workspace, or azureml://registries/REGISTRY",
    )


def _arn(scheme: str, rest: str) -> str:
    address = f"{scheme}:{rest}"
    if _ARN.fullmatch(address):
        return address
    raise _malformed(
        address,
        "is not the ARN of a SageMaker MLflow server",
        "write arn:aws:sagemaker:REGION:ACCOUNT:mlflow-tracking-server/NAME, or …:mlflow-app/ID",
    )


def _sagemaker(scheme: str, rest: str) -> str:
    rest = rest.rstrip("/") if len(rest) > 2 else rest
    if not rest or _SAGEMAKER.fullmatch(rest):
        return f"{scheme}:{rest}"
    raise _malformed(
        f"{scheme}:{rest}",
        "names no AWS region",
        "write sagemaker: or sagemaker://REGION[/EXPERIMENT-PREFIX], for example sagemaker://eu-west-1",
    )


def _databricks(scheme: str, rest: str) -> str:
    if not rest or _DATABRICKS.fullmatch(rest):
        return f"{scheme}:{rest}"
    raise _malformed(f"{scheme}:{rest}", "names no profile", "write databricks or databricks://PROFILE")


_FORMS = {
    "http": _http,
    "https": _http,
    "azureml": _azureml,
    "arn": _arn,
    "sagemaker": _sagemaker,
    "databricks": _databricks,
    "databricks-uc": _databricks,
}


def _mlflow(inner: str, around: Surroundings) -> TrackingUri:
    """Parse what mlflow itself is to open; relative folders are made absolute, all else is kept."""
    if not inner or inner[:7].lower() == "mlflow+":
        raise _malformed(
            f"mlflow+{inner}", "has no URI for mlflow", "write for example mlflow+sqlite:///mlflow.db"
        )
    if _is_path(inner):
        return TrackingUri("mlflow", "mlflow+" + str(_local(inner, around).path))
    scheme, _, rest = inner.partition(":")
    if scheme == "file":
        folder = _local(_decoded(rest), around).path
        return TrackingUri("mlflow", f"mlflow+file://{quote(str(folder))}")
    if scheme in ("http", "https"):
        return TrackingUri("mlflow", "mlflow+" + _http(scheme, rest))
    if scheme.partition("+")[0] == "sqlite" and re.match(r"///[^/:?]", rest):
        return TrackingUri("mlflow", f"mlflow+{scheme}:///{around.cwd / rest[3:]}")
    return TrackingUri("mlflow", f"mlflow+{inner}")


def _options(scheme: str, query: str) -> tuple[tuple[str, str], ...]:
    pairs = parse_qsl(query.replace("+", "%2B"), keep_blank_values=True)
    if scheme == "azureml":
        pairs = [pair for pair in pairs if pair[0] not in _AZUREML_OLD_OPTIONS]
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ConfigError(f"a {scheme} URI gives the same option twice", hint="keep one of them")
    if not all(_OPTION_NAME.fullmatch(name) for name in names):
        raise ConfigError(
            f"a {scheme} URI has a malformed option", hint="write ?name=value, or %3F for a '?' in a path"
        )
    for _, value in pairs:
        _checked(value)
    return tuple(sorted(pairs))


# What is refused everywhere.


def _checked(text: str) -> str:
    if len(text) > URI_CHARS_MAX:
        raise ConfigError(
            f"a tracking URI has {len(text)} characters; the limit is {URI_CHARS_MAX}", hint="shorten it"
        )
    if _FORBIDDEN.search(text):
        raise ConfigError(
            "a tracking URI holds a control character, a line break or invalid Unicode",
            hint="check the variable or file that it came from",
        )
    return text


def _refuse_credentials(text: str) -> None:
    """Raise for a credential in any place of the text. The error shows nothing of the text."""
    place = _credential_place(text)
    if place:
        raise ConfigError(f"a tracking URI holds a credential {place}", hint=_CREDENTIALS_HINT)


def _credential_place(text: str) -> str:
    for address in re.finditer(r"([A-Za-z0-9+.-]{0,40})://((?:(?!://).)*)", text):
        user = address[2][: userinfo_length(address[2])]
        if ":" in user or (user and "http" in address[1].lower()):  # a lone user of http is often a token
            return "before its host"
    inner = text[7:] if text[:7].lower() == "mlflow+" else text
    if _is_path(inner):
        return ""
    if "://" not in inner and inner[:5].lower() != "file:" and re.search(r":.*@", inner):
        return "before its host"
    for part in re.split(r"[?&;#]", text)[1:]:
        name, sign, value = part.partition("=")
        if sign and value and (is_secret_name(unquote(name)) or unquote(name).lower() in ("key", "pass")):
            return "in its query"
    return "with the shape of an access token" if has_secret_shape(unquote(text)) else ""


def _malformed(text: str, problem: str, hint: str) -> ConfigError:
    return ConfigError(f"the tracking URI {_shown(text)} {problem}", hint=redact(hint))


def _shown(text: str) -> str:
    return repr(shown(text, chars_max=SHOWN_CHARS_MAX))
