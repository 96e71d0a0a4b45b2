# What each verb of `bridge` may do, out of permissions.json, which the tests record: no right more, none less.
#
# A verb's role holds what it needs of the workspace, its storage and its key vault, and is assigned on each of these.
# What it needs of the resource group or of the subscription is a role of its own, VERB-SCOPE, so that nothing else
# reaches as far.

locals {
  permissions = jsondecode(file("${path.module}/permissions.json"))

  # By scope of permissions.json what it means here.
  scope_ids = {
    workspace      = azurerm_machine_learning_workspace.this.id
    storage        = azurerm_storage_account.this.id
    key_vault      = azurerm_key_vault.this.id
    resource_group = local.resource_group_id
    subscription   = local.subscription_id
  }

  # Scopes with a role of their own.
  wide_scopes = ["resource_group", "subscription"]

  rights = flatten([
    for verb, entries in local.permissions : [
      for entry in entries : {
        verb   = verb
        role   = contains(local.wide_scopes, entry.scope) ? "${verb}-${entry.scope}" : verb
        scope  = entry.scope
        kind   = entry.kind
        action = entry.action
      } if entry.scope != "subscription" || var.subscription_reads_enabled
    ]
  ])

  roles = { for right in local.rights : right.role => right... }

  principals = merge(
    { for name, principal in var.principals : "principal-${name}" => principal },
    {
      for name, identity in var.ci_identities : "ci-${name}" => {
        object_id = azurerm_user_assigned_identity.ci[name].principal_id
        type      = "ServicePrincipal"
        verbs     = identity.verbs
      }
    },
  )

  # The keys are made of what is known before anything exists.
  assignments = {
    for item in flatten([
      for name, principal in local.principals : [
        for role, rights in local.roles : [
          for scope in distinct(rights[*].scope) : {
            key       = join(" ", [name, role, scope])
            principal = name
            role      = role
            scope     = scope
          }
        ] if contains(principal.verbs, rights[0].verb)
      ]
    ]) : item.key => item
  }
}

resource "azurerm_role_definition" "verb" {
  for_each = local.roles

  # Names of roles are unique in the whole tenant.
  name              = "trackbridge ${var.name}-${local.suffix} ${each.key}"
  description       = "What 'bridge' calls for ${each.value[0].verb} in the workspace ${var.name}"
  scope             = each.value[0].scope == "subscription" ? local.subscription_id : local.resource_group_id
  assignable_scopes = [each.value[0].scope == "subscription" ? local.subscription_id : local.resource_group_id]

  permissions {
    actions      = sort(distinct([for right in each.value : right.action if right.kind == "action"]))
    data_actions = sort(distinct([for right in each.value : right.action if right.kind == "data_action"]))
  }
}

resource "azurerm_role_assignment" "verb" {
  for_each = local.assignments

  scope              = local.scope_ids[each.value.scope]
  role_definition_id = azurerm_role_definition.verb[each.value.role].role_definition_resource_id
  principal_id       = local.principals[each.value.principal].object_id
  principal_type     = local.principals[each.value.principal].type
}
