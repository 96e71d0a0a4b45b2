"""Which workspace, and how to sign in: options, then the profile, then the environment.

``databricks://PROFILE`` and ``DATABRICKS_CONFIG_PROFILE`` name a section of the file of profiles, and all is
taken from it. Without a name the ``DATABRICKS_…`` variables count, and where they name no host, the section
``DEFAULT``. A section has nothing from ``DEFAULT``: a token is sent to the host that it was written for, and
to no other.

=====================  ==============================  ================================================
option                 variable                        what it is
=====================  ==============================  ================================================
``host``               ``DATABRICKS_HOST``             address of the workspace
``token_env``          ``DATABRICKS_TOKEN``            the option names a variable with a token
``token_file``                                         a file with one, read again when it changes
``client_id``          ``DATABRICKS_CLIENT_ID``        of a service principal
``client_secret_env``  ``DATABRICKS_CLIENT_SECRET``    the option names a variable with its secret
``config_file``        ``DATABRICKS_CONFIG_FILE``      the file of profiles, ``~/.databrickscfg`` without
``experiment_folder``                                  where experiments go whose name is no path
``model_schema``                                       ``catalog.schema`` for models of any other name
``job_folder``                                         a folder in a volume, for the files of jobs
``job_node_type``                                      the instance type of jobs that name none
``job_spark_version``                                  the runtime of jobs; by default the newest LTS
``job_notice_s``                                       seconds between SIGTERM and SIGKILL, 30 without
``ca_file``                                            certificates that are trusted
``timeout_s``          ``MLFLOW_HTTP_REQUEST_TIMEOUT``  seconds to wait for an answer
=====================  ==============================  ================================================
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, urlsplit

from trackbridge.domain.secrets import shown
from trackbridge.errors import ConfigError
from trackbridge.transport.http import ANSWER_S
from trackbridge_adapters._mlflow_rest.options import existing_file, timeout_s

ADAPTER = "databricks"
CONFIG_FILE = "~/.databrickscfg"
CONFIG_BYTES_MAX = 1024 * 1024
DEFAULT_PROFILE = "DEFAULT"
OPTIONS = frozenset(
    {
        "host",
        "token_env",
        "token_file",
        "client_id",
        "client_secret_env",
        "config_file",
        "experiment_folder",
        "model_schema",
        "job_folder",
        "job_node_type",
        "job_spark_version",
        "job_notice_s",
        "ca_file",
        "timeout_s",
    }
)
_URI = re.compile(r"databricks(?:-uc)?(?::(?://(?P<profile>[^/@\s]{1,256}))?)?")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,251}[A-Za-z0-9])?(?::[0-9]{1,5})?")
ACCOUNT_HOSTS = frozenset(
    {"accounts.cloud.databricks.com", "accounts.azuredatabricks.net", "accounts.gcp.databricks.com"}
)
_LOOPBACK = frozenset({"localhost", "127.0.0.1"})
_NO_PROFILE_HINT = "make it: databricks configure --profile NAME, or set DATABRICKS_HOST and DATABRICKS_TOKEN"


@dataclass(frozen=True, slots=True)
class Login:
    """A workspace and how to sign in to it: with a token, a file of one, or a service principal."""

    host: str
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    client_id: str | None = None
    client_secret: str | None = field(default=None, repr=False)
    experiment_folder: str | None = None
    verify: bool | str = True
    answer_s: float = ANSWER_S


def login_of(uri: str, options: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> Login:
    """Read the URI, the options, the profile and the environment.

    Raises:
        ConfigError: One of them is wrong, or there is no host or nothing to sign in with.
    """
    match = _URI.fullmatch(uri)
    if match is None:
        raise _wrong(f"{shown(uri)!r} names no profile", "write databricks, or databricks://PROFILE")
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise _wrong(f"the option {unknown[0]!r} is unknown", f"known are {', '.join(sorted(OPTIONS))}")
    found = _settings(match["profile"], options, environment)
    return Login(
        host=_host(found.get("host")),
        experiment_folder=_experiment_folder(options),
        verify=existing_file(options.get("ca_file"), adapter=ADAPTER, hint="check the option 'ca_file'")
        or True,
        answer_s=timeout_s(
            options.get("timeout_s") or environment.get("MLFLOW_HTTP_REQUEST_TIMEOUT"), adapter=ADAPTER
        ),
        **_credentials(found, options, environment),  # type: ignore[arg-type]
    )


def canonical_uri(
    uri: str, *, options: Mapping[str, str], environment: Mapping[str, str], folder: Path
) -> str:
    """Return ``databricks:`` with the profile or the host that it means here; one with a profile stays."""
    match = _URI.fullmatch(uri)
    if match is None or match["profile"] or options.get("host"):
        return uri
    scheme = uri.partition(":")[0]
    profile, host = environment.get("DATABRICKS_CONFIG_PROFILE"), environment.get("DATABRICKS_HOST")
    if profile or not host:
        named = f"{scheme}://{profile or DEFAULT_PROFILE}"
        return named if _URI.fullmatch(named) else uri
    return f"{scheme}:?host={quote(_host(host), safe='')}"


def _settings(
    profile: str | None, options: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, str]:
    """Return host and credentials as a profile's section has them."""
    named = profile or environment.get("DATABRICKS_CONFIG_PROFILE")
    file = Path(
        options.get("config_file") or environment.get("DATABRICKS_CONFIG_FILE") or CONFIG_FILE
    ).expanduser()
    if named:
        return _with_options(_section(file, named), options)
    variables = {
        name: environment[f"DATABRICKS_{name.upper()}"].strip()
        for name in ("host", "token", "client_id", "client_secret")
        if environment.get(f"DATABRICKS_{name.upper()}")
    }
    if "host" in variables or "host" in options:
        return _with_options(variables, options)
    if not file.exists():
        raise _wrong(
            f"no workspace is named: DATABRICKS_HOST is not set, and there is no {file}",
            "set DATABRICKS_HOST and DATABRICKS_TOKEN, or run: databricks configure",
        )
    return _with_options(_section(file, DEFAULT_PROFILE), options)


def _with_options(found: dict[str, str], options: Mapping[str, str]) -> dict[str, str]:
    """Put the options before what was found; what was found for another host is left out."""
    given = {name: options[name] for name in ("host", "client_id") if options.get(name)}
    is_elsewhere = "host" in given and "host" in found and _host(given["host"]) != _host(found["host"])
    return given if is_elsewhere else {**found, **given}


def _section(file: Path, profile: str) -> dict[str, str]:
    # No section is the default one: a profile without a token would get the token of another workspace.
    parser = ConfigParser(interpolation=None, default_section="\0", strict=False)
    try:
        with file.open("rb") as opened:
            content = opened.read(CONFIG_BYTES_MAX + 1)
        if len(content) > CONFIG_BYTES_MAX:
            raise _wrong(f"{file} is larger than a file of profiles can be", "check the path")
        parser.read_string(content.decode("utf-8-sig"))
    except FileNotFoundError:
        raise _wrong(f"there is no profile {profile!r}: {file} does not exist", _NO_PROFILE_HINT) from None
    except (OSError, ConfigParserError, UnicodeDecodeError) as error:
        # Not the error itself: it quotes the line, which may be the token's.
        raise _wrong(
            f"{file} cannot be read: {type(error).__name__}", "repair the file, or write it anew"
        ) from None
    if not parser.has_section(profile):
        known = ", ".join(shown(name) for name in parser.sections()[:20]) or "none"
        raise _wrong(f"{file} has no profile {profile!r}; it has {known}", _NO_PROFILE_HINT)
    return {name: value.strip() for name, value in parser.items(profile) if value and value.strip()}


def _credentials(
    found: Mapping[str, str], options: Mapping[str, str], environment: Mapping[str, str]
) -> dict[str, object]:
    if "token_file" in options:
        return {
            "token_file": Path(
                existing_file(
                    options.get("token_file"), adapter=ADAPTER, hint="check the option 'token_file'"
                )
                or ""
            )
        }
    if "token_env" in options:
        return {"token": _variable("token_env", options, environment)}
    secret = found.get("client_secret")
    if "client_secret_env" in options:
        secret = _variable("client_secret_env", options, environment)
    # A token that is written down goes before a service principal, as for Databricks' own clients.
    if found.get("token") and "client_secret_env" not in options:
        return {"token": found["token"]}
    if found.get("client_id") and secret:
        return {"client_id": found["client_id"], "client_secret": secret}
    raise _nothing_to_sign_in_with(found)


def _nothing_to_sign_in_with(found: Mapping[str, str]) -> ConfigError:
    hint = (
        "set DATABRICKS_TOKEN, or DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET, or write them down there"
    )
    if found.get("client_id"):
        return _wrong("the service principal has a client_id and no client_secret", hint)
    kind = found.get("auth_type")
    if kind:
        return _wrong(f"signing in with auth_type {shown(kind)!r} is not known here", hint)
    if found.get("username") or found.get("password"):
        return _wrong("Databricks takes no user names and passwords any more", hint)
    return _wrong(f"there is nothing to sign in to {shown(found.get('host', 'the workspace'))} with", hint)


def _host(text: str | None) -> str:
    """Return scheme and host; a path and a query, as they stand in a browser, are dropped."""
    if not text:
        raise _wrong("the profile names no host", "add: host = https://….cloud.databricks.com")
    hint = "write it as https://….cloud.databricks.com or https://adb-….azuredatabricks.net"
    text = text.strip()
    if not text.isprintable() or " " in text:  # urlsplit drops some of these
        raise _wrong("the host of the workspace is no address", hint)
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        host = parts.netloc
        loopback = parts.hostname in _LOOPBACK
    except ValueError:
        raise _wrong("the host of the workspace is no address", hint) from None
    if not _HOST.fullmatch(host):
        raise _wrong("the host of the workspace is no address", hint)
    if parts.hostname in ACCOUNT_HOSTS:
        raise _wrong(f"{host} is the console of the account, and not a workspace", hint)
    if parts.scheme != "https" and not (parts.scheme == "http" and loopback):
        raise _wrong("the workspace's address does not begin with https://", hint)
    return f"{parts.scheme}://{host}"


def _experiment_folder(options: Mapping[str, str]) -> str | None:
    folder = options.get("experiment_folder")
    if folder is not None and not re.fullmatch(r"(?:/[^/\x00-\x1f]+)+", folder):
        raise _wrong(
            "the option 'experiment_folder' is no path of a workspace", "write it as /Shared/our-team"
        )
    return folder


def model_schema_of(options: Mapping[str, str]) -> str | None:
    """Return the schema of Unity Catalog for models whose name has not three levels.

    Raises:
        ConfigError: The option names no schema.
    """
    schema = options.get("model_schema")
    if schema is not None and not re.fullmatch(r"[^./\s\x00-\x1fA-Z]+\.[^./\s\x00-\x1fA-Z]+", schema):
        raise _wrong("the option 'model_schema' is no schema of Unity Catalog", "write it as main.our_team")
    return schema


def _variable(option: str, options: Mapping[str, str], environment: Mapping[str, str]) -> str:
    name = options[option]
    value = environment.get(name)
    if not value:
        raise _wrong(
            f"the variable {shown(name)}, which {option} names, is not set", f"export {shown(name)}=…"
        )
    return value.strip()


def _wrong(message: str, hint: str) -> ConfigError:
    return ConfigError(message, adapter=ADAPTER, hint=hint)
