terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source = "hashicorp/aws"
      # 6.40 has aws_sagemaker_mlflow_app; 7 may rename arguments.
      version = "~> 6.40"
    }
  }
}
