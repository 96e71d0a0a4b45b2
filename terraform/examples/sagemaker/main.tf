# One team in one region: runs, models, jobs and endpoints in SageMaker, and CI that deploys.

provider "aws" {
  region = var.region
}

module "sagemaker" {
  source = "../../modules/sagemaker"

  name   = var.name
  prefix = var.name
  mlflow = var.mlflow
  tags   = { project = var.name }

  model_package_groups = { wine = "Quality of wine, from its chemistry" }

  # v2 is to come: its alarms are there before it is.
  endpoints = { wine = { deployments = ["v1", "v2"], latency_ms_max = 300, kept_days = 30 } }

  network = length(var.zones) > 0 ? { zones = var.zones } : null

  oidc = merge(
    var.github_repository == null ? {} : {
      github = {
        issuer    = "https://token.actions.githubusercontent.com"
        audiences = ["sts.amazonaws.com"]
        subjects  = ["repo:${var.github_repository}:ref:refs/heads/main"]
        verbs     = ["migration", "deployment"] # runs go along with the models that are synced
      }
    },
    var.azure_pipelines == null ? {} : {
      azure-pipelines = {
        issuer    = var.azure_pipelines.issuer
        audiences = [var.azure_pipelines.audience]
        subjects  = [var.azure_pipelines.subject]
        verbs     = ["migration", "deployment"]
      }
    },
  )
}
