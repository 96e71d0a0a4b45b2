# What the variables refuse. Run by `terraform test`, where the provider is at hand; nothing is made.

mock_provider "azurerm" {}

variables {
  name                = "wine-lab"
  resource_group_name = "rg-wine"
  location            = "westeurope"
}

run "name_that_is_too_long_for_storage" {
  command = plan

  variables {
    name = "a-name-that-is-too-long"
  }

  expect_failures = [var.name]
}

run "name_with_capitals" {
  command = plan

  variables {
    name = "Wine"
  }

  expect_failures = [var.name]
}

run "region_by_its_long_name" {
  command = plan

  variables {
    location = "West Europe"
  }

  expect_failures = [var.location]
}

run "verb_that_does_not_exist" {
  command = plan

  variables {
    principals = {
      team = { object_id = "00000000-0000-0000-0000-000000000003", verbs = ["training"] }
    }
  }

  expect_failures = [var.principals]
}

run "pipeline_of_two_issuers" {
  command = plan

  variables {
    ci_identities = {
      main = {
        github          = "repo:team/wine:ref:refs/heads/main"
        azure_pipelines = { issuer = "https://vstoken.dev.azure.com/1", subject = "sc://team/wine/azure" }
        verbs           = ["tracking"]
      }
    }
  }

  expect_failures = [var.ci_identities]
}

run "pipeline_of_any_branch" {
  command = plan

  variables {
    ci_identities = {
      main = { github = "repo:team/wine:*", verbs = ["tracking"] }
    }
  }

  expect_failures = [var.ci_identities]
}

run "idle_for_an_hour" {
  command = plan

  variables {
    clusters = { cpu-cluster = { idle_minutes = 60 } }
  }

  expect_failures = [var.clusters]
}

run "network_of_dockers" {
  command = plan

  variables {
    private_network = { address_space = "172.16.0.0/12" }
  }

  expect_failures = [var.private_network]
}

run "network_that_is_too_small" {
  command = plan

  variables {
    private_network = { address_space = "10.0.0.0/28" }
  }

  expect_failures = [var.private_network]
}

run "network_without_a_cluster_that_builds_images" {
  command = plan

  variables {
    clusters        = { spot = { spot = true } }
    private_network = {}
  }

  expect_failures = [var.private_network]
}
