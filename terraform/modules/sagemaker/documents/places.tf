# Where each scope of permissions.json is. A scope that is not here fails the plan: nothing is granted by default.

locals {
  begin     = var.prefix == "" ? "" : "${var.prefix}-"
  folder    = var.prefix == "" ? "trackbridge" : "trackbridge/at/${var.prefix}"
  sagemaker = "arn:${var.partition}:sagemaker:${var.region}:${var.account_id}"
  logs      = "arn:${var.partition}:logs:${var.region}:${var.account_id}:log-group:/aws/sagemaker"
  alarms    = "arn:${var.partition}:cloudwatch:${var.region}:${var.account_id}:alarm"
  iam       = "arn:${var.partition}:iam::${var.account_id}"
  bucket    = "arn:${var.partition}:s3:::${var.bucket_name}"

  execution_role_arn = "${local.iam}:role/${var.name}-execution"

  # trackbridge/ is the adapter's own folder, work/ is free for inputs, outputs and checkpoints of jobs, mlflow/
  # is where clients of managed MLflow put their files, with their own credentials.
  objects = concat(
    ["${local.bucket}/${local.folder}/*", "${local.bucket}/work/*"],
    var.has_mlflow ? ["${local.bucket}/mlflow/*"] : [],
  )
  readable_buckets = [for name in sort(var.readable_bucket_names) : "arn:${var.partition}:s3:::${name}"]
  readable_objects = [for arn in local.readable_buckets : "${arn}/*"]

  resources = {
    # Without a condition on s3:prefix: S3 answers 403 instead of 404 for a missing object to whoever may not list
    # the bucket as such, and then no record could ever be made.
    bucket  = concat([local.bucket], local.readable_buckets)
    objects = local.objects

    # ARNs of SageMaker are in small letters; trials are named as AWS's own SDK names them, in either spelling.
    experiments = [
      "${local.sagemaker}:experiment/${local.begin}*",
      "${local.sagemaker}:experiment-trial/default-run-group-${local.begin}*",
      "${local.sagemaker}:experiment-trial/Default-Run-Group-${local.begin}*",
      "${local.sagemaker}:experiment-trial-component/${local.begin}*",
    ]
    model_packages = concat(
      ["${local.sagemaker}:model-package-group/${local.begin}*", "${local.sagemaker}:model-package/${local.begin}*"],
      sort(var.shared_model_package_group_arns),
      [for arn in sort(var.shared_model_package_group_arns) : "${replace(arn, ":model-package-group/", ":model-package/")}/*"],
    )
    models    = ["${local.sagemaker}:model/${local.begin}*"]
    endpoints = ["${local.sagemaker}:endpoint/${local.begin}*", "${local.sagemaker}:endpoint-config/${local.begin}*"]

    # Names of jobs are those of their specs, without the prefix.
    jobs = [for kind in ["training-job", "processing-job", "transform-job"] : "${local.sagemaker}:${kind}/*"]

    mlflow = var.mlflow_arns
    logs = concat(
      [for kind in ["TrainingJobs", "ProcessingJobs", "TransformJobs"] : "${local.logs}/${kind}:*"],
      ["${local.logs}/Endpoints/${local.begin}*"],
    )
    metrics = ["*"]
    alarms  = ["${local.alarms}:*"]
    images  = sort(var.image_repository_arns)
    secrets = sort(var.secret_arns)
    any     = ["*"]

    autoscaling = ["arn:${var.partition}:application-autoscaling:${var.region}:${var.account_id}:scalable-target/*"]

    # Application Auto Scaling makes the alarms of a scaling policy in the name of whoever puts that policy.
    scaling_alarms = ["${local.alarms}:TargetTracking-endpoint/${local.begin}*"]

    pass_role   = [local.execution_role_arn]
    passed_role = [local.execution_role_arn]

    # Made once in an account, by whoever is the first to scale an endpoint.
    service_linked_role = [
      "${local.iam}:role/aws-service-role/sagemaker.application-autoscaling.amazonaws.com/AWSServiceRoleForApplicationAutoScaling_SageMakerEndpoint",
    ]
  }

  # Actions whose place is narrower than that of their scope.
  narrowed = {
    "iam:PassRole"              = "passed_role"
    "cloudwatch:PutMetricAlarm" = "scaling_alarms"
    "cloudwatch:DeleteAlarms"   = "scaling_alarms"
  }

  conditions = {
    autoscaling         = { StringEquals = { "application-autoscaling:service-namespace" = "sagemaker" } }
    passed_role         = { StringEquals = { "iam:PassedToService" = "sagemaker.amazonaws.com" } }
    service_linked_role = { StringEquals = { "iam:AWSServiceName" = "sagemaker.application-autoscaling.amazonaws.com" } }
  }
}
