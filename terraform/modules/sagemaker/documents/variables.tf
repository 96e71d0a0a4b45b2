variable "name" {
  description = "What names of roles begin with."
  type        = string
}

variable "remote_name" {
  description = "The name of the remote in config.toml."
  type        = string
}

variable "partition" {
  description = "Partition of AWS, such as aws."
  type        = string
}

variable "region" {
  description = "Region of AWS."
  type        = string
}

variable "account_id" {
  description = "Account of AWS."
  type        = string
}

variable "prefix" {
  description = "Prefix of the place sagemaker://REGION/PREFIX; empty for none."
  type        = string
}

variable "bucket_name" {
  description = "The bucket of records, artifacts, code and outputs."
  type        = string
}

variable "kms_key_arn" {
  description = "The key that encrypts the bucket; null where S3's own keys do."
  type        = string
}

variable "is_kms" {
  description = "Whether the bucket is encrypted with kms_key_arn, which may not be known before apply."
  type        = bool
}

variable "is_in_network" {
  description = "Whether jobs run in subnets of a VPC."
  type        = bool
}

variable "mlflow_arns" {
  description = "The managed MLflow server or app; empty where there is none."
  type        = list(string)
}

variable "mlflow_uri" {
  description = "Tracking URI of managed MLflow; null where there is none."
  type        = string
}

variable "has_mlflow" {
  description = "Whether there is managed MLflow; its ARN may not be known before apply."
  type        = bool
}

variable "readable_bucket_names" {
  description = "Other buckets that are read."
  type        = set(string)
}

variable "image_repository_arns" {
  description = "ECR repositories that images come from."
  type        = set(string)
}

variable "secret_arns" {
  description = "Secrets of Secrets Manager that jobs may read."
  type        = set(string)
}

variable "parameter_arns" {
  description = "Parameters of Systems Manager that jobs may read."
  type        = set(string)
}

variable "topic_arns" {
  description = "SNS topics that asynchronous endpoints write to."
  type        = set(string)
}

variable "shared_model_package_group_arns" {
  description = "Model package groups of other accounts."
  type        = set(string)
}

variable "web_identity_audiences" {
  description = "Audiences of tokens that jobs may ask STS for."
  type        = set(string)
}

variable "role_principal_arns" {
  description = "Who may take on the role of a verb, by verb."
  type        = map(set(string))
}

variable "oidc" {
  description = "Identities from elsewhere that may take on roles."
  type = map(object({
    issuer    = string
    audiences = set(string)
    subjects  = set(string)
    verbs     = set(string)
  }))
}

variable "options" {
  description = "Further options of the remote: name to value."
  type        = map(string)
}
