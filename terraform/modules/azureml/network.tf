# With private_network alone: the ways in. The way out of jobs and endpoints is the workspace's managed network
# (workspace.tf), which makes its own private endpoints to storage, vault and registry.

locals {
  # What people and pipelines reach from the network, and the zones that its names are in.
  endpoints = local.is_private ? {
    workspace = {
      resource_id = azurerm_machine_learning_workspace.this.id
      subresource = "amlworkspace"
      zones       = ["privatelink.api.azureml.ms", "privatelink.notebooks.azure.net"]
    }
    blob = {
      resource_id = azurerm_storage_account.this.id
      subresource = "blob"
      zones       = ["privatelink.blob.core.windows.net"]
    }
    file = {
      resource_id = azurerm_storage_account.this.id
      subresource = "file"
      zones       = ["privatelink.file.core.windows.net"]
    }
    vault = {
      resource_id = azurerm_key_vault.this.id
      subresource = "vault"
      zones       = ["privatelink.vaultcore.azure.net"]
    }
    registry = {
      resource_id = azurerm_container_registry.this.id
      subresource = "registry"
      zones       = ["privatelink.azurecr.io"]
    }
  } : {}

  zones = toset(flatten([for endpoint in local.endpoints : endpoint.zones]))

  networks = local.is_private ? merge(
    { this = azurerm_virtual_network.this[0].id },
    { for name, id in var.private_network.linked_network_ids : "linked-${name}" => id },
  ) : {}

  zone_links = {
    for pair in setproduct(local.zones, keys(local.networks)) :
    "${pair[0]} ${pair[1]}" => { zone = pair[0], network = pair[1] }
  }
}

resource "azurerm_virtual_network" "this" {
  count = local.is_private ? 1 : 0

  name                = "vnet-${var.name}"
  resource_group_name = var.resource_group_name
  location            = var.location
  address_space       = [var.private_network.address_space]
  tags                = local.tags
}

resource "azurerm_subnet" "endpoints" {
  #checkov:skip=CKV2_AZURE_31:holds private endpoints alone, and Azure ML asks for network policies to be off there

  count = local.is_private ? 1 : 0

  name                              = "endpoints"
  resource_group_name               = var.resource_group_name
  virtual_network_name              = azurerm_virtual_network.this[0].name
  address_prefixes                  = [cidrsubnet(var.private_network.address_space, 27 - tonumber(split("/", var.private_network.address_space)[1]), 0)]
  private_endpoint_network_policies = "Disabled" # as Azure ML asks for its endpoint
  default_outbound_access_enabled   = false
}

resource "azurerm_private_dns_zone" "this" {
  for_each = local.zones

  name                = each.key
  resource_group_name = var.resource_group_name
  tags                = local.tags
}

resource "azurerm_private_dns_zone_virtual_network_link" "this" {
  for_each = local.zone_links

  name                  = "link-${var.name}-${each.value.network}"
  resource_group_name   = var.resource_group_name
  private_dns_zone_name = azurerm_private_dns_zone.this[each.value.zone].name
  virtual_network_id    = local.networks[each.value.network]
  registration_enabled  = false
  tags                  = local.tags
}

resource "azurerm_private_endpoint" "this" {
  for_each = local.endpoints

  name                = "pe-${var.name}-${each.key}"
  resource_group_name = var.resource_group_name
  location            = var.location
  subnet_id           = azurerm_subnet.endpoints[0].id
  tags                = local.tags

  private_service_connection {
    name                           = "pe-${var.name}-${each.key}"
    private_connection_resource_id = each.value.resource_id
    subresource_names              = [each.value.subresource]
    is_manual_connection           = false
  }

  private_dns_zone_group {
    name                 = "default"
    private_dns_zone_ids = [for zone in each.value.zones : azurerm_private_dns_zone.this[zone].id]
  }

  # A name that resolves before the zone is linked would be the public one, and be remembered.
  depends_on = [azurerm_private_dns_zone_virtual_network_link.this]
}

# The studio shows files only where the workspace may look at the endpoints of its storage.
resource "azurerm_role_assignment" "endpoint_reader" {
  for_each = local.is_private ? toset(["blob", "file"]) : toset([])

  scope                = azurerm_private_endpoint.this[each.key].id
  role_definition_name = "Reader"
  principal_id         = azurerm_machine_learning_workspace.this.identity[0].principal_id
  principal_type       = "ServicePrincipal"
}

# Batch endpoints use queues and tables, which the managed network does not reach by itself.
resource "azurerm_machine_learning_workspace_network_outbound_rule_private_endpoint" "batch" {
  for_each = local.is_private ? toset(["queue", "table"]) : toset([])

  name                = "storage-${each.key}"
  workspace_id        = azurerm_machine_learning_workspace.this.id
  service_resource_id = azurerm_storage_account.this.id
  sub_resource_target = each.key
}
