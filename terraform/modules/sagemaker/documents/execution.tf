# The role that SageMaker takes on for jobs and endpoints: what AWS lists for CreateTrainingJob, CreateProcessingJob and
# CreateModel, on what is ours. What the program in a job does beyond that is in the policies of verbs, which are
# attached beside this one.

locals {
  execution_statements = concat(
    [
      {
        Sid      = "Bucket"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = local.resources.bucket
      },
      {
        Sid      = "Objects"
        Effect   = "Allow"
        Action   = ["s3:AbortMultipartUpload", "s3:GetObject", "s3:ListMultipartUploadParts", "s3:PutObject"]
        Resource = local.objects
      },
      {
        Sid      = "Images"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = local.resources.images
      },
      {
        # A token is of the whole registry: IAM knows no resource for it.
        Sid      = "ImageToken"
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = ["*"]
      },
      {
        Sid      = "Logs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogGroup", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = ["${local.logs}/*"]
      },
      {
        # Metrics have no resource, but a namespace.
        Sid       = "Metrics"
        Effect    = "Allow"
        Action    = ["cloudwatch:PutMetricData"]
        Resource  = ["*"]
        Condition = { StringLike = { "cloudwatch:namespace" = ["/aws/sagemaker/*", "AWS/SageMaker*", "aws/sagemaker*"] } }
      },
      {
        # SageMaker looks at the alarms of a deployment (`bridge deploy --alarm`) as this role, and takes nothing back without.
        Sid      = "Alarms"
        Effect   = "Allow"
        Action   = ["cloudwatch:DescribeAlarms"]
        Resource = local.resources.alarms
      },
    ],
    local.kms_statements,
    local.reading_statements,
    [for statement in [
      { Sid = "Secrets", Effect = "Allow", Action = ["secretsmanager:GetSecretValue"], Resource = sort(var.secret_arns) },
      { Sid = "Parameters", Effect = "Allow", Action = ["ssm:GetParameter"], Resource = sort(var.parameter_arns) },
      { Sid = "Topics", Effect = "Allow", Action = ["sns:Publish"], Resource = sort(var.topic_arns) },
    ] : statement if length(statement.Resource) > 0],
    [for action in var.is_in_network ? ["ec2"] : [] : {
      # SageMaker puts a network interface of each machine into the subnets, before they have an ARN.
      Sid    = "Network"
      Effect = "Allow"
      Action = [
        "ec2:CreateNetworkInterface",
        "ec2:CreateNetworkInterfacePermission",
        "ec2:DeleteNetworkInterface",
        "ec2:DeleteNetworkInterfacePermission",
        "ec2:DescribeDhcpOptions",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSecurityGroups",
        "ec2:DescribeSubnets",
        "ec2:DescribeVpcs",
      ]
      Resource = ["*"]
    }],
    [for audiences in length(var.web_identity_audiences) > 0 ? [sort(var.web_identity_audiences)] : [] : {
      # A token by which another cloud knows the job; STS has no resource for it. Entra reads RS256 alone.
      Sid      = "WebIdentity"
      Effect   = "Allow"
      Action   = ["sts:GetWebIdentityToken"]
      Resource = ["*"]
      Condition = {
        "ForAllValues:StringEquals" = { "sts:IdentityTokenAudience" = audiences }
        Null                        = { "sts:IdentityTokenAudience" = "false" }
        StringEquals                = { "sts:SigningAlgorithm" = "RS256" }
      }
    }],
  )

  execution_policy = jsonencode({ Version = "2012-10-17", Statement = local.execution_statements })

  # Of the MLflow server or app: its files, and, where it registers models, the groups.
  mlflow_policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        { Sid = "Bucket", Effect = "Allow", Action = ["s3:ListBucket"], Resource = [local.bucket] },
        {
          Sid    = "Objects"
          Effect = "Allow"
          Action = [
            "s3:AbortMultipartUpload",
            "s3:DeleteObject",
            "s3:GetObject",
            "s3:ListMultipartUploadParts",
            "s3:PutObject",
          ]
          Resource = ["${local.bucket}/mlflow/*"]
        },
        {
          Sid    = "Registration"
          Effect = "Allow"
          Action = [
            "sagemaker:AddTags",
            "sagemaker:CreateModelPackage",
            "sagemaker:CreateModelPackageGroup",
            "sagemaker:DescribeModelPackageGroup",
            "sagemaker:UpdateModelPackage",
          ]
          Resource = ["${local.sagemaker}:model-package-group/*", "${local.sagemaker}:model-package/*"]
        },
      ],
      local.kms_statements,
    )
  })
}
