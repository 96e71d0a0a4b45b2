"""What an image with MLflow's scoring server runs: serves ``/opt/ml/model``; the argument is the port."""

from __future__ import annotations

import os
import sys

from trackbridge.domain.serving import ServingSettings
from trackbridge.serving import serve

if __name__ == "__main__":
    model = os.environ.get("SAGEMAKER_MODEL_DIR", "/opt/ml/model")
    serve(ServingSettings(model_path=model, port=int(sys.argv[1])))
