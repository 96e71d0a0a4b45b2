# Names and ids that everything else uses. Read on in workspace.tf.

data "azurerm_client_config" "current" {}

locals {
  subscription_id   = "/subscriptions/${data.azurerm_client_config.current.subscription_id}"
  resource_group_id = "${local.subscription_id}/resourceGroups/${var.resource_group_name}"

  # A digest, and nothing random: where the vault was deleted, the same name finds it and brings it back.
  suffix = coalesce(var.name_suffix, substr(sha256("${lower(local.resource_group_id)}/${var.name}"), 0, 6))
  # Names that are unique in all of Azure take letters and digits alone; 2 + 16 + 6 are the 24 that storage and vaults take.
  unique_name = "${replace(var.name, "-", "")}${local.suffix}"

  is_private = var.private_network != null

  tags = merge(var.tags, {
    "managed-by" = "terraform"
    "module"     = "trackbridge-azureml"
    "workspace"  = var.name
  })
}
