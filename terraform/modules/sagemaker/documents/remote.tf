# What is pasted into a project.

locals {
  uri = "sagemaker://${var.region}${var.prefix == "" ? "" : "/${var.prefix}"}"
  options = merge(
    { bucket = var.bucket_name, job_role = local.execution_role_arn },
    var.options,
  )
  query = join("&", [for name in sort(keys(local.options)) : "${name}=${urlencode(local.options[name])}"])

  mlflow_name = "${var.remote_name}-mlflow"
  more = join("\n", concat(
    [for name, value in var.options : "${name} = ${jsonencode(value)}"],
    [for uri in var.has_mlflow ? [var.mlflow_uri] : [] : "\n[remotes.${local.mlflow_name}]\nuri = ${jsonencode(uri)}"],
  ))

  config_toml = "${trimspace(templatefile("${path.module}/../config.toml.tftpl", {
    remote_name = var.remote_name
    uri         = local.uri
    bucket      = var.bucket_name
    job_role    = local.execution_role_arn
    more        = local.more
  }))}\n"

  remote_lines = concat(
    [join(" ", concat(
      ["bridge remotes add ${var.remote_name} ${local.uri}"],
      [for name in sort(keys(local.options)) : "--option ${name}=${local.options[name]}"],
    ))],
    [for uri in var.has_mlflow ? [var.mlflow_uri] : [] : "bridge remotes add ${local.mlflow_name} ${uri}"],
  )
}
