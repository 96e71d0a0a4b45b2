#!/bin/sh
# Track a run with nothing but curl, through `bridge gateway`.
#
#   bridge gateway --backend azureml: &
#   sh examples/gateway/log_run.sh http://127.0.0.1:5000
#
# MLFLOW_TRACKING_TOKEN is the token, if the gateway demands one (`bridge gateway tokens add`).
set -eu
server=${1:-http://127.0.0.1:5000}

# The token is read from standard input, so that no list of processes shows it.
send() {
    printf '%s\n' 'silent' 'show-error' 'fail-with-body' \
        ${MLFLOW_TRACKING_TOKEN:+"header = \"Authorization: Bearer $MLFLOW_TRACKING_TOKEN\""} |
        curl --config - "$@"
}

# call PATH BODY: one call of mlflow's REST API.
call() {
    send "$server/api/2.0/mlflow/$1" --header 'Content-Type: application/json' --data "$2"
}

# field NAME: its first text in the JSON on standard input; jq is better at it where it is installed.
field() {
    tr -d '\n' | sed -E "s/.*\"$1\": ?\"([^\"]*)\".*/\1/"
}

now_ms() {
    echo "$(date +%s)000"
}

experiment=$(send "$server/api/2.0/mlflow/experiments/get-by-name?experiment_name=curl" 2>/dev/null ||
    call experiments/create '{"name": "curl"}')
experiment_id=$(echo "$experiment" | field experiment_id)

run=$(call runs/create "{\"experiment_id\": \"$experiment_id\", \"run_name\": \"curl\", \"start_time\": $(now_ms)}")
run_id=$(echo "$run" | field run_id)
folder=$(echo "$run" | field artifact_uri)

call runs/log-parameter "{\"run_id\": \"$run_id\", \"key\": \"rate\", \"value\": \"0.1\"}" >/dev/null
call runs/set-tag "{\"run_id\": \"$run_id\", \"key\": \"language\", \"value\": \"curl\"}" >/dev/null
for step in 0 1 2 3 4; do
    loss=$(awk "BEGIN { print 1 / ($step + 1) }")
    point="{\"run_id\": \"$run_id\", \"key\": \"loss\", \"value\": $loss, \"step\": $step, \"timestamp\": $(now_ms)}"
    call runs/log-metric "$point" >/dev/null
done

# A file goes to the gateway as well: mlflow-artifacts:/… is …/mlflow-artifacts/artifacts/… there.
send "$server/api/2.0/mlflow-artifacts/artifacts/${folder#mlflow-artifacts:/}/log_run.sh" --upload-file "$0" >/dev/null
call runs/update "{\"run_id\": \"$run_id\", \"status\": \"FINISHED\", \"end_time\": $(now_ms)}" >/dev/null
echo "$run_id"
