# Where and how it is called.

variable "name" {
  description = "Name of the workspace, and the beginning of the names of all that belongs to it."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,14}[a-z0-9]$", var.name)) && !strcontains(var.name, "--")
    error_message = "name has 3 to 16 small letters, digits and single hyphens, a letter first, no hyphen last: the storage account's name is made of it, and Azure takes 24 characters there."
  }
}

variable "name_suffix" {
  description = "Ends the names that are unique in all of Azure (storage account, key vault, container registry). By default six characters of a digest over subscription, resource group and name: the same at every apply. Another one makes everything anew, and all runs are lost."
  type        = string
  default     = null

  validation {
    condition     = var.name_suffix == null || can(regex("^[a-z0-9]{1,6}$", var.name_suffix))
    error_message = "name_suffix has 1 to 6 small letters and digits."
  }
}

variable "resource_group_name" {
  description = "Resource group that everything is put into; it must exist."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_().-]{0,89}[A-Za-z0-9_()-]$", var.resource_group_name))
    error_message = "resource_group_name has 1 to 90 letters, digits, '_', '-', '.', '(' and ')', and no dot last. Azure's container registries take no other letters than ASCII's there."
  }
}

variable "location" {
  description = "Azure region, by its short name, such as westeurope."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{2,29}$", var.location))
    error_message = "location is a region's short name, such as westeurope: az account list-locations --query '[].name'."
  }
}

variable "tags" {
  description = "Tags of every resource that takes some, beside the module's own (managed-by, module, workspace)."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition = length(var.tags) <= 12 && alltrue([
      for key, value in var.tags : can(regex("^[^<>*%&:\\\\?/+]{1,128}$", key)) && length(value) <= 256
    ])
    error_message = "tags are at most 12 (Azure takes 15 on DNS zones, three are the module's); a name has 1 to 128 characters without < > * % & : \\ ? / +, a value at most 256."
  }
}

# Who may do what.

variable "principals" {
  description = "Who works with the workspace: by a name of your choice the object id in Entra ID, its type, and the verbs of `bridge` that it may use."
  type = map(object({
    object_id = string
    type      = optional(string, "Group")
    verbs     = set(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.principals) : can(regex("^[a-z0-9][a-z0-9-]{0,62}$", name))])
    error_message = "the names in principals have 1 to 63 small letters, digits and hyphens."
  }

  validation {
    condition     = alltrue([for principal in var.principals : contains(["User", "Group", "ServicePrincipal"], principal.type)])
    error_message = "the type of a principal is User, Group or ServicePrincipal."
  }

  validation {
    condition     = alltrue([for principal in var.principals : length(setsubtract(principal.verbs, ["tracking", "registry", "jobs", "deployment", "migration"])) == 0])
    error_message = "the verbs of a principal are some of tracking, registry, jobs, deployment and migration."
  }
}

variable "ci_identities" {
  description = "Pipelines that sign in without a secret: by a name of your choice either `github`, the subject of GitHub's token (repo:OWNER/NAME:environment:NAME, repo:OWNER/NAME:ref:refs/heads/BRANCH, repo:OWNER/NAME:pull_request), or `azure_pipelines`, issuer and subject as the service connection shows them; and the verbs."
  type = map(object({
    github = optional(string)
    azure_pipelines = optional(object({
      issuer  = string
      subject = string
    }))
    verbs = set(string)
  }))
  default  = {}
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.ci_identities) : can(regex("^[a-z0-9][a-z0-9-]{1,30}$", name))])
    error_message = "the names in ci_identities have 2 to 31 small letters, digits and hyphens."
  }

  validation {
    condition     = alltrue([for identity in var.ci_identities : (identity.github == null) != (identity.azure_pipelines == null)])
    error_message = "an identity in ci_identities has either github or azure_pipelines, not both."
  }

  validation {
    condition = alltrue([
      for identity in var.ci_identities :
      identity.github == null || can(regex("^repo:[^/:*]+/[^/:*]+:(environment:[^*]+|ref:refs/[^*]+|pull_request)$", coalesce(identity.github, "-")))
    ])
    error_message = "github is a whole subject, such as repo:OWNER/NAME:environment:production or repo:OWNER/NAME:ref:refs/heads/main; Entra ID knows no '*'."
  }

  validation {
    condition = alltrue([
      for identity in var.ci_identities :
      identity.azure_pipelines == null || can(regex("^https://", identity.azure_pipelines.issuer))
    ])
    error_message = "the issuer of azure_pipelines is an address with https://, as the service connection shows it."
  }

  validation {
    condition     = alltrue([for identity in var.ci_identities : length(setsubtract(identity.verbs, ["tracking", "registry", "jobs", "deployment", "migration"])) == 0])
    error_message = "the verbs of an identity are some of tracking, registry, jobs, deployment and migration."
  }
}

variable "subscription_reads_enabled" {
  description = "Whether the verbs may read what belongs to the subscription: the region's sizes of machines, its quotas, how operations stand. Needs the right to define and assign roles there."
  type        = bool
  default     = true
  nullable    = false
}

# Compute.

variable "clusters" {
  description = "Compute clusters by name. Each begins at no machine, grows as jobs wait, and gives machines back after so many idle minutes. Azure changes no cluster in place: another value makes it anew."
  type = map(object({
    vm_size      = optional(string, "Standard_D4s_v3")
    machines_max = optional(number, 4)
    idle_minutes = optional(number, 15)
    spot         = optional(bool, false)
    description  = optional(string, "Jobs of bridge run")
  }))
  default  = { cpu-cluster = {} }
  nullable = false

  validation {
    condition     = alltrue([for name in keys(var.clusters) : can(regex("^[a-zA-Z][a-zA-Z0-9-]{0,22}[a-zA-Z0-9]$", name))])
    error_message = "the name of a cluster has 2 to 24 letters, digits and hyphens, a letter first, no hyphen last."
  }

  validation {
    condition     = alltrue([for cluster in var.clusters : can(regex("^Standard_[A-Za-z0-9_]+$", cluster.vm_size))])
    error_message = "vm_size is a size of machine such as Standard_D4s_v3: az ml compute list-sizes."
  }

  validation {
    condition     = alltrue([for cluster in var.clusters : cluster.machines_max >= 1 && cluster.machines_max <= 100 && floor(cluster.machines_max) == cluster.machines_max])
    error_message = "machines_max is a whole number from 1 to 100, Azure's own default limit of a cluster."
  }

  validation {
    # Azure writes an hour as PT1H, which would differ from PT60M at every plan, and make the cluster anew.
    condition     = alltrue([for cluster in var.clusters : cluster.idle_minutes >= 2 && cluster.idle_minutes <= 59 && floor(cluster.idle_minutes) == cluster.idle_minutes])
    error_message = "idle_minutes is a whole number from 2 to 59."
  }
}

# Network.

variable "private_network" {
  description = "Null: everything is reached from the internet, by who is signed in and has a role. An object, {} for its defaults: nothing is; there are a virtual network with private endpoints and DNS zones, and a managed network for the machines of jobs and endpoints. `linked_network_ids` are further networks, by a name of your choice, that resolve the names (peer them yourself)."
  type = object({
    address_space      = optional(string, "10.83.0.0/24")
    linked_network_ids = optional(map(string), {})
  })
  default = null

  validation {
    condition     = var.private_network == null || can(cidrnetmask(var.private_network.address_space))
    error_message = "address_space is a range of IPv4 addresses such as 10.83.0.0/24."
  }

  validation {
    condition = var.private_network == null || try(
      tonumber(split("/", var.private_network.address_space)[1]) <= 27 && tonumber(split("/", var.private_network.address_space)[1]) >= 8,
      false,
    )
    error_message = "address_space has between /8 and /27: the endpoints take a dozen addresses, and Azure five of every subnet."
  }

  validation {
    # Two ranges overlap where they are the same, as far as the shorter of both prefixes goes.
    condition = var.private_network == null || try(
      cidrhost("${split("/", var.private_network.address_space)[0]}/${min(16, tonumber(split("/", var.private_network.address_space)[1]))}", 0)
      != cidrhost("172.17.0.0/${min(16, tonumber(split("/", var.private_network.address_space)[1]))}", 0),
      true,
    )
    error_message = "address_space overlaps 172.17.0.0/16, which Docker uses on the machines of jobs: choose another."
  }

  validation {
    condition     = var.private_network == null || anytrue([for cluster in var.clusters : !cluster.spot])
    error_message = "private_network needs one of clusters without spot: it builds the images, which Azure's own builders cannot there."
  }

  validation {
    condition = var.private_network == null || alltrue([
      for id in values(try(var.private_network.linked_network_ids, {})) :
      can(regex("(?i)^/subscriptions/[^/]+/resourceGroups/[^/]+/providers/Microsoft.Network/virtualNetworks/[^/]+$", id))
    ])
    error_message = "linked_network_ids are resource ids of virtual networks."
  }
}

# Storage, registry, vault, logs.

variable "storage_shared_keys_enabled" {
  description = "Whether the storage account takes its two keys beside sign-ins. With false nobody holds a key: jobs, people and pipelines go to storage with their own rights."
  type        = bool
  default     = false
  nullable    = false
}

variable "storage_replication" {
  description = "Copies that Azure keeps of the storage: LRS (one data centre), ZRS (three of the region), GRS, GZRS, RAGRS, RAGZRS (another region, too). Choose once whether with Z or without: the other way Terraform makes storage and workspace anew, and all runs are lost."
  type        = string
  default     = "LRS"
  nullable    = false

  validation {
    condition     = contains(["LRS", "ZRS", "GRS", "GZRS", "RAGRS", "RAGZRS"], var.storage_replication)
    error_message = "storage_replication is LRS, ZRS, GRS, GZRS, RAGRS or RAGZRS."
  }
}

variable "storage_retention_days" {
  description = "How long deleted blobs, containers and shares, and earlier versions of blobs, can be had back."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.storage_retention_days >= 1 && var.storage_retention_days <= 365 && floor(var.storage_retention_days) == var.storage_retention_days
    error_message = "storage_retention_days is a whole number from 1 to 365."
  }
}

variable "container_registry_sku" {
  description = "Tier of the container registry: Basic, Standard or Premium. A private network needs Premium, and gets it."
  type        = string
  default     = "Basic"
  nullable    = false

  validation {
    condition     = contains(["Basic", "Standard", "Premium"], var.container_registry_sku)
    error_message = "container_registry_sku is Basic, Standard or Premium."
  }
}

variable "key_vault_retention_days" {
  description = "How long a deleted secret or vault can be had back; nobody can purge it before. Cannot be changed later."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = var.key_vault_retention_days >= 7 && var.key_vault_retention_days <= 90 && floor(var.key_vault_retention_days) == var.key_vault_retention_days
    error_message = "key_vault_retention_days is a whole number from 7 to 90."
  }
}

variable "logs_retention_days" {
  description = "How long logs and telemetry of endpoints are kept; the first 30 days cost nothing more."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = contains([30, 60, 90, 120, 180, 270, 365, 550, 730], var.logs_retention_days)
    error_message = "logs_retention_days is 30, 60, 90, 120, 180, 270, 365, 550 or 730: what Application Insights takes."
  }
}

variable "logs_daily_max_gb" {
  description = "So many GB of logs and telemetry are taken in a day, the rest is dropped: a bound on their cost."
  type        = number
  default     = 1
  nullable    = false

  validation {
    condition     = var.logs_daily_max_gb >= 0.1 && var.logs_daily_max_gb <= 4000
    error_message = "logs_daily_max_gb is a number from 0.1 to 4000."
  }
}

# What is pasted.

variable "remote_name" {
  description = "What the workspace is called in the outputs: `bridge remotes add NAME …` and .bridge/config.toml."
  type        = string
  default     = "team"
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z][A-Za-z0-9_-]{0,63}$", var.remote_name))
    error_message = "remote_name has 1 to 64 letters, digits, '-' and '_', a letter first."
  }
}
