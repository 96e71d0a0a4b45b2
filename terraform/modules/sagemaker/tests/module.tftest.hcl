# Runs where the provider is at hand; it is mocked, and asks nobody.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }

  mock_data "aws_region" {
    defaults = { region = "eu-west-1" }
  }

  mock_resource "aws_kms_key" {
    defaults = { arn = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555" }
  }

  mock_resource "aws_iam_policy" {
    defaults = { arn = "arn:aws:iam::123456789012:policy/mock" }
  }

  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/mock" }
  }

  mock_resource "aws_sagemaker_mlflow_tracking_server" {
    defaults = { arn = "arn:aws:sagemaker:eu-west-1:123456789012:mlflow-tracking-server/team" }
  }
}

variables {
  name = "team"
}

run "defaults" {
  assert {
    condition     = output.bucket_name == "team-123456789012-eu-west-1"
    error_message = "The bucket's name has account and region."
  }

  assert {
    condition     = output.mlflow_tracking_uri == null && length(aws_sagemaker_mlflow_tracking_server.this) == 0 && length(aws_vpc.this) == 0
    error_message = "What bills by the hour is off."
  }

  assert {
    condition     = length(aws_kms_key.bucket) == 1 && aws_kms_key.bucket[0].enable_key_rotation
    error_message = "The bucket has a key of its own, which rotates."
  }

  assert {
    condition     = length(output.role_arns) == 5
    error_message = "There is a role for each verb."
  }
}

run "everything" {
  variables {
    prefix               = "wines"
    encryption           = "s3"
    mlflow               = "server"
    model_package_groups = { wine = "Quality of wine" }
    endpoints            = { wine = { deployments = ["v1"], kept_days = 30 } }
    network              = { zones = ["eu-west-1a", "eu-west-1b"] }
    oidc = {
      github = {
        issuer    = "https://token.actions.githubusercontent.com"
        audiences = ["sts.amazonaws.com"]
        subjects  = ["repo:owner/repository:ref:refs/heads/main"]
        verbs     = ["deployment"]
      }
    }
  }

  assert {
    condition     = aws_sagemaker_model_package_group.this["wine"].model_package_group_name == "wines-wine"
    error_message = "A group is behind the prefix."
  }

  assert {
    condition     = output.alarm_names.wine == ["team/wine/v1/errors", "team/wine/v1/latency"] && aws_cloudwatch_metric_alarm.errors["wine/v1"].dimensions.EndpointName == "wines-wine"
    error_message = "A deployment has two alarms, of SageMaker's name of the endpoint."
  }

  assert {
    condition     = aws_vpc_endpoint.interface["experiments"].service_name == "aws.sagemaker.eu-west-1.experiments"
    error_message = "A tracking server is reached from the network."
  }

  assert {
    condition     = aws_subnet.private["eu-west-1b"].cidr_block == "10.64.1.0/24"
    error_message = "A subnet's block goes by the letter of its zone."
  }

  assert {
    condition     = output.kms_key_arn == null && length(aws_kms_key.bucket) == 0
    error_message = "S3's own keys need none of ours."
  }

  assert {
    condition     = contains([for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.id], "payloads-wine-captured")
    error_message = "Payloads are deleted after kept_days."
  }
}

run "wildcards" {
  command = plan

  variables {
    oidc = {
      github = {
        issuer    = "https://token.actions.githubusercontent.com"
        audiences = ["sts.amazonaws.com"]
        subjects  = ["repo:owner/*"]
        verbs     = ["deployment"]
      }
    }
  }

  expect_failures = [var.oidc]
}

run "names" {
  command = plan

  variables {
    name   = "Team_1"
    prefix = "UPPER"
    mlflow = "yes"
  }

  expect_failures = [var.name, var.prefix, var.mlflow]
}
