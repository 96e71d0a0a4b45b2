# A network without a way to the internet: subnets for machines of jobs and endpoints, S3 by a gateway, the other services by
# interfaces. SageMaker itself brings images and logs; they need no way from here.

locals {
  zones = var.network == null ? [] : sort(var.network.zones)

  # Of the service's own name, not com.amazonaws: MLflow's data plane.
  interface_services = var.network == null ? {} : merge(
    { for service in var.network.interface_services : service => "com.amazonaws.${local.region}.${service}" },
    length(var.secret_arns) > 0 ? { secretsmanager = "com.amazonaws.${local.region}.secretsmanager" } : {},
    length(var.parameter_arns) > 0 ? { ssm = "com.amazonaws.${local.region}.ssm" } : {},
    var.mlflow == "server" ? { experiments = "aws.sagemaker.${local.region}.experiments" } : {},
  )
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:there is no way out but to S3 and the services named, whose calls CloudTrail has; who wants flow logs adds aws_flow_log
  count = var.network == null ? 0 : 1

  cidr_block           = var.network.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true # private names of the interfaces
  tags                 = merge(local.tags, { Name = var.name })
}

# Whatever forgets to name a security group reaches nobody.
resource "aws_default_security_group" "this" {
  count = var.network == null ? 0 : 1

  vpc_id = aws_vpc.this[0].id
  tags   = merge(local.tags, { Name = "${var.name}-unused" })
}

resource "aws_subnet" "private" {
  for_each = toset(local.zones)

  vpc_id            = aws_vpc.this[0].id
  availability_zone = each.key
  # By the zone's letter, so that a zone that is added later moves no other.
  cidr_block              = cidrsubnet(var.network.cidr, 8, index(["a", "b", "c", "d", "e", "f"], substr(each.key, -1, 1)))
  map_public_ip_on_launch = false
  tags                    = merge(local.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_route_table" "private" {
  count = var.network == null ? 0 : 1

  vpc_id = aws_vpc.this[0].id
  tags   = merge(local.tags, { Name = var.name })
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  subnet_id      = each.value.id
  route_table_id = aws_route_table.private[0].id
}

# Machines of a job speak to each other on any port.
resource "aws_security_group" "jobs" {
  #checkov:skip=CKV2_AWS_5:SageMaker attaches it to the machines of jobs and endpoints, which Terraform does not make
  count = var.network == null ? 0 : 1

  name        = "${var.name}-jobs"
  description = "Machines of jobs and endpoints"
  vpc_id      = aws_vpc.this[0].id
  tags        = merge(local.tags, { Name = "${var.name}-jobs" })
}

resource "aws_vpc_security_group_ingress_rule" "between_jobs" {
  count = var.network == null ? 0 : 1

  security_group_id            = aws_security_group.jobs[0].id
  referenced_security_group_id = aws_security_group.jobs[0].id
  ip_protocol                  = "-1"
  description                  = "Between machines of a job"
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "between_jobs" {
  count = var.network == null ? 0 : 1

  security_group_id            = aws_security_group.jobs[0].id
  referenced_security_group_id = aws_security_group.jobs[0].id
  ip_protocol                  = "-1"
  description                  = "Between machines of a job"
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "to_services" {
  count = var.network == null ? 0 : 1

  security_group_id            = aws_security_group.jobs[0].id
  referenced_security_group_id = aws_security_group.services[0].id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  description                  = "Services by their interfaces"
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "to_s3" {
  count = var.network == null ? 0 : 1

  security_group_id = aws_security_group.jobs[0].id
  prefix_list_id    = aws_vpc_endpoint.s3[0].prefix_list_id
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  description       = "S3 by its gateway"
  tags              = local.tags
}

resource "aws_security_group" "services" {
  count = var.network == null ? 0 : 1

  name        = "${var.name}-services"
  description = "Interfaces of services"
  vpc_id      = aws_vpc.this[0].id
  tags        = merge(local.tags, { Name = "${var.name}-services" })
}

resource "aws_vpc_security_group_ingress_rule" "from_jobs" {
  count = var.network == null ? 0 : 1

  security_group_id            = aws_security_group.services[0].id
  referenced_security_group_id = aws_security_group.jobs[0].id
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  description                  = "Machines of jobs and endpoints"
  tags                         = local.tags
}

# Through this gateway only our buckets are reached: what a program in a job was told to send elsewhere stays here.
resource "aws_vpc_endpoint" "s3" {
  count = var.network == null ? 0 : 1

  vpc_id            = aws_vpc.this[0].id
  service_name      = "com.amazonaws.${local.region}.s3"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.private[0].id]
  tags              = merge(local.tags, { Name = "${var.name}-s3" })

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OurBuckets"
      Effect    = "Allow"
      Principal = "*"
      Action    = "s3:*"
      Resource = flatten([
        for name in concat([local.bucket_name], sort(var.readable_bucket_names)) : [
          "arn:${local.partition}:s3:::${name}",
          "arn:${local.partition}:s3:::${name}/*",
        ]
      ])
    }]
  })
}

resource "aws_vpc_endpoint" "interface" {
  for_each = local.interface_services

  vpc_id              = aws_vpc.this[0].id
  service_name        = each.value
  vpc_endpoint_type   = "Interface"
  private_dns_enabled = true
  subnet_ids          = [for zone in local.zones : aws_subnet.private[zone].id]
  security_group_ids  = [aws_security_group.services[0].id]
  tags                = merge(local.tags, { Name = "${var.name}-${each.key}" })
}
