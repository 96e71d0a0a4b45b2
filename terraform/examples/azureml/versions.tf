terraform {
  required_version = ">= 1.9.0, < 2.0.0"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.77"
    }
  }
}

provider "azurerm" {
  subscription_id = var.subscription_id

  # By default the provider registers some sixty services, which needs rights on all of them.
  resource_provider_registrations = "none"
  resource_providers_to_register = [
    "Microsoft.Cdn", # with PolicyInsights: what online endpoints want of a new subscription
    "Microsoft.ContainerRegistry",
    "Microsoft.Insights",
    "Microsoft.KeyVault",
    "Microsoft.MachineLearningServices",
    "Microsoft.ManagedIdentity",
    "Microsoft.Network",
    "Microsoft.OperationalInsights",
    "Microsoft.PolicyInsights",
    "Microsoft.Storage",
  ]

  features {
    key_vault {
      # The vault cannot be purged; applied again, it is taken back with what was in it.
      purge_soft_delete_on_destroy    = false
      recover_soft_deleted_key_vaults = true
    }

    machine_learning {
      # A workspace that was destroyed can be had back for 14 days, and its name is taken as long. True gives both up.
      purge_soft_deleted_workspace_on_destroy = false
    }

    storage {
      # Without it the provider reads the account's queues with a key, and storage takes none: 403 at the first apply.
      data_plane_available = false
    }
  }
}
