# Ready to paste.

locals {
  # ARM tells the host with the workspace; other clouds than the public one have others.
  host         = regex("^https://([^/]+)", azurerm_machine_learning_workspace.this.discovery_url)[0]
  tracking_uri = "azureml://${data.azurerm_client_config.current.subscription_id}/${var.resource_group_name}/${var.name}"

  # Without shared keys files of runs go with one's own sign-in; with them by addresses that Azure ML signs.
  artifacts = var.storage_shared_keys_enabled ? "addresses" : "account"
}

output "tracking_uri" {
  description = "For BRIDGE_TRACKING_URI, --uri and tb.Client."
  value       = local.tracking_uri
}

output "tracking_uri_long" {
  description = "The same as mlflow and the studio write it."
  value       = "azureml://${local.host}/mlflow/v1.0${azurerm_machine_learning_workspace.this.id}"
}

output "remote_name" {
  description = "Name of the remote in remotes_command and config_toml."
  value       = var.remote_name
}

output "remotes_command" {
  description = "Line for a shell that makes the workspace a remote of the project."
  value       = "bridge remotes add ${var.remote_name} ${local.tracking_uri} --option artifacts=${local.artifacts}"
}

output "config_toml" {
  description = "Content of .bridge/config.toml: terraform output -raw config_toml > .bridge/config.toml"
  value = templatefile("${path.module}/config.toml.tftpl", {
    remote_name  = var.remote_name
    tracking_uri = local.tracking_uri
    artifacts    = local.artifacts
  })
}

output "config_json" {
  description = "Content of config.json, by which azureml: and Azure's own SDK find the workspace."
  value = jsonencode({
    subscription_id = data.azurerm_client_config.current.subscription_id
    resource_group  = var.resource_group_name
    workspace_name  = var.name
  })
}

output "clusters" {
  description = "Names for bridge run --compute."
  value       = sort(keys(azurerm_machine_learning_compute_cluster.this))
}

# What else is built on.

output "workspace_id" {
  description = "Resource id of the workspace."
  value       = azurerm_machine_learning_workspace.this.id
}

output "workspace_principal_id" {
  description = "Object id of the workspace's own identity, for rights on further storage."
  value       = azurerm_machine_learning_workspace.this.identity[0].principal_id
}

output "studio_url" {
  description = "The workspace in the studio."
  value       = "https://ml.azure.com/?wsid=${azurerm_machine_learning_workspace.this.id}&tid=${data.azurerm_client_config.current.tenant_id}"
}

output "storage_account" {
  description = "Name and resource id of the storage account."
  value = {
    name = azurerm_storage_account.this.name
    id   = azurerm_storage_account.this.id
  }
}

output "key_vault" {
  description = "Name and resource id of the key vault: az keyvault secret set --vault-name NAME …"
  value = {
    name = azurerm_key_vault.this.name
    id   = azurerm_key_vault.this.id
  }
}

output "container_registry" {
  description = "Server and resource id of the container registry."
  value = {
    server = azurerm_container_registry.this.login_server
    id     = azurerm_container_registry.this.id
  }
}

output "jobs_identity" {
  description = "Identity of the machines of jobs, for rights on further data."
  value = {
    id           = azurerm_user_assigned_identity.jobs.id
    client_id    = azurerm_user_assigned_identity.jobs.client_id
    principal_id = azurerm_user_assigned_identity.jobs.principal_id
  }
}

output "ci" {
  description = "By name of ci_identities what the pipeline signs in with; none of it is a secret."
  value = {
    for name, identity in azurerm_user_assigned_identity.ci : name => {
      client_id       = identity.client_id
      tenant_id       = data.azurerm_client_config.current.tenant_id
      subscription_id = data.azurerm_client_config.current.subscription_id
    }
  }
}

output "role_definition_ids" {
  description = "Ids of the roles, to assign elsewhere: by verb, and by VERB-SCOPE where it needs something of the resource_group or the subscription."
  value       = { for name, role in azurerm_role_definition.verb : name => role.role_definition_resource_id }
}

output "tenant_id" {
  description = "Tenant of Entra ID that owns the subscription."
  value       = data.azurerm_client_config.current.tenant_id
}

output "private_network" {
  description = "Resource ids of the virtual network and of its DNS zones; null without a private network."
  value = local.is_private ? {
    id       = azurerm_virtual_network.this[0].id
    zone_ids = { for name, zone in azurerm_private_dns_zone.this : name => zone.id }
  } : null
}
