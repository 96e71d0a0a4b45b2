# Where runs' files, models, code and outputs of jobs lie.

resource "azurerm_storage_account" "this" {
  #checkov:skip=CKV_AZURE_59:private_network closes it; without, sign-in and a role are asked for, and nothing else
  #checkov:skip=CKV_AZURE_35:private_network closes it; without, sign-in and a role are asked for, and nothing else
  #checkov:skip=CKV_AZURE_43:made of the name and a digest, which this check cannot compute; tests/module.tftest.hcl looks at it
  #checkov:skip=CKV2_AZURE_33:private_network makes the endpoint (network.tf), which this check does not see behind for_each
  #checkov:skip=CKV_AZURE_206:storage_replication chooses; copies in a second region double the price, and versions guard against mistakes
  #checkov:skip=CKV_AZURE_33:only the machines of batch endpoints use queues, which hold no data; the setting needs the data plane and so keys
  #checkov:skip=CKV2_AZURE_1:encrypted with keys of Microsoft; keys of your own would let a lost vault lose every run

  name                             = "st${local.unique_name}"
  resource_group_name              = var.resource_group_name
  location                         = var.location
  account_kind                     = "StorageV2"
  account_tier                     = "Standard"
  account_replication_type         = var.storage_replication
  is_hns_enabled                   = false # Azure ML takes no hierarchical names in its own storage
  min_tls_version                  = "TLS1_2"
  https_traffic_only_enabled       = true
  shared_access_key_enabled        = var.storage_shared_keys_enabled
  default_to_oauth_authentication  = true
  local_user_enabled               = false
  allow_nested_items_to_be_public  = false
  cross_tenant_replication_enabled = false
  public_network_access_enabled    = !local.is_private
  tags                             = local.tags

  blob_properties {
    versioning_enabled = true

    delete_retention_policy {
      days = var.storage_retention_days
    }

    container_delete_retention_policy {
      days = var.storage_retention_days
    }
  }

  share_properties {
    retention_policy {
      days = var.storage_retention_days
    }
  }

  network_rules {
    # Azure ML itself comes by way of the exception for Azure's services.
    default_action = local.is_private ? "Deny" : "Allow"
    bypass         = ["AzureServices"]
  }

  sas_policy {
    expiration_period = "01.00:00:00" # signed addresses that live longer are logged
    expiration_action = "Log"
  }

  lifecycle {
    # The studio's origins, which Azure ML puts there itself: without this the next apply would take them away.
    ignore_changes = [blob_properties[0].cors_rule]
  }
}

# Without it, earlier versions of blobs would be kept, and paid, for ever.
resource "azurerm_storage_management_policy" "this" {
  storage_account_id = azurerm_storage_account.this.id

  rule {
    name    = "earlier-versions"
    enabled = true

    filters {
      blob_types = ["blockBlob"]
    }

    actions {
      version {
        delete_after_days_since_creation = var.storage_retention_days
      }
    }
  }
}
