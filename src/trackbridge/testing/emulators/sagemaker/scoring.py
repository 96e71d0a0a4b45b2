"""What an image with MLflow's scoring server runs: our own server, which listens on this machine alone."""

from __future__ import annotations

import os
import sys

from trackbridge.serving.container import main

if __name__ == "__main__":
    os.environ.setdefault("BRIDGE_MODEL_PATH", os.environ.get("SAGEMAKER_MODEL_DIR", "/opt/ml/model"))
    os.environ.setdefault("BRIDGE_SERVING_HOST", "127.0.0.1")
    raise SystemExit(main(sys.argv[1:]))
