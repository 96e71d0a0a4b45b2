# Managed MLflow. Off by default: a tracking server bills by the hour, used or not.

locals {
  mlflow_arns = concat(aws_sagemaker_mlflow_app.this[*].arn, aws_sagemaker_mlflow_tracking_server.this[*].arn)
}

resource "aws_iam_role" "mlflow" {
  count = var.mlflow == "none" ? 0 : 1

  name                 = "${var.name}-mlflow"
  description          = "Managed MLflow of trackbridge: its files, and models that it registers."
  permissions_boundary = var.permissions_boundary_arn
  tags                 = local.tags

  # Without aws:SourceAccount: AWS does not say that MLflow sends it.
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Mlflow"
      Effect    = "Allow"
      Principal = { Service = "sagemaker.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "mlflow" {
  count = var.mlflow == "none" ? 0 : 1

  name   = "mlflow"
  role   = aws_iam_role.mlflow[0].id
  policy = module.documents.mlflow_policy
}

resource "aws_sagemaker_mlflow_app" "this" {
  count = var.mlflow == "app" ? 1 : 0

  name                    = var.name
  role_arn                = aws_iam_role.mlflow[0].arn
  artifact_store_uri      = "s3://${local.bucket_name}/mlflow"
  model_registration_mode = var.is_mlflow_registering ? "AutoModelRegistrationEnabled" : "AutoModelRegistrationDisabled"
  tags                    = local.tags

  depends_on = [aws_iam_role_policy.mlflow, aws_s3_bucket_policy.this]
}

resource "aws_sagemaker_mlflow_tracking_server" "this" {
  count = var.mlflow == "server" ? 1 : 0

  tracking_server_name         = var.name
  tracking_server_size         = var.mlflow_server_size
  mlflow_version               = var.mlflow_version
  role_arn                     = aws_iam_role.mlflow[0].arn
  artifact_store_uri           = "s3://${local.bucket_name}/mlflow"
  automatic_model_registration = var.is_mlflow_registering
  tags                         = local.tags

  depends_on = [aws_iam_role_policy.mlflow, aws_s3_bucket_policy.this]

  lifecycle {
    # AWS changes no version in place: for another one, terraform would delete the server with all runs in it.
    ignore_changes = [mlflow_version]
  }
}
