locals {
  # The table alone: a file has one tracking_uri.
  azure_remote = regex("(?s)\\[remotes\\..*", module.azureml.config_toml)

  in_aws = {
    AZURE_CLIENT_ID = azurerm_user_assigned_identity.migration.client_id
    AZURE_TENANT_ID = data.azurerm_client_config.current.tenant_id
    TOKEN_AUDIENCE  = local.azure_audience
  }
  in_azure = {
    AWS_REGION      = var.region
    AWS_ROLE_ARN    = module.sagemaker.role_arns["migration"]
    AZURE_CLIENT_ID = module.azureml.jobs_identity.client_id
    TOKEN_AUDIENCE  = azuread_application_identifier_uri.aws.identifier_uri
  }

  # A job has no .bridge/config.toml: it gets the addresses whole, with their options.
  azure_uri = "${module.azureml.tracking_uri}?artifacts=${regex("artifacts = \"(\\w+)\"", local.azure_remote)[0]}"
  migrate   = "python with_other_cloud.py bridge migrate '${module.sagemaker.tracking_uri}' '${local.azure_uri}' --yes"
}

output "config_toml" {
  description = "Both remotes: terraform output -raw config_toml > .bridge/config.toml. Runs go to SageMaker; tracking_uri = \"NAME,azure\" writes to both."
  value       = "${trimspace(module.sagemaker.config_toml)}\n\n${trimspace(local.azure_remote)}\n"
}

output "remote_lines" {
  description = "For a project that has a config.toml already."
  value       = concat(module.sagemaker.remote_lines, [module.azureml.remotes_command])
}

output "migrate" {
  description = "Shows what a migration would do; without --plan it does it."
  value       = "bridge migrate ${var.name} azure --plan"
}

output "migrate_in_aws" {
  description = "The same as a job of SageMaker; run it in this folder."
  value = join(" ", concat(
    ["bridge run --on ${var.name} --requirements requirements.txt --code ."],
    [for name, value in local.in_aws : "--env ${name}=${value}"],
    ["-- ${local.migrate}"],
  ))
}

output "migrate_in_azure" {
  description = "The same as a job of Azure ML, on a cluster: its machines have the identity that AWS knows. Run it in this folder."
  value = join(" ", concat(
    ["bridge run --on azure --compute ${module.azureml.clusters[0]} --requirements requirements.txt --code ."],
    [for name, value in local.in_azure : "--env ${name}=${value}"],
    ["-- ${local.migrate}"],
  ))
}
