variable "subscription_id" {
  description = "Subscription that pays: az account show --query id --output tsv."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$", var.subscription_id))
    error_message = "subscription_id is a UUID: az account show --query id --output tsv."
  }
}

variable "name" {
  description = "Name of the workspace: 3 to 16 small letters, digits and hyphens."
  type        = string
  default     = "trackbridge"
  nullable    = false
}

variable "location" {
  description = "Azure region, by its short name."
  type        = string
  default     = "westeurope"
  nullable    = false
}

variable "scientists_group_id" {
  description = "Object id of a group in Entra ID whose members track, register, run jobs and migrate; null for none: az ad group show --group NAME --query id --output tsv."
  type        = string
  default     = null
}

variable "github_repository" {
  description = "OWNER/NAME whose environment `production` deploys, and whose branch main syncs registries; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.github_repository == null || can(regex("^[^/:*]+/[^/:*]+$", var.github_repository))
    error_message = "github_repository is OWNER/NAME."
  }
}

variable "is_private" {
  description = "Whether all of it is reached from a virtual network alone."
  type        = bool
  default     = false
  nullable    = false
}
