"""Java for many short drivers: both machines of a spark-submit start from an archive of what they load."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pyspark

QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
CONF = {
    "spark.ui.enabled": "false",
    "spark.driver.extraJavaOptions": QUICK_JAVA,
    "spark.executor.extraJavaOptions": QUICK_JAVA,
}
ARCHIVING_S = 120
_PARTS = {"SPARK_LAUNCHER_OPTS": "launcher.jsa", "SPARK_SUBMIT_OPTS": "submit.jsa"}


def quick_environment(folder: Path) -> dict[str, str]:
    """Make the archives in a folder, which takes some seconds, and return the variables that use them.

    A Java that cannot make one starts as it always does.
    """
    program = folder / "nothing.py"
    program.write_text("", encoding="utf-8")
    home = Path(pyspark.__file__).parent
    making = {name: f"{QUICK_JAVA} -XX:ArchiveClassesAtExit={folder / file}" for name, file in _PARTS.items()}
    subprocess.run(
        [home / "bin" / "spark-submit", "--master", "local[1]", program],
        env={**os.environ, **making, "SPARK_HOME": str(home), "PYSPARK_PYTHON": sys.executable},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=ARCHIVING_S,
        check=False,
    )
    return {
        name: f"{QUICK_JAVA} -XX:SharedArchiveFile={folder / file}"
        if (folder / file).exists()
        else QUICK_JAVA
        for name, file in _PARTS.items()
    } | {"SPARK_LOCAL_IP": "127.0.0.1"}
