# One policy for each verb of `bridge`, out of the calls that the tests have recorded of it.

locals {
  permissions = jsondecode(file("${path.module}/../permissions.json"))

  # The remote always names its bucket, and a bucket that is named is never made by the adapter.
  unneeded = ["s3:CreateBucket"]

  # By verb and place: the actions.
  actions = {
    for verb, entries in local.permissions : verb => {
      for scope, found in {
        for entry in entries : lookup(local.narrowed, entry.action, entry.scope) => entry.action...
        if !contains(local.unneeded, entry.action)
      } : scope => sort(distinct(found))
    }
  }

  verb_statements = {
    for verb, scopes in local.actions : verb => [
      for scope, found in scopes : {
        for key, value in {
          Sid       = replace(title(replace(scope, "_", " ")), " ", "")
          Effect    = "Allow"
          Action    = found
          Resource  = local.resources[scope]
          Condition = try(local.conditions[scope], null)
        } : key => value if value != null
      } if length(local.resources[scope]) > 0
    ]
  }

  # S3 uses the key in the caller's name, and only there.
  kms_statements = [
    for key_arn in var.is_kms ? [var.kms_key_arn] : [] : {
      Sid       = "BucketKey"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = [key_arn]
      Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
    }
  ]

  # Models of a migration, and inputs, that lie in other buckets.
  reading_statements = [
    for resources in length(local.readable_objects) > 0 ? [local.readable_objects] : [] : {
      Sid      = "OtherBuckets"
      Effect   = "Allow"
      Action   = ["s3:GetObject"]
      Resource = resources
    }
  ]

  verb_policies = {
    for verb, statements in local.verb_statements : verb => jsonencode({
      Version   = "2012-10-17"
      Statement = concat(statements, local.kms_statements, local.reading_statements)
    })
  }
}
