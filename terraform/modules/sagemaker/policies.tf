# The texts of all policies, and what is pasted into a project. They are made in documents/, which needs no provider.

module "documents" {
  source = "./documents"

  name        = var.name
  remote_name = var.name
  partition   = local.partition
  region      = local.region
  account_id  = local.account_id
  prefix      = var.prefix
  bucket_name = local.bucket_name
  kms_key_arn = local.kms_key_arn
  is_kms      = local.is_kms

  is_in_network = var.network != null
  has_mlflow    = var.mlflow != "none"
  mlflow_arns   = local.mlflow_arns
  mlflow_uri    = one(local.mlflow_arns)

  readable_bucket_names = var.readable_bucket_names
  image_repository_arns = length(var.image_repository_arns) > 0 ? var.image_repository_arns : [
    "arn:${local.partition}:ecr:${local.region}:*:repository/*",
  ]
  secret_arns                     = var.secret_arns
  parameter_arns                  = var.parameter_arns
  topic_arns                      = var.topic_arns
  shared_model_package_group_arns = var.shared_model_package_group_arns
  web_identity_audiences          = var.web_identity_audiences
  role_principal_arns             = var.role_principal_arns
  oidc                            = var.oidc

  options = var.network == null ? {} : {
    job_subnets         = join(",", [for zone in sort(var.network.zones) : aws_subnet.private[zone].id])
    job_security_groups = aws_security_group.jobs[0].id
  }
}

# One for each verb of `bridge`. Attach them to people's own groups and permission sets, or take on the roles of roles.tf.
resource "aws_iam_policy" "verb" {
  for_each = toset(["tracking", "registry", "jobs", "deployment", "migration"])

  name        = "${var.name}-${each.key}"
  description = "What bridge needs for ${each.key}; made from the calls that its tests have recorded."
  policy      = module.documents.verb_policies[each.key]
  tags        = local.tags
}

resource "aws_iam_policy" "execution" {
  name        = "${var.name}-execution"
  description = "What SageMaker needs for jobs and endpoints of trackbridge."
  policy      = module.documents.execution_policy
  tags        = local.tags
}
