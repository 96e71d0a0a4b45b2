# A workspace of Azure ML for a team, and nothing of another cloud.

resource "azurerm_resource_group" "this" {
  name     = "rg-${var.name}"
  location = var.location
  tags     = { "managed-by" = "terraform" }
}

module "azureml" {
  source = "../../modules/azureml"

  name                = var.name
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  private_network     = var.is_private ? {} : null

  principals = var.scientists_group_id == null ? {} : {
    scientists = {
      object_id = var.scientists_group_id
      verbs     = ["tracking", "registry", "jobs", "migration"]
    }
  }

  ci_identities = var.github_repository == null ? {} : {
    registry-sync = {
      github = "repo:${var.github_repository}:ref:refs/heads/main"
      verbs  = ["tracking", "registry"]
    }
    deploy = {
      github = "repo:${var.github_repository}:environment:production"
      verbs  = ["tracking", "registry", "deployment"]
    }
  }

  clusters = {
    cpu-cluster = {}
    spot-cluster = {
      spot         = true
      machines_max = 2
    }
  }

  tags = { team = "wine" }
}
