"""Where Spark and Java are on this machine."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from pathlib import Path

from trackbridge_adapters.spark.config import Settings

SPARK_HINT = "pip install 'trackbridge[spark]', or set SPARK_HOME to where Spark is installed"
JAVA_HINT = "install Java 17 or later, and set JAVA_HOME"


def spark_home_of(settings: Settings) -> Path | None:
    """Return the folder that holds ``bin/spark-submit``; None where there is none."""
    home = settings.spark_home
    if home is None:
        found = find_spec("pyspark")
        home = Path(found.origin).parent if found is not None and found.origin else None
    return home if home is not None and (home / "bin" / "spark-submit").is_file() else None


def java() -> str | None:
    """Return the program that ``spark-submit`` will start; None where there is none."""
    home = os.environ.get("JAVA_HOME")
    return shutil.which(os.path.join(home, "bin", "java") if home else "java")
