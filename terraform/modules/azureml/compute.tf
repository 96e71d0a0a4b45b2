# Clusters. Serverless jobs need none: their machines are Azure's, below the same quota.

locals {
  # What builds images in a private network: machines that nobody takes away, the first by name.
  build_cluster = try([for name, cluster in var.clusters : name if !cluster.spot][0], null)
}

resource "azurerm_machine_learning_compute_cluster" "this" {
  for_each = var.clusters

  name                          = each.key
  machine_learning_workspace_id = azurerm_machine_learning_workspace.this.id
  location                      = var.location
  description                   = each.value.description
  vm_size                       = each.value.vm_size
  vm_priority                   = each.value.spot ? "LowPriority" : "Dedicated"
  local_auth_enabled            = false
  ssh_public_access_enabled     = false
  node_public_ip_enabled        = !local.is_private
  tags                          = local.tags

  scale_settings {
    min_node_count                       = 0
    max_node_count                       = each.value.machines_max
    scale_down_nodes_after_idle_duration = "PT${each.value.idle_minutes}M"
  }

  identity {
    type         = "UserAssigned"
    identity_ids = [azurerm_user_assigned_identity.jobs.id]
  }

  # Or the first job would come before the rights that it needs.
  depends_on = [azurerm_role_assignment.jobs]

  lifecycle {
    # Azure changes no cluster in place: another tag would make it anew, and the jobs on it would be lost.
    ignore_changes = [tags]
  }
}
