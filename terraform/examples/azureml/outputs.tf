output "tracking_uri" {
  description = "For BRIDGE_TRACKING_URI."
  value       = module.azureml.tracking_uri
}

output "tracking_uri_long" {
  description = "The same as mlflow and the studio write it."
  value       = module.azureml.tracking_uri_long
}

output "remotes_command" {
  description = "Line for a shell."
  value       = module.azureml.remotes_command
}

output "config_toml" {
  description = "terraform output -raw config_toml > .bridge/config.toml"
  value       = module.azureml.config_toml
}

output "ci" {
  description = "What the workflows sign in with: client, tenant and subscription; no secret."
  value       = module.azureml.ci
}
