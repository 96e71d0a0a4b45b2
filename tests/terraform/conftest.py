"""What is not at hand is not collected, so that nothing is skipped: terraform, its providers, checkov."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_HAS_TERRAFORM = shutil.which("terraform") is not None
_HAS_PROVIDERS = _HAS_TERRAFORM and bool(os.environ.get("TF_PLUGIN_DIR"))
_HAS_CHECKOV = Path(__file__).parents[2].joinpath(".venv-terraform", "bin", "checkov").is_file()

collect_ignore = [
    *([] if _HAS_TERRAFORM else ["test_terraform.py", "test_documents.py"]),
    *([] if _HAS_PROVIDERS else ["test_providers.py"]),
    *([] if _HAS_CHECKOV else ["test_checkov.py"]),
]
