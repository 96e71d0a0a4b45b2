# Alarms of the endpoints that are listed. `bridge deploy --alarm NAME` hands them to SageMaker, which takes an update back when
# one rings. Metrics are by endpoint and variant; a deployment of `bridge` is a variant of the same name.

locals {
  watched = {
    for found in flatten([
      for endpoint, settings in var.endpoints : [
        for deployment in settings.deployments : {
          key        = "${endpoint}/${deployment}"
          endpoint   = "${local.native_prefix}${endpoint}"
          deployment = deployment
          settings   = settings
        }
      ]
    ]) : found.key => found
  }
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each = local.watched

  alarm_name        = "${var.name}/${each.key}/errors"
  alarm_description = "More than ${each.value.settings.errors_percent_max} % of the requests to ${each.value.deployment} of ${each.value.endpoint} end with 5xx."
  namespace         = "AWS/SageMaker"
  metric_name       = "Invocation5XXErrors"
  # SageMaker sends a 0 or a 1 for each request: their average is the share.
  statistic           = "Average"
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.settings.errors_percent_max / 100
  period              = 60
  evaluation_periods  = 2
  # Before the first request there is nothing to ring for; `bridge deploy --plan` warns of an alarm that rings already.
  treat_missing_data = "notBreaching"
  alarm_actions      = var.alarm_topic_arns
  ok_actions         = var.alarm_topic_arns
  tags               = local.tags

  dimensions = {
    EndpointName = each.value.endpoint
    VariantName  = each.value.deployment
  }
}

resource "aws_cloudwatch_metric_alarm" "latency" {
  for_each = local.watched

  alarm_name          = "${var.name}/${each.key}/latency"
  alarm_description   = "One request in 20 to ${each.value.deployment} of ${each.value.endpoint} takes longer than ${each.value.settings.latency_ms_max} ms."
  namespace           = "AWS/SageMaker"
  metric_name         = "ModelLatency"
  extended_statistic  = "p95"
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.settings.latency_ms_max * 1000 # microseconds
  period              = 60
  evaluation_periods  = 2
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags

  dimensions = {
    EndpointName = each.value.endpoint
    VariantName  = each.value.deployment
  }
}
