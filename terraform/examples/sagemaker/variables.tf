variable "region" {
  description = "Region of AWS."
  type        = string
  default     = "eu-west-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+){1,2}-[0-9]$", var.region))
    error_message = "region is one of AWS, such as eu-west-1."
  }
}

variable "name" {
  description = "What names begin with; also the remote's."
  type        = string
  default     = "team"
}

variable "github_repository" {
  description = "OWNER/REPOSITORY whose main branch syncs registries and deploys. Null: no CI."
  type        = string
  default     = null

  validation {
    condition     = var.github_repository == null || can(regex("^[^*?/:]+/[^*?/:]+$", var.github_repository))
    error_message = "github_repository is OWNER/REPOSITORY."
  }
}

variable "azure_pipelines" {
  description = "What Azure Pipelines sign in with. A service connection's own token: issuer and subject as its page shows them. A token of Entra, as examples/ci/azure-pipelines.yml brings it: https://login.microsoftonline.com/TENANT/v2.0, the object id of the connection's principal, and as audience the client id of an application such as that in ../both/trust.tf. Null: none."
  type = object({
    issuer   = string
    subject  = string
    audience = optional(string, "api://AzureADTokenExchange")
  })
  default = null
}

variable "mlflow" {
  description = "Managed MLflow: none, app or server; a server bills by the hour."
  type        = string
  default     = "none"
}

variable "zones" {
  description = "Availability zones of a network without a way to the internet. Empty: SageMaker's own network."
  type        = set(string)
  default     = []
}
