variable "name" {
  description = "What names begin with, in both clouds."
  type        = string
  default     = "team"
}

variable "region" {
  description = "Region of AWS."
  type        = string
  default     = "eu-west-1"

  validation {
    condition     = can(regex("^[a-z]{2}(-[a-z]+){1,2}-[0-9]$", var.region))
    error_message = "region is one of AWS, such as eu-west-1."
  }
}

variable "location" {
  description = "Region of Azure."
  type        = string
  default     = "westeurope"
}

variable "subscription_id" {
  description = "Subscription of Azure."
  type        = string

  validation {
    condition     = can(regex("^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$", var.subscription_id))
    error_message = "subscription_id is a GUID: az account show --query id -o tsv"
  }
}

variable "tags" {
  description = "Tags of everything."
  type        = map(string)
  default     = {}
}
