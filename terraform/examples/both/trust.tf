# Each cloud signs tokens that tell who a job is, and the other one is told here whom of them to believe.
#
#   a job of Azure ML  -> token of Entra for the application below -> AWS STS, AssumeRoleWithWebIdentity -> role NAME-migration
#   a job of SageMaker -> token of AWS STS, GetWebIdentityToken    -> Entra, federated credential        -> identity NAME-migration
#
# with_other_cloud.py does both within a job.

locals {
  entra_issuer   = "https://login.microsoftonline.com/${data.azurerm_client_config.current.tenant_id}/v2.0"
  azure_audience = "api://AzureADTokenExchange"
}

# From Azure to AWS. The application is nothing but the audience of tokens: it has no secret, and nobody signs in to it.

resource "azuread_application_registration" "aws" {
  display_name                   = "${var.name}: AWS account of trackbridge"
  sign_in_audience               = "AzureADMyOrg"
  requested_access_token_version = 2 # issuer with /v2.0, audience is the client id
}

resource "azuread_application_identifier_uri" "aws" {
  application_id = azuread_application_registration.aws.id
  identifier_uri = "api://${azuread_application_registration.aws.client_id}"
}

# Without it the tenant knows no such audience. Whoever gets a token for it is still nobody to AWS: the role wants one subject.
resource "azuread_service_principal" "aws" {
  client_id = azuread_application_registration.aws.client_id
  tags      = [for key, value in var.tags : "${key}=${value}"]
}

# From AWS to Azure.

resource "aws_iam_outbound_web_identity_federation" "this" {}

resource "azurerm_user_assigned_identity" "migration" {
  name                = "id-${var.name}-migration"
  resource_group_name = azurerm_resource_group.this.name
  location            = azurerm_resource_group.this.location
  tags                = var.tags
}

resource "azurerm_federated_identity_credential" "migration" {
  name                      = "sagemaker"
  user_assigned_identity_id = azurerm_user_assigned_identity.migration.id
  audience                  = [local.azure_audience]
  issuer                    = aws_iam_outbound_web_identity_federation.this.issuer_identifier
  subject                   = module.sagemaker.execution_role_arn
}
