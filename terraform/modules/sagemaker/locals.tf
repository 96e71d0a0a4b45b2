data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  account_id = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  region     = data.aws_region.current.region

  # Written out, not taken from the bucket: policies are known when planned, and their size is checked then.
  bucket_name = coalesce(var.bucket_name, "${var.name}-${local.account_id}-${local.region}")
  is_kms      = var.encryption == "kms"
  makes_key   = local.is_kms && var.kms_key_arn == null
  kms_key_arn = local.makes_key ? aws_kms_key.bucket[0].arn : var.kms_key_arn

  native_prefix = var.prefix == "" ? "" : "${var.prefix}-"
  tags          = merge({ "trackbridge:module" = "sagemaker" }, var.tags)
}
