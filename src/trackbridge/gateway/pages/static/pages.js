"use strict";

// mlflow's client prints addresses of mlflow's own pages, which say behind a # what is to be shown.
(() => {
  const run = /^#\/experiments\/[^/?]+\/runs\/([^/?]+)/.exec(location.hash);
  const experiment = /^#\/experiments\/([^/?]+)/.exec(location.hash);
  const model = /^#\/models\/([^/?]+)/.exec(location.hash);
  if (run) location.replace(`/runs/${run[1]}`);
  else if (experiment) location.replace(`/runs?experiment=${experiment[1]}`);
  else if (model) location.replace(`/models/by-name/${model[1]}`);
})();

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

// What a page says of being kept up to date holds until a question fails; the next answer says it again.
for (const failure of ["htmx:sendError", "htmx:responseError", "htmx:timeout"]) {
  document.addEventListener(failure, (event) => {
    const told = event.target.querySelector("[data-fresh]");
    if (told) told.textContent = "not up to date now: the server gives no answer, and is asked again";
  });
}
