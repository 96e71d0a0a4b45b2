# A role for each verb, and the one that SageMaker takes on for jobs and endpoints.

resource "aws_iam_role" "verb" {
  for_each = aws_iam_policy.verb

  name                 = each.value.name
  description          = each.value.description
  assume_role_policy   = module.documents.verb_trusts[each.key]
  permissions_boundary = var.permissions_boundary_arn
  tags                 = local.tags

  depends_on = [aws_iam_openid_connect_provider.this]
}

resource "aws_iam_role_policy_attachment" "verb" {
  for_each = aws_iam_policy.verb

  role       = aws_iam_role.verb[each.key].name
  policy_arn = each.value.arn
}

resource "aws_iam_role" "execution" {
  name                 = "${var.name}-execution"
  description          = "Jobs and endpoints of trackbridge."
  assume_role_policy   = module.documents.execution_trust
  permissions_boundary = var.permissions_boundary_arn
  tags                 = local.tags
}

resource "aws_iam_role_policy_attachment" "execution" {
  role       = aws_iam_role.execution.name
  policy_arn = aws_iam_policy.execution.arn
}

# What the program in a job does itself: it logs, and it registers models.
resource "aws_iam_role_policy_attachment" "execution_verb" {
  for_each = var.execution_verbs

  role       = aws_iam_role.execution.name
  policy_arn = aws_iam_policy.verb[each.key].arn
}
