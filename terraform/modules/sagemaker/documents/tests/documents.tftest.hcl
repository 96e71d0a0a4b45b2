# Needs no provider and no network: terraform init && terraform test

variables {
  name                            = "team"
  remote_name                     = "team"
  partition                       = "aws"
  region                          = "eu-west-1"
  account_id                      = "123456789012"
  prefix                          = "team"
  bucket_name                     = "team-123456789012-eu-west-1"
  kms_key_arn                     = null
  is_kms                          = false
  is_in_network                   = false
  mlflow_arns                     = []
  mlflow_uri                      = null
  has_mlflow                      = false
  readable_bucket_names           = []
  image_repository_arns           = ["arn:aws:ecr:eu-west-1:*:repository/*"]
  secret_arns                     = []
  parameter_arns                  = []
  topic_arns                      = []
  shared_model_package_group_arns = []
  web_identity_audiences          = []
  role_principal_arns             = {}
  oidc                            = {}
  options                         = {}
}

run "least" {
  assert {
    condition     = toset(output.verbs) == toset(["tracking", "registry", "jobs", "deployment", "migration"])
    error_message = "There is a policy for each verb."
  }

  assert {
    condition = alltrue(flatten([
      for policy in values(output.verb_policies) : [
        for statement in jsondecode(policy).Statement : length(statement.Action) > 0 && length(statement.Resource) > 0
      ]
    ]))
    error_message = "IAM takes no statement without an action or a resource."
  }

  assert {
    condition = alltrue(flatten([
      for policy in concat(values(output.verb_policies), [output.execution_policy]) : [
        for statement in jsondecode(policy).Statement : [for action in statement.Action : !strcontains(action, "*")]
      ]
    ]))
    error_message = "Actions are named one by one."
  }

  assert {
    condition = alltrue(flatten([
      for policy in values(output.verb_policies) : [
        for statement in jsondecode(policy).Statement : statement.Sid == "Any" || !contains(statement.Resource, "*")
      ]
    ]))
    error_message = "Only what IAM cannot restrict is allowed everywhere."
  }

  assert {
    condition = alltrue(flatten([
      for policy in values(output.verb_policies) : [
        for statement in jsondecode(policy).Statement :
        statement.Condition.StringEquals["iam:PassedToService"] == "sagemaker.amazonaws.com"
        && statement.Resource == ["arn:aws:iam::123456789012:role/team-execution"]
        if contains(statement.Action, "iam:PassRole")
      ]
    ]))
    error_message = "Only the execution role is passed, and to SageMaker alone."
  }

  assert {
    condition     = !strcontains(join("", values(output.verb_policies)), "s3:CreateBucket")
    error_message = "The bucket is there; nobody needs to make one."
  }

  assert {
    condition     = !strcontains(join("", concat(values(output.verb_policies), [output.execution_policy])), "kms:")
    error_message = "Without a key there is nothing to allow on it."
  }

  assert {
    condition     = output.folder == "trackbridge/at/team" && strcontains(output.verb_policies.tracking, "arn:aws:s3:::team-123456789012-eu-west-1/trackbridge/at/team/*")
    error_message = "Objects are those of the place's folder."
  }

  assert {
    condition     = output.uri == "sagemaker://eu-west-1/team" && output.tracking_uri == "sagemaker://eu-west-1/team?bucket=team-123456789012-eu-west-1&job_role=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fteam-execution"
    error_message = "The tracking URI has bucket and role as options."
  }

  assert {
    condition = anytrue([
      for statement in jsondecode(output.execution_policy).Statement :
      contains(statement.Action, "cloudwatch:DescribeAlarms") && statement.Resource == ["arn:aws:cloudwatch:eu-west-1:123456789012:alarm:*"]
    ])
    error_message = "SageMaker sees the alarms that take a deployment back."
  }

  assert {
    condition     = jsondecode(output.execution_trust).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    error_message = "Only jobs of this account run with the role."
  }
}

run "no_prefix" {
  variables {
    prefix = ""
  }

  assert {
    condition     = output.uri == "sagemaker://eu-west-1" && output.folder == "trackbridge"
    error_message = "Without a prefix the place is the region."
  }

  assert {
    condition     = strcontains(output.verb_policies.tracking, "\"arn:aws:sagemaker:eu-west-1:123456789012:experiment/*\"")
    error_message = "Without a prefix every experiment is ours."
  }
}

# Everything at once: as long as policies get.
run "most" {
  variables {
    name                  = "a-team-with-a-long-name2"
    remote_name           = "a-team-with-a-long-name2"
    prefix                = "a-prefix-of-twenty-c"
    bucket_name           = "a-team-with-a-long-name2-123456789012-ap-southeast-1"
    region                = "ap-southeast-1"
    kms_key_arn           = "arn:aws:kms:ap-southeast-1:123456789012:key/11111111-2222-3333-4444-555555555555"
    is_kms                = true
    is_in_network         = true
    has_mlflow            = true
    mlflow_uri            = "arn:aws:sagemaker:ap-southeast-1:123456789012:mlflow-tracking-server/a-team-with-a-long-name2"
    mlflow_arns           = ["arn:aws:sagemaker:ap-southeast-1:123456789012:mlflow-tracking-server/a-team-with-a-long-name2"]
    readable_bucket_names = ["another-team-s-data-1", "another-team-s-data-2"]
    secret_arns           = ["arn:aws:secretsmanager:ap-southeast-1:123456789012:secret:team/*"]
    parameter_arns        = ["arn:aws:ssm:ap-southeast-1:123456789012:parameter/team/*"]
    topic_arns            = ["arn:aws:sns:ap-southeast-1:123456789012:answers"]
    shared_model_package_group_arns = [
      "arn:aws:sagemaker:ap-southeast-1:210987654321:model-package-group/wine",
    ]
    web_identity_audiences = ["api://AzureADTokenExchange"]
    role_principal_arns = {
      registry = []
      jobs     = ["arn:aws:iam::123456789012:role/data-scientist"]
    }
    oidc = {
      github = {
        issuer    = "https://token.actions.githubusercontent.com"
        audiences = ["sts.amazonaws.com"]
        subjects  = ["repo:owner/repository:ref:refs/heads/main"]
        verbs     = ["registry", "deployment"]
      }
    }
    options = { job_subnets = "subnet-1,subnet-2", job_security_groups = "sg-1" }
  }

  assert {
    condition     = strcontains(output.verb_policies.migration, "210987654321:model-package/wine/*")
    error_message = "Versions of a shared group are allowed with it."
  }

  assert {
    condition = alltrue([
      for statement in jsondecode(output.verb_trusts.registry).Statement : statement.Action == "sts:AssumeRoleWithWebIdentity"
    ])
    error_message = "With an empty set of principals only tokens take on the role."
  }

  assert {
    condition = (
      jsondecode(output.verb_trusts.deployment).Statement[1].Principal.Federated == "arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com"
      && jsondecode(output.verb_trusts.deployment).Statement[1].Condition.StringEquals["token.actions.githubusercontent.com:aud"] == ["sts.amazonaws.com"]
      && jsondecode(output.verb_trusts.deployment).Statement[1].Condition.StringLike["token.actions.githubusercontent.com:sub"] == ["repo:owner/repository:ref:refs/heads/main"]
    )
    error_message = "Issuer, audience and subject are all wanted."
  }

  assert {
    condition     = length(jsondecode(output.verb_trusts.tracking).Statement) == 1
    error_message = "A verb that is not named is not for the pipeline."
  }

  assert {
    condition     = strcontains(output.config_toml, "job_subnets = \"subnet-1,subnet-2\"") && strcontains(output.config_toml, "[remotes.a-team-with-a-long-name2-mlflow]")
    error_message = "config.toml has the network and MLflow."
  }

  assert {
    condition     = length(output.remote_lines) == 2
    error_message = "There is a line for each remote."
  }
}

run "nobody" {
  command = plan

  variables {
    role_principal_arns = { jobs = [] }
  }

  expect_failures = [output.verb_trusts]
}

run "too_long" {
  command = plan

  variables {
    readable_bucket_names = [for number in range(60) : "a-bucket-whose-name-is-as-long-as-s3-lets-it-be-number-${number}"]
  }

  expect_failures = [output.verb_policies, output.execution_policy]
}
