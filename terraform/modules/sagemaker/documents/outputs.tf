output "verbs" {
  description = "The verbs of permissions.json."
  value       = keys(local.permissions)
}

output "verb_policies" {
  description = "Policy of each verb, JSON."
  value       = local.verb_policies

  precondition {
    # IAM counts without white space, of which jsonencode writes none.
    condition     = alltrue([for policy in values(local.verb_policies) : length(policy) <= 6144])
    error_message = "The policy of a verb has more than the 6,144 characters that IAM takes: shorten readable_bucket_names or shared_model_package_group_arns."
  }
}

output "verb_trusts" {
  description = "Trust policy of each verb's role, JSON."
  value       = local.verb_trusts

  precondition {
    condition     = alltrue([for trust in values(local.verb_trusts) : length(trust) <= 2048])
    error_message = "A trust policy has more than the 2,048 characters that IAM takes: name fewer subjects in oidc, or fewer role_principal_arns."
  }

  precondition {
    condition     = alltrue([for trust in values(local.verb_trusts) : length(jsondecode(trust).Statement) > 0])
    error_message = "Nobody may take on the role of a verb: leave the verb out of role_principal_arns, or name somebody."
  }
}

output "execution_policy" {
  description = "Policy of the role of jobs and endpoints, JSON."
  value       = local.execution_policy

  precondition {
    condition     = length(local.execution_policy) <= 6144
    error_message = "The policy of the execution role has more than the 6,144 characters that IAM takes: name fewer buckets, secrets, parameters or topics, with wildcards where they have a common beginning."
  }
}

output "execution_trust" {
  description = "Trust policy of the role of jobs and endpoints, JSON."
  value       = local.execution_trust
}

output "execution_role_arn" {
  description = "ARN of the role of jobs and endpoints."
  value       = local.execution_role_arn
}

output "mlflow_policy" {
  description = "Policy of managed MLflow's own role, JSON."
  value       = local.mlflow_policy
}

output "folder" {
  description = "The adapter's folder in the bucket."
  value       = local.folder
}

output "uri" {
  description = "The place, without options."
  value       = local.uri
}

output "tracking_uri" {
  description = "The place with its options in the query: works without a remote."
  value       = "${local.uri}?${local.query}"
}

output "config_toml" {
  description = "A whole .bridge/config.toml."
  value       = local.config_toml
}

output "remote_lines" {
  description = "The `bridge remotes add` lines, one for each remote."
  value       = local.remote_lines
}
