# Registered models that are there from the start. Their versions are never made here: an endpoint takes only packages that
# somebody has approved.

resource "aws_sagemaker_model_package_group" "this" {
  for_each = var.model_package_groups

  model_package_group_name        = "${local.native_prefix}${each.key}"
  model_package_group_description = each.value == "" ? null : each.value
  tags                            = local.tags

  lifecycle {
    # `bridge` keeps aliases in tags of the group (alias:champion): terraform would take them away. SageMaker changes no
    # description: for another one, terraform would delete the group and make it anew.
    ignore_changes = [model_package_group_description, tags, tags_all]
  }
}
