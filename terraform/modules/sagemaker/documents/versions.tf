# No provider: this module only writes texts, so that all of it can be tested without an account and offline.
terraform {
  required_version = ">= 1.11"
}
