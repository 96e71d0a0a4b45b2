"""How to sign in to an MLflow server, from the remote's options and mlflow's own variables.

Options of a remote win; what they leave open is taken from the environment, as mlflow's client takes it.
Options never hold credentials: they name the variable or the file that does.

==================  =========================================  ===========================================
option              variable of mlflow                         what it is
==================  =========================================  ===========================================
``token_env``       ``MLFLOW_TRACKING_TOKEN``                  names a variable with a bearer token
``token_file``                                                 a file with one, read again when it changes
``username_env``    ``MLFLOW_TRACKING_USERNAME``               for basic authentication
``password_env``    ``MLFLOW_TRACKING_PASSWORD``               for basic authentication
``ca_file``         ``MLFLOW_TRACKING_SERVER_CERT_PATH``       certificates that are trusted
``certificate``     ``MLFLOW_TRACKING_CLIENT_CERT_PATH``       our own certificate, for mutual TLS
``certificate_key``                                            its key, where that is another file
``insecure``        ``MLFLOW_TRACKING_INSECURE_TLS``           ``true``: trust any certificate
``timeout_s``       ``MLFLOW_HTTP_REQUEST_TIMEOUT``            seconds to wait for an answer
==================  =========================================  ===========================================
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from configparser import ConfigParser
from configparser import Error as ConfigParserError
from dataclasses import dataclass
from pathlib import Path

from trackbridge.errors import ConfigError
from trackbridge.transport.authentication import BasicLogin, BearerToken, TokenFile
from trackbridge.transport.http import Authentication
from trackbridge_adapters._mlflow_rest.options import existing_file, timeout_s

ADAPTER = "mlflow"
OPTIONS = frozenset(
    {
        "token_env",
        "token_file",
        "username_env",
        "password_env",
        "ca_file",
        "certificate",
        "certificate_key",
        "insecure",
        "timeout_s",
    }
)
CREDENTIALS_FILE = Path("~/.mlflow/credentials")


@dataclass(frozen=True, slots=True)
class Login:
    """How a server is talked to. The authentication does not show its secret."""

    authentication: Authentication | None
    verify: bool | str
    certificate: tuple[str, str] | str | None
    answer_s: float


def login_of(options: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> Login:
    """Read the options and the environment.

    Raises:
        ConfigError: An option is unknown or wrong, or names a variable that is not set.
    """
    unknown = sorted(set(options) - OPTIONS)
    if unknown:
        raise _wrong(f"the option {unknown[0]!r} is unknown", f"known are {', '.join(sorted(OPTIONS))}")
    certificate = existing_file(
        options.get("certificate") or environment.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"), adapter=ADAPTER
    )
    key = existing_file(options.get("certificate_key"), adapter=ADAPTER)
    return Login(
        authentication=_authentication(options, environment),
        verify=_verify(options, environment),
        certificate=(certificate, key) if certificate and key else certificate,
        answer_s=timeout_s(
            options.get("timeout_s") or environment.get("MLFLOW_HTTP_REQUEST_TIMEOUT"), adapter=ADAPTER
        ),
    )


def _authentication(options: Mapping[str, str], environment: Mapping[str, str]) -> Authentication | None:
    if "token_file" in options:
        return TokenFile(Path(existing_file(options["token_file"], adapter=ADAPTER) or ""), adapter=ADAPTER)
    if "token_env" in options:
        return BearerToken(_variable("token_env", options, environment), adapter=ADAPTER)
    if "username_env" in options:
        username = _variable("username_env", options, environment)
        return BasicLogin(username, _variable("password_env", options, environment), adapter=ADAPTER)
    user = environment.get("MLFLOW_TRACKING_USERNAME")
    secret = environment.get("MLFLOW_TRACKING_PASSWORD")
    if user is None or secret is None:
        user, secret = _from_credentials_file(user, secret)
    if user and secret is not None:
        return BasicLogin(user, secret, adapter=ADAPTER)
    token = environment.get("MLFLOW_TRACKING_TOKEN")
    return BearerToken(token, adapter=ADAPTER) if token else None


def _from_credentials_file(username: str | None, password: str | None) -> tuple[str | None, str | None]:
    """Read ``~/.mlflow/credentials``, where the environment leaves something open."""
    parser = ConfigParser(interpolation=None)
    try:
        parser.read(CREDENTIALS_FILE.expanduser(), encoding="utf-8")
    except (ConfigParserError, UnicodeDecodeError) as error:
        raise _wrong(
            f"{CREDENTIALS_FILE} cannot be read: {type(error).__name__}", "see mlflow's manual"
        ) from None
    if not parser.has_section("mlflow"):
        return username, password
    section = parser["mlflow"]
    return (
        username or section.get("mlflow_tracking_username"),
        password if password is not None else section.get("mlflow_tracking_password"),
    )


def _verify(options: Mapping[str, str], environment: Mapping[str, str]) -> bool | str:
    file = existing_file(
        options.get("ca_file") or environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH"), adapter=ADAPTER
    )
    if file:
        return file
    return (options.get("insecure") or environment.get("MLFLOW_TRACKING_INSECURE_TLS") or "").lower() not in (
        "true",
        "1",
    )


def _variable(option: str, options: Mapping[str, str], environment: Mapping[str, str]) -> str:
    name = options.get(option)
    if not name:
        raise _wrong(f"the option {option!r} is missing", f"add it: --option {option}=VARIABLE")
    value = environment.get(name)
    if not value:
        raise _wrong(f"the variable {name}, which {option} names, is not set", f"export {name}=…")
    return value


def _wrong(message: str, hint: str) -> ConfigError:
    return ConfigError(message, adapter=ADAPTER, hint=hint)
