output "tracking_uri" {
  description = "The place with bucket and role of jobs: works without a remote, in BRIDGE_TRACKING_URI."
  value       = module.documents.tracking_uri
}

output "mlflow_tracking_uri" {
  description = "ARN of managed MLflow, which is its tracking URI; null where there is none."
  value       = one(local.mlflow_arns)
}

output "remote_lines" {
  description = "The `bridge remotes add` lines, for a project that has a config.toml already."
  value       = module.documents.remote_lines
}

output "config_toml" {
  description = "A whole .bridge/config.toml: terraform output -raw config_toml > .bridge/config.toml"
  value       = module.documents.config_toml
}

output "bucket_name" {
  description = "The bucket of records, artifacts, code and outputs."
  value       = aws_s3_bucket.this.bucket
}

output "work_uri" {
  description = "Where inputs, outputs and checkpoints of jobs may lie: their role may write there."
  value       = "s3://${aws_s3_bucket.this.bucket}/work"
}

output "kms_key_arn" {
  description = "The key of the bucket; null with S3's own keys."
  value       = local.kms_key_arn
}

output "role_arns" {
  description = "Role of each verb, for the option role_arn or a profile of ~/.aws/config."
  value       = { for verb, role in aws_iam_role.verb : verb => role.arn }
}

output "policy_arns" {
  description = "Policy of each verb, to attach to people's own groups and permission sets."
  value       = { for verb, policy in aws_iam_policy.verb : verb => policy.arn }
}

output "execution_role_arn" {
  description = "The role of jobs and endpoints: the option job_role, BRIDGE_SAGEMAKER_ROLE."
  value       = aws_iam_role.execution.arn
}

output "alarm_names" {
  description = "Alarms by endpoint, for bridge deploy --alarm NAME; those of deployments that are to serve."
  value = {
    for endpoint, settings in var.endpoints : endpoint => flatten([
      for deployment in sort(settings.deployments) : [
        aws_cloudwatch_metric_alarm.errors["${endpoint}/${deployment}"].alarm_name,
        aws_cloudwatch_metric_alarm.latency["${endpoint}/${deployment}"].alarm_name,
      ]
    ])
  }
}

output "model_package_group_names" {
  description = "Model package groups by the name of the registered model."
  value       = { for name, group in aws_sagemaker_model_package_group.this : name => group.model_package_group_name }
}

output "subnet_ids" {
  description = "Subnets of jobs and endpoints (bridge deploy --option subnets=…)."
  value       = [for zone in local.zones : aws_subnet.private[zone].id]
}

output "security_group_id" {
  description = "Security group of jobs and endpoints (bridge deploy --option security_groups=…); null without a network."
  value       = one(aws_security_group.jobs[*].id)
}
