# Who may take on which role.

locals {
  # Without names, everybody of the account whose own policy allows sts:AssumeRole on the role.
  principals = {
    for verb in keys(local.permissions) : verb => sort(lookup(var.role_principal_arns, verb, ["${local.iam}:root"]))
  }

  oidc_statements = {
    for verb in keys(local.permissions) : verb => [
      for key, found in var.oidc : {
        Sid       = "Oidc${replace(title(replace(key, "/[^A-Za-z0-9]/", " ")), " ", "")}"
        Effect    = "Allow"
        Principal = { Federated = "${local.iam}:oidc-provider/${replace(found.issuer, "https://", "")}" }
        Action    = "sts:AssumeRoleWithWebIdentity"
        Condition = {
          StringEquals = { "${replace(found.issuer, "https://", "")}:aud" = sort(found.audiences) }
          StringLike   = { "${replace(found.issuer, "https://", "")}:sub" = sort(found.subjects) }
        }
      } if contains(found.verbs, verb)
    ]
  }

  verb_trusts = {
    for verb, principals in local.principals : verb => jsonencode({
      Version = "2012-10-17"
      Statement = concat(
        [for arns in length(principals) > 0 ? [principals] : [] : {
          Sid       = "Principals"
          Effect    = "Allow"
          Principal = { AWS = arns }
          Action    = "sts:AssumeRole"
        }],
        local.oidc_statements[verb],
      )
    })
  }

  # The account keeps other people's jobs from being run with this role (the confused deputy).
  execution_trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Jobs"
      Effect    = "Allow"
      Principal = { Service = "sagemaker.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = var.account_id } }
    }]
  })
}
