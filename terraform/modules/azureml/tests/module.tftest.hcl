# What is planned by default, and with the private network. Run by `terraform test`, where the provider is at hand;
# nothing is made.

mock_provider "azurerm" {
  mock_data "azurerm_client_config" {
    defaults = {
      subscription_id = "00000000-0000-0000-0000-000000000001"
      tenant_id       = "00000000-0000-0000-0000-000000000002"
    }
  }
}

variables {
  name                = "wine-lab"
  resource_group_name = "rg-wine"
  location            = "westeurope"
}

run "defaults" {
  command = plan

  assert {
    condition     = length(azurerm_storage_account.this.name) <= 24 && startswith(azurerm_storage_account.this.name, "stwinelab")
    error_message = "the storage account's name is too long, or not made of the workspace's"
  }

  assert {
    condition     = !azurerm_storage_account.this.shared_access_key_enabled && azurerm_machine_learning_workspace.this.storage_account_access_type == "Identity"
    error_message = "storage takes shared keys"
  }

  assert {
    condition     = azurerm_machine_learning_compute_cluster.this["cpu-cluster"].scale_settings[0].min_node_count == 0
    error_message = "the cluster costs something while nothing runs"
  }

  assert {
    condition     = length(azurerm_private_endpoint.this) == 0 && length(azurerm_role_assignment.verb) == 0
    error_message = "something was planned that nobody asked for"
  }

  assert {
    condition     = length(setsubtract(["tracking", "registry", "jobs", "deployment", "migration"], keys(azurerm_role_definition.verb))) == 0
    error_message = "a verb has no role"
  }

  assert {
    condition     = output.tracking_uri == "azureml://00000000-0000-0000-0000-000000000001/rg-wine/wine-lab"
    error_message = "the tracking URI is ${output.tracking_uri}"
  }

  assert {
    condition     = strcontains(output.config_toml, "artifacts = \"account\"")
    error_message = "without shared keys files go with one's own sign-in"
  }
}

run "longest_name" {
  command = plan

  variables {
    name = "abcdefghijklmnop"
  }

  assert {
    condition     = length(azurerm_storage_account.this.name) == 24 && length(azurerm_key_vault.this.name) == 24
    error_message = "the names do not fit"
  }
}

run "rights_reach_no_further_than_asked" {
  command = plan

  variables {
    principals                 = { team = { object_id = "00000000-0000-0000-0000-000000000003", verbs = ["tracking"] } }
    ci_identities              = { production = { github = "repo:team/wine:environment:production", verbs = ["registry"] } }
    subscription_reads_enabled = false
  }

  assert {
    condition     = alltrue([for key in keys(azurerm_role_assignment.verb) : can(regex("^(principal-team tracking|ci-production registry) (workspace|storage)$", key))])
    error_message = "somebody got more than a verb: ${join(", ", keys(azurerm_role_assignment.verb))}"
  }

  assert {
    condition     = azurerm_federated_identity_credential.ci["production"].issuer == "https://token.actions.githubusercontent.com"
    error_message = "the pipeline's issuer is not GitHub's"
  }
}

run "private_network" {
  command = plan

  variables {
    private_network = {}
  }

  assert {
    condition = !anytrue([
      azurerm_storage_account.this.public_network_access_enabled,
      azurerm_key_vault.this.public_network_access_enabled,
      azurerm_container_registry.this.public_network_access_enabled,
      azurerm_machine_learning_workspace.this.public_network_access_enabled,
      azurerm_machine_learning_compute_cluster.this["cpu-cluster"].node_public_ip_enabled,
    ])
    error_message = "something is reached from the internet"
  }

  assert {
    condition     = azurerm_container_registry.this.sku == "Premium" && azurerm_machine_learning_workspace.this.image_build_compute_name == "cpu-cluster"
    error_message = "images cannot be built behind private endpoints"
  }

  assert {
    condition     = toset(keys(azurerm_private_endpoint.this)) == toset(["blob", "file", "registry", "vault", "workspace"]) && length(azurerm_private_dns_zone.this) == 6
    error_message = "an endpoint or a zone is missing"
  }
}
