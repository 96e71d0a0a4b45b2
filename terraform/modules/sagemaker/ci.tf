# Issuers of tokens that take on roles without a secret: GitHub, Azure Pipelines, Entra. Which claims a role wants is in its trust
# policy (documents/trust.tf). An account knows each issuer once: entries of `oidc` with the same one share a provider.

resource "aws_iam_openid_connect_provider" "this" {
  for_each = toset([for found in values(var.oidc) : found.issuer if !found.has_provider])

  url            = each.key
  client_id_list = distinct(flatten([for found in values(var.oidc) : sort(found.audiences) if found.issuer == each.key]))
  tags           = local.tags

  # No thumbprints: IAM checks certificates by its own list of authorities, and finds the thumbprint itself where it needs one. One
  # that is written down here would be the first thing to break.
}
