"""Write ``permissions.json`` of the Terraform modules, or tell which of them are not what the tables say."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from trackbridge.testing.permissions import aws, azure
from trackbridge.testing.permissions.tables import Table

FILES: dict[str, Table] = {
    "modules/azureml/permissions.json": azure.TABLE,
    "modules/sagemaker/permissions.json": aws.TABLE,
}


def main(arguments: list[str] | None = None) -> int:
    """Return 0 when all files are as they should be, or were written; 1 when one is not."""
    parser = argparse.ArgumentParser(prog="python -m trackbridge.testing.permissions", description=__doc__)
    parser.add_argument("--write", action="store_true", help="write what differs")
    parser.add_argument("--terraform", type=Path, default=Path("terraform"), help="the folder of the modules")
    asked = parser.parse_args(arguments)
    stale = [name for name, table in FILES.items() if _content(asked.terraform / name) != table.text()]
    for name in stale:
        if asked.write:
            (asked.terraform / name).parent.mkdir(parents=True, exist_ok=True)
            (asked.terraform / name).write_text(FILES[name].text(), encoding="utf-8")
        sys.stdout.write(
            f"{'written' if asked.write else 'not as the tables say'}: {asked.terraform / name}\n"
        )
    return 1 if stale and not asked.write else 0


def _content(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


if __name__ == "__main__":
    sys.exit(main())
