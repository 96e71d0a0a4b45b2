"use strict";

// Forms that are sent by GET leave out what is empty or as it is anyway, so that addresses stay short.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.method !== "get") return;
  const button = event.submitter;
  const left = [];
  for (const field of form.elements) {
    if (!field.name || field === button || field.disabled) continue;
    const isDouble = button && button.name === field.name && button.name !== "";
    const isDefault = "default" in field.dataset && field.value === field.dataset.default;
    if (isDouble || isDefault || field.value === "" || isUnchanged(field)) left.push(field);
  }
  if (button && button.dataset.onlyRuns !== undefined) {
    for (const field of form.elements) if (field.name !== "run" && field !== button) left.push(field);
  }
  for (const field of left) field.disabled = true;
  setTimeout(() => { for (const field of left) field.disabled = false; });  // for who comes back to this page
});

// Columns that the server chose are not spelt out until somebody changes them.
function isUnchanged(field) {
  const group = field.closest("[data-default='1']");
  if (!group) return false;
  return [...group.querySelectorAll("input")].every((box) => box.checked === box.defaultChecked);
}
