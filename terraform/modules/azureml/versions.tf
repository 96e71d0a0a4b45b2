terraform {
  required_version = ">= 1.9.0, < 2.0.0"

  required_providers {
    azurerm = {
      source = "hashicorp/azurerm"
      # 4.77.0 brought storage_account_access_type, without which storage must keep its shared keys.
      version = "~> 4.77"
    }
  }
}
