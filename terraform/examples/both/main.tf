# A team in two clouds. trust.tf lets a migration run in either of them, without a secret in the other.

provider "aws" {
  region = var.region
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

provider "azuread" {
  tenant_id = data.azurerm_client_config.current.tenant_id
}

data "azurerm_client_config" "current" {}

resource "azurerm_resource_group" "this" {
  name     = "rg-${var.name}"
  location = var.location
  tags     = var.tags
}

module "azureml" {
  source = "../../modules/azureml"

  name                = var.name
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  remote_name         = "azure"
  tags                = var.tags

  # Who migrates here: a job of SageMaker, with the identity of trust.tf, and a job of Azure ML.
  principals = {
    sagemaker = {
      object_id = azurerm_user_assigned_identity.migration.principal_id
      type      = "ServicePrincipal"
      verbs     = ["migration"]
    }
    jobs = {
      object_id = module.azureml.jobs_identity.principal_id
      type      = "ServicePrincipal"
      verbs     = ["migration"]
    }
  }
}

module "sagemaker" {
  source = "../../modules/sagemaker"

  name   = var.name
  prefix = var.name
  tags   = var.tags

  # Programs in jobs log, register models, and migrate.
  execution_verbs        = ["tracking", "registry", "migration"]
  web_identity_audiences = [local.azure_audience]

  # A job of Azure ML, and the role that it takes on here.
  oidc = {
    azureml = {
      issuer    = local.entra_issuer
      audiences = [azuread_application_registration.aws.client_id]
      subjects  = [module.azureml.jobs_identity.principal_id]
      verbs     = ["migration"]
    }
  }
}
