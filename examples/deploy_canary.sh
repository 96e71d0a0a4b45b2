#!/bin/sh
# Deploy the challenger of a model step by step, watched by guards, and make it the champion when it has passed.
#
#   examples/deploy_canary.sh                       # on this machine
#   examples/deploy_canary.sh azureml --instances 2 # further words go to bridge deploy, before deployment.yaml
#
# Needs the extras mlflow and serve; BRIDGE_TRACKING_URI says where the model is registered. The first version of
# an endpoint gets all requests at once. A guard that is broken gives the traffic back by itself: exit code 1.
# With too few requests to judge by it waits for a person: exit code 8, `bridge rollouts show wine`.
set -eu
here=$(dirname "$0")
target=${1:-local}
[ $# -eq 0 ] || shift

bridge deploy -f "$here/deployment.yaml" --target "$target" --yes "$@"
bridge models alias models:/wine@challenger champion --why "passed its canary at $target"
bridge endpoints show wine --target "$target"
# Should it turn out bad later: bridge endpoints rollback wine --target "$target"
