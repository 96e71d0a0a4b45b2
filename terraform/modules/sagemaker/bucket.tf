# The bucket of records, artifacts, code and outputs. Below trackbridge/ everything is the adapter's own; docs/sagemaker.md
# says what lies where. work/ is free: inputs, outputs and checkpoints of jobs. mlflow/ is managed MLflow's.

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV2_AWS_62:nothing here waits for an object; who wants events adds aws_s3_bucket_notification to bucket_name
  #checkov:skip=CKV_AWS_144:a second region is a second bill and a second place to protect; versions undo mistakes, and bridge migrate copies
  bucket        = local.bucket_name
  force_destroy = var.is_bucket_destroyed
  tags          = local.tags

  # Destroyed before its key: where destroy stops at a bucket with something in it, the key that reads it is still there.
  depends_on = [aws_kms_key.bucket]
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket                  = aws_s3_bucket.this.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_kms_key" "bucket" {
  count = local.makes_key ? 1 : 0

  description             = "Objects of s3://${local.bucket_name}"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = local.tags

  # IAM policies of the account decide; without this statement nobody, not even root, could ever change the key.
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "Account"
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.partition}:iam::${local.account_id}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_kms_alias" "bucket" {
  count = local.makes_key ? 1 : 0

  name          = "alias/${var.name}-trackbridge"
  target_key_id = aws_kms_key.bucket[0].key_id
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    # One request to KMS for many objects: a run writes hundreds of small ones.
    bucket_key_enabled = local.is_kms

    apply_server_side_encryption_by_default {
      sse_algorithm     = local.is_kms ? "aws:kms" : "AES256"
      kms_master_key_id = local.is_kms ? local.kms_key_arn : null
    }
  }
}

# TLS alone. No statement on encryption headers: SageMaker writes outputs of jobs with a header of its own choice, and a
# job whose output is refused at its end has cost all its hours.
resource "aws_s3_bucket_policy" "this" {
  bucket = aws_s3_bucket.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "NewTlsOnly"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [aws_s3_bucket.this.arn, "${aws_s3_bucket.this.arn}/*"]
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
    ]
  })

  # S3 refuses two changes of a bucket at the same time.
  depends_on = [aws_s3_bucket_public_access_block.this, aws_s3_bucket_ownership_controls.this]
}

# Nothing current that was tracked is ever deleted by age. Not even what jobs were sent: below inputs/ and whole/ a mark says
# that all files of an input are there, and an input without its files, but with its mark, would never be sent again.
resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  # An upload that nobody has gone on with for a week. Delivery that does after all begins anew: the journal still has
  # the file.
  rule {
    id     = "abandoned-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  # Records are overwritten at each change; the versions before serve nothing but to take a mistake back.
  rule {
    id     = "noncurrent-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  # Payloads of people, where the user says for how long. Records of the endpoint lie beside these folders.
  dynamic "rule" {
    for_each = {
      for found in flatten([
        for endpoint, settings in var.endpoints : [
          for folder in ["captured", "requests", "answers"] : { key = "${endpoint}/${folder}", days = settings.kept_days }
        ] if settings.kept_days != null
      ]) : found.key => found.days
    }

    content {
      id     = "payloads-${replace(rule.key, "/", "-")}"
      status = "Enabled"

      filter {
        prefix = "${module.documents.folder}/endpoints/${rule.key}/"
      }

      expiration {
        days = rule.value
      }

      # The bucket keeps versions: without this, what was deleted would be there for noncurrent_days more.
      noncurrent_version_expiration {
        noncurrent_days = 1
      }
    }
  }

  # Rules on versions need versioning.
  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_logging" "this" {
  count = var.access_log_bucket_name == null ? 0 : 1

  bucket        = aws_s3_bucket.this.id
  target_bucket = var.access_log_bucket_name
  target_prefix = "${local.bucket_name}/"
}
