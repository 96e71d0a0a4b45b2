# The workspace, and what Azure ML wants beside it: telemetry, a key vault, a container registry; storage is in storage.tf.

resource "azurerm_log_analytics_workspace" "this" {
  name                = "log-${var.name}"
  resource_group_name = var.resource_group_name
  location            = var.location
  sku                 = "PerGB2018"
  retention_in_days   = var.logs_retention_days
  daily_quota_gb      = var.logs_daily_max_gb
  tags                = local.tags
}

resource "azurerm_application_insights" "this" {
  name                = "appi-${var.name}"
  resource_group_name = var.resource_group_name
  location            = var.location
  workspace_id        = azurerm_log_analytics_workspace.this.id
  application_type    = "web"
  retention_in_days   = var.logs_retention_days
  tags                = local.tags
}

resource "azurerm_key_vault" "this" {
  #checkov:skip=CKV_AZURE_189:private_network closes it; without, sign-in and a role are asked for, and nothing else
  #checkov:skip=CKV2_AZURE_32:private_network makes the endpoint (network.tf), which this check does not see behind for_each

  name                          = "kv${local.unique_name}"
  resource_group_name           = var.resource_group_name
  location                      = var.location
  tenant_id                     = data.azurerm_client_config.current.tenant_id
  sku_name                      = "standard"
  rbac_authorization_enabled    = true
  purge_protection_enabled      = true
  soft_delete_retention_days    = var.key_vault_retention_days
  public_network_access_enabled = !local.is_private
  tags                          = local.tags

  network_acls {
    # Azure ML writes its own secrets by way of the exception for Azure's services.
    bypass         = "AzureServices"
    default_action = local.is_private ? "Deny" : "Allow"
  }
}

resource "azurerm_container_registry" "this" {
  #checkov:skip=CKV_AZURE_139:private_network closes it; without, sign-in and a role are asked for, and nothing else
  #checkov:skip=CKV_AZURE_163:scanning is Defender's, which a subscription turns on for every tier; container_registry_sku chooses
  #checkov:skip=CKV_AZURE_164:Azure refuses to turn content trust on since it is being removed, and Azure ML signs no images
  #checkov:skip=CKV_AZURE_165:images are built again from their environments; a second region doubles the price
  #checkov:skip=CKV_AZURE_166:Azure ML does not pull what is in quarantine
  #checkov:skip=CKV_AZURE_167:needs Premium, whose price is ten times that of Basic
  #checkov:skip=CKV_AZURE_233:images are built again from their environments
  #checkov:skip=CKV_AZURE_237:a private endpoint has its data endpoint; without a private network nothing is filtered by names

  name                          = "cr${local.unique_name}"
  resource_group_name           = var.resource_group_name
  location                      = var.location
  sku                           = local.is_private ? "Premium" : var.container_registry_sku
  admin_enabled                 = false # a password would be in Terraform's state
  anonymous_pull_enabled        = false
  public_network_access_enabled = !local.is_private
  network_rule_bypass_option    = "AzureServices"
  tags                          = local.tags
}

resource "azurerm_machine_learning_workspace" "this" {
  #checkov:skip=CKV2_AZURE_49:private_network closes it; without, sign-in and a role are asked for, and nothing else
  #checkov:skip=CKV2_AZURE_50:private_network closes it; without, sign-in and a role are asked for, and nothing else

  name                          = var.name
  resource_group_name           = var.resource_group_name
  location                      = var.location
  application_insights_id       = azurerm_application_insights.this.id
  key_vault_id                  = azurerm_key_vault.this.id
  storage_account_id            = azurerm_storage_account.this.id
  storage_account_access_type   = var.storage_shared_keys_enabled ? "AccessKey" : "Identity"
  container_registry_id         = azurerm_container_registry.this.id
  public_network_access_enabled = !local.is_private
  v1_legacy_mode_enabled        = false
  tags                          = local.tags

  # Behind private endpoints Azure's own builders do not reach the registry: a cluster builds the images.
  image_build_compute_name = local.is_private ? local.build_cluster : null

  # The workspace itself is its system-assigned identity, whose rights on storage, vault and registry Azure sets:
  # assigning them here, too, would fail with RoleAssignmentExists. Serverless jobs take the other one.
  identity {
    type         = "SystemAssigned, UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.jobs.id]
  }

  # The network of the machines of jobs, serverless ones too, and of online endpoints. Made at once, since a cluster
  # without public addresses is refused until it is there.
  dynamic "managed_network" {
    for_each = local.is_private ? ["AllowInternetOutbound"] : []

    content {
      isolation_mode                = managed_network.value
      provision_on_creation_enabled = true
    }
  }

  timeouts {
    create = "90m" # the managed network alone takes about half an hour
  }

  lifecycle {
    # It is about the first apply. Where Azure does not say it again, or where the private network comes later, a plan
    # would otherwise make the workspace anew, and all runs would be lost.
    ignore_changes = [managed_network[0].provision_on_creation_enabled]
  }
}
