output "config_toml" {
  description = "terraform output -raw config_toml > .bridge/config.toml"
  value       = module.sagemaker.config_toml
}

output "tracking_uri" {
  description = "For BRIDGE_TRACKING_URI, where there is no config.toml."
  value       = module.sagemaker.tracking_uri
}

output "remote_lines" {
  description = "For a project that has a config.toml already."
  value       = module.sagemaker.remote_lines
}

output "role_arns" {
  description = "Role of each verb."
  value       = module.sagemaker.role_arns
}

output "alarm_names" {
  description = "For bridge deploy --alarm NAME."
  value       = module.sagemaker.alarm_names
}
