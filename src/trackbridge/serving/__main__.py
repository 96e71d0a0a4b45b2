"""``python -m trackbridge.serving CONFIG.json``; the file holds ``ServingSettings`` of the domain as JSON."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from trackbridge.domain.serving import ServingSettings
from trackbridge.errors import BridgeError, ConfigError
from trackbridge.serving import serve


def read_settings(path: Path) -> ServingSettings:
    """Read the settings from a JSON file.

    Raises:
        ConfigError: The file cannot be read, or is not such settings; says where.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=ServingSettings)
    except OSError as error:
        raise ConfigError(
            f"the server's settings cannot be read: {error}", hint="give the path of a JSON file"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path} does not hold the settings of a server: {error}",
            hint="see trackbridge.domain.serving.ServingSettings",
        ) from error


def main(arguments: list[str]) -> int:
    """Serve until told to end; the last line on stderr says what was wrong."""
    if len(arguments) != 1:
        print("usage: python -m trackbridge.serving CONFIG.json", file=sys.stderr)  # noqa: T201
        return 2
    try:
        serve(read_settings(Path(arguments[0])))
    except BridgeError as error:
        hint = f"; {error.hint}" if error.hint else ""
        print(f"error: {error}{hint}", file=sys.stderr, flush=True)  # noqa: T201
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
