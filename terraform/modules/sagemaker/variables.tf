# What it is called, and where

variable "name" {
  description = "What names of everything here begin with, and the name of the remote in .bridge/config.toml."
  type        = string

  validation {
    condition     = can(regex("^[a-z](-?[a-z0-9]){1,23}$", var.name))
    error_message = "name is 2 to 24 small letters, digits and single dashes, a letter first: the name of the bucket ends with account and region, and has 63 characters at most."
  }
}

variable "prefix" {
  description = "A team's part of the region: the place is sagemaker://REGION/PREFIX, and policies allow only what is named PREFIX-…. Empty: the whole region."
  type        = string
  default     = ""

  validation {
    condition     = var.prefix == "" || can(regex("^[a-z0-9](-?[a-z0-9]){0,19}$", var.prefix))
    error_message = "prefix is up to 20 small letters, digits and single dashes: ARNs of SageMaker are in small letters, and names of models keep no more than 22 characters of an endpoint's."
  }
}

variable "tags" {
  description = "Tags of everything that can have some, besides `trackbridge:module`."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for key in keys(var.tags) : length(key) <= 128 && !startswith(lower(key), "aws:")])
    error_message = "A tag's key has at most 128 characters and does not begin with aws:."
  }
}

# The bucket

variable "bucket_name" {
  description = "Name of the bucket. Null: NAME-ACCOUNT-REGION, which nobody else is likely to have."
  type        = string
  default     = null

  validation {
    # With a dot in it, the certificate of S3 does not match the host.
    condition     = var.bucket_name == null || can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket_name))
    error_message = "bucket_name is 3 to 63 small letters, digits and dashes."
  }
}

variable "encryption" {
  description = "`kms`: a key of this account, whose use is logged and can be taken away. `s3`: S3's own keys, for nothing. Choose once: see the README before you change it, or kms_key_arn."
  type        = string
  default     = "kms"

  validation {
    condition     = contains(["kms", "s3"], var.encryption)
    error_message = "encryption is kms or s3."
  }
}

variable "kms_key_arn" {
  description = "A key that is there already, in this region, with `encryption = \"kms\"`. Null: one is made. Its policy must let IAM policies of the account decide."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:aws[a-z-]*:kms:[a-z0-9-]+:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key_arn))
    error_message = "kms_key_arn is arn:aws:kms:REGION:ACCOUNT:key/ID; aliases cannot be in policies."
  }

  validation {
    condition     = var.kms_key_arn == null || var.encryption == "kms"
    error_message = "kms_key_arn is of no use with encryption = \"s3\": leave it out, or say kms."
  }
}

variable "noncurrent_days" {
  description = "How many days S3 keeps what was overwritten or deleted: so long can a mistake be taken back."
  type        = number
  default     = 90

  validation {
    condition     = var.noncurrent_days >= 1 && floor(var.noncurrent_days) == var.noncurrent_days
    error_message = "noncurrent_days is a whole number from 1."
  }
}

variable "access_log_bucket_name" {
  description = "A bucket that is there already and takes S3's access logs. Null: none are written."
  type        = string
  default     = null
}

variable "is_bucket_destroyed" {
  description = "Whether `terraform destroy` deletes the bucket with everything that was tracked. False: it stops at a bucket that is not empty."
  type        = bool
  default     = false
}

variable "readable_bucket_names" {
  description = "Other buckets that jobs and migrations read: data sets, models of somebody else."
  type        = set(string)
  default     = []
}

# Roles

variable "role_principal_arns" {
  description = "Who may take on the role of a verb: verb to ARNs of users or roles. A verb that is not named is open to everybody of the account whose own policy allows sts:AssumeRole on it; one with an empty set only to `oidc`."
  type        = map(set(string))
  default     = {}

  validation {
    condition     = alltrue([for verb in keys(var.role_principal_arns) : contains(["tracking", "registry", "jobs", "deployment", "migration"], verb)])
    error_message = "Verbs are tracking, registry, jobs, deployment and migration."
  }

  validation {
    condition     = alltrue([for arn in flatten([for arns in values(var.role_principal_arns) : tolist(arns)]) : can(regex("^arn:aws[a-z-]*:(iam|sts)::[0-9]{12}:", arn))])
    error_message = "role_principal_arns holds ARNs such as arn:aws:iam::123456789012:role/data-scientist; * is none."
  }
}

variable "execution_verbs" {
  description = "Verbs that programs in jobs may do themselves, with the role that SageMaker takes on."
  type        = set(string)
  default     = ["tracking", "registry"]

  validation {
    condition     = alltrue([for verb in var.execution_verbs : contains(["tracking", "registry", "jobs", "deployment", "migration"], verb)])
    error_message = "Verbs are tracking, registry, jobs, deployment and migration."
  }
}

variable "permissions_boundary_arn" {
  description = "A permissions boundary for every role, where the account demands one."
  type        = string
  default     = null
}

variable "image_repository_arns" {
  description = "ECR repositories that images of jobs and endpoints come from. Empty: any in the region, as far as the repository itself allows; AWS's own images are in accounts that differ by region."
  type        = set(string)
  default     = []
}

variable "secret_arns" {
  description = "Secrets of Secrets Manager that jobs may refer to (`secretsmanager:NAME`); wildcards may end them."
  type        = set(string)
  default     = []
}

variable "parameter_arns" {
  description = "Parameters of Systems Manager that jobs may refer to (`ssm:NAME`); wildcards may end them."
  type        = set(string)
  default     = []
}

variable "topic_arns" {
  description = "SNS topics that asynchronous endpoints tell of their answers."
  type        = set(string)
  default     = []
}

variable "web_identity_audiences" {
  description = "Audiences of the tokens by which another cloud knows a job: `api://AzureADTokenExchange` for Azure. Needs aws_iam_outbound_web_identity_federation in the account."
  type        = set(string)
  default     = []
}

# CI, and other clouds

variable "oidc" {
  description = <<-EOT
    Identities from elsewhere that take on roles without a secret, by a name of your own.
    `issuer` is the claim iss with its slash at the end where it has one, `audiences` the claim aud, `subjects` the claim sub (with wildcards), `verbs` the roles.
    With `has_provider` the account knows the issuer already: it can know each one only once.
  EOT
  type = map(object({
    issuer       = string
    audiences    = set(string)
    subjects     = set(string)
    verbs        = set(string)
    has_provider = optional(bool, false)
  }))
  default = {}

  validation {
    condition     = alltrue([for found in values(var.oidc) : can(regex("^https://[a-z0-9.-]+(/[^?#]*)?$", found.issuer))])
    error_message = "An issuer is an address such as https://token.actions.githubusercontent.com."
  }

  validation {
    condition     = alltrue([for found in values(var.oidc) : length(found.audiences) > 0 && length(found.subjects) > 0 && length(found.verbs) > 0])
    error_message = "Each of oidc has at least one audience, one subject and one verb."
  }

  validation {
    condition     = alltrue([for found in values(var.oidc) : alltrue([for subject in found.subjects : can(regex("^[^*?]{4}", subject))])])
    error_message = "A subject that begins with a wildcard lets strangers in: name the organization, or the id."
  }

  validation {
    condition = alltrue([for found in values(var.oidc) : alltrue([
      for subject in found.subjects : found.issuer != "https://token.actions.githubusercontent.com" || can(regex("^repo:[^*?/:]+/[^*?/:]+:", subject))
    ])])
    error_message = "Subjects of GitHub name owner and repository: repo:OWNER/REPOSITORY:ref:refs/heads/main, or repo:OWNER/REPOSITORY:environment:NAME."
  }

  validation {
    condition     = alltrue([for found in values(var.oidc) : alltrue([for verb in found.verbs : contains(["tracking", "registry", "jobs", "deployment", "migration"], verb)])])
    error_message = "Verbs are tracking, registry, jobs, deployment and migration."
  }
}

# Managed MLflow

variable "mlflow" {
  description = "`none`; `app`: serverless; `server`: a tracking server, which bills by the hour while it is there. Another value deletes what is there, with its runs."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["none", "app", "server"], var.mlflow)
    error_message = "mlflow is none, app or server."
  }
}

variable "mlflow_server_size" {
  description = "Size of the tracking server: for up to 25, 50 or 100 users."
  type        = string
  default     = "Small"

  validation {
    condition     = contains(["Small", "Medium", "Large"], var.mlflow_server_size)
    error_message = "mlflow_server_size is Small, Medium or Large."
  }
}

variable "mlflow_version" {
  description = "Version of the tracking server's mlflow, such as 3.10, when it is made; null for SageMaker's newest. AWS changes it in no server that is there."
  type        = string
  default     = null
}

variable "is_mlflow_registering" {
  description = "Whether managed MLflow puts registered models into the model registry by itself."
  type        = bool
  default     = false
}

# Registry

variable "model_package_groups" {
  description = "Registered models that are there from the start: name to description. `bridge` makes those that it needs itself."
  type        = map(string)
  default     = {}

  validation {
    # The adapter gives a digest to a name that ends like one.
    condition     = alltrue([for name in keys(var.model_package_groups) : can(regex("^[a-z0-9](-?[a-z0-9])*$", name)) && !can(regex("-[0-9a-f]{16}$", name)) && length(name) <= 42])
    error_message = "Names of model package groups are up to 42 small letters, digits and single dashes, and do not end with 16 hexadecimal digits: then a model of the same name is in the group."
  }

  validation {
    condition     = alltrue([for text in values(var.model_package_groups) : length(text) <= 1024 && !can(regex("\n", text))])
    error_message = "A description is one line of at most 1,024 characters."
  }
}

variable "shared_model_package_group_arns" {
  description = "Model package groups of other accounts that are used here (option shared_groups); their own policies must allow it too."
  type        = set(string)
  default     = []

  validation {
    condition     = alltrue([for arn in var.shared_model_package_group_arns : can(regex("^arn:aws[a-z-]*:sagemaker:[a-z0-9-]+:[0-9]{12}:model-package-group/[A-Za-z0-9-]+$", arn))])
    error_message = "Write arn:aws:sagemaker:REGION:ACCOUNT:model-package-group/NAME."
  }
}

# Endpoints

variable "endpoints" {
  description = <<-EOT
    Endpoints that are watched, by the name that `bridge` gives them. `deployments` are theirs that have alarms: list those to come, too, an alarm without data does not ring.
    `latency_ms_max` is the 95th percentile of the model's latency, `errors_percent_max` the share of requests that the model answers with 5xx. `kept_days` deletes captured payloads, and requests and answers of asynchronous endpoints, that are older, for good a day later; null keeps them.
  EOT
  type = map(object({
    deployments        = set(string)
    latency_ms_max     = optional(number, 1000)
    errors_percent_max = optional(number, 1)
    kept_days          = optional(number)
  }))
  default = {}

  validation {
    condition     = alltrue([for found in values(var.endpoints) : length(found.deployments) <= 5])
    error_message = "SageMaker looks at 10 alarms at most while it updates an endpoint, and each deployment has two: list at most 5."
  }

  validation {
    condition     = alltrue([for found in values(var.endpoints) : found.errors_percent_max > 0 && found.errors_percent_max < 100 && found.latency_ms_max > 0])
    error_message = "errors_percent_max is between 0 and 100, latency_ms_max above 0."
  }

  validation {
    condition     = alltrue([for found in values(var.endpoints) : coalesce(found.kept_days, 1) >= 1])
    error_message = "kept_days is 1 or more."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that are told when an alarm begins and ends."
  type        = set(string)
  default     = []
}

# Network

variable "network" {
  description = <<-EOT
    A network without a way to the internet, for jobs and endpoints. Null: SageMaker's own.
    Each of `zones` gets a subnet and an interface of each endpoint, which bills by the hour. `interface_services` are services of the region that programs in jobs call; those for secrets, parameters and a tracking server come by themselves.
  EOT
  type = object({
    cidr               = optional(string, "10.64.0.0/16")
    zones              = set(string)
    interface_services = optional(set(string), ["sagemaker.api", "sagemaker.metrics", "sts"])
  })
  default = null

  validation {
    condition     = var.network == null || (can(cidrsubnet(var.network.cidr, 8, 0)) && can(regex("/(1[6-9]|20)$", var.network.cidr)))
    error_message = "network.cidr is a block such as 10.64.0.0/16, from /16 to /20."
  }

  validation {
    condition     = var.network == null ? true : length(var.network.zones) > 0 && alltrue([for zone in var.network.zones : can(regex("^[a-z-]+-[0-9]+[a-f]$", zone))])
    error_message = "network.zones are availability zones of the region, such as [\"eu-west-1a\", \"eu-west-1b\"]."
  }
}
