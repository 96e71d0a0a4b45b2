# Identities without a secret: one of the machines of jobs, and one for each pipeline that signs in with its own token.

resource "azurerm_user_assigned_identity" "jobs" {
  name                = "id-${var.name}-jobs"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = local.tags
}

locals {
  jobs_roles = {
    "files" = {
      role  = "Storage Blob Data Contributor"
      scope = azurerm_storage_account.this.id
      why   = "Inputs, outputs, checkpoints and models of jobs"
    }
    "queues" = {
      role  = "Storage Queue Data Contributor"
      scope = azurerm_storage_account.this.id
      why   = "Batch endpoints hand out their work by queues"
    }
    "tables" = {
      role  = "Storage Table Data Contributor"
      scope = azurerm_storage_account.this.id
      why   = "Batch endpoints note their progress in tables"
    }
    "images" = {
      role  = "AcrPull"
      scope = azurerm_container_registry.this.id
      why   = "Images that jobs run in"
    }
    "secrets" = {
      role  = "Key Vault Secrets User"
      scope = azurerm_key_vault.this.id
      why   = "Secrets of a job: NAME=keyvault:SECRET"
    }
  }
}

resource "azurerm_role_assignment" "jobs" {
  for_each = local.jobs_roles

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_user_assigned_identity.jobs.principal_id
  principal_type       = "ServicePrincipal"
  description          = each.value.why
}

# One identity for each pipeline: each has its own verbs, and Azure refuses to write two credentials of one identity at
# the same time.
resource "azurerm_user_assigned_identity" "ci" {
  for_each = var.ci_identities

  name                = "id-${var.name}-ci-${each.key}"
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = local.tags
}

resource "azurerm_federated_identity_credential" "ci" {
  for_each = var.ci_identities

  name                      = each.key
  user_assigned_identity_id = azurerm_user_assigned_identity.ci[each.key].id
  audience                  = ["api://AzureADTokenExchange"]
  issuer                    = each.value.github != null ? "https://token.actions.githubusercontent.com" : each.value.azure_pipelines.issuer
  subject                   = each.value.github != null ? each.value.github : each.value.azure_pipelines.subject
}
