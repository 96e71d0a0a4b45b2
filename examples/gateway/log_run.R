# Track a run from R with the packages curl and jsonlite alone, through `bridge gateway`.
#
#   bridge gateway --backend azureml: &
#   Rscript examples/gateway/log_run.R http://127.0.0.1:5000
#
# MLFLOW_TRACKING_TOKEN is the token, if the gateway demands one (`bridge gateway tokens add`). With the package
# mlflow, `mlflow_set_tracking_uri("http://127.0.0.1:5000")` is all that it needs.

library(curl)
library(jsonlite)

arguments <- commandArgs(trailingOnly = TRUE)
server <- if (length(arguments)) arguments[[1]] else "http://127.0.0.1:5000"

# One request below /api/2.0/; a status other than those that are expected ends the program.
ask <- function(method, path, body = raw(0), expected = 200) {
  handle <- new_handle(customrequest = method)
  if (length(body)) handle_setopt(handle, post = TRUE, postfieldsize = length(body), postfields = body)
  token <- Sys.getenv("MLFLOW_TRACKING_TOKEN")
  authorization <- if (nzchar(token)) list(Authorization = paste("Bearer", token)) else list()
  handle_setheaders(handle, .list = c(list(`Content-Type` = "application/json"), authorization))
  answer <- curl_fetch_memory(paste0(server, "/api/2.0/", path), handle = handle)
  text <- rawToChar(answer$content)
  if (!answer$status_code %in% expected) stop(path, ": ", answer$status_code, " ", text)
  invisible(if (nzchar(text)) fromJSON(text, simplifyVector = FALSE))
}

call <- function(path, ...) {
  ask("POST", paste0("mlflow/", path), charToRaw(toJSON(list(...), auto_unbox = TRUE, digits = NA)))
}

now_ms <- function() round(as.numeric(Sys.time()) * 1000)

found <- ask("GET", "mlflow/experiments/get-by-name?experiment_name=r", expected = c(200, 404))
experiment_id <- found$experiment$experiment_id
if (is.null(experiment_id)) experiment_id <- call("experiments/create", name = "r")$experiment_id

run <- call("runs/create", experiment_id = experiment_id, run_name = "r", start_time = now_ms())$run$info
points <- lapply(0:4, function(step) {
  list(key = "loss", value = 1 / (step + 1), step = step, timestamp = now_ms())
})
call(
  "runs/log-batch",
  run_id = run$run_id,
  params = list(list(key = "rate", value = "0.1")),
  tags = list(list(key = "language", value = "r")),
  metrics = points
)

# A file goes to the gateway as well: mlflow-artifacts:/... is .../mlflow-artifacts/artifacts/... there.
folder <- sub("mlflow-artifacts:/", "", run$artifact_uri, fixed = TRUE)
ask("PUT", paste0("mlflow-artifacts/artifacts/", folder, "/notes.txt"), charToRaw("logged by r\n"))
call("runs/update", run_id = run$run_id, status = "FINISHED", end_time = now_ms())
cat(run$run_id, "\n", sep = "")
