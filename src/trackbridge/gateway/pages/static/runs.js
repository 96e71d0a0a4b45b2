"use strict";

// The table of runs: the number of selected runs, and completion of the filter.
(() => {
  const form = document.getElementById("runs");
  const boxes = [...form.querySelectorAll("tbody input[name=run]")];
  const elsewhere = form.querySelectorAll("input[type=hidden][name=run]").length;
  const all = document.getElementById("all");

  function count() {
    const here = boxes.filter((box) => box.checked).length;
    document.getElementById("selected").textContent = `${here + elsewhere} selected`;
    if (!all) return;
    all.checked = boxes.length > 0 && here === boxes.length;
    all.indeterminate = here > 0 && here < boxes.length;
  }

  // The selection is part of the address, so that it survives a bookmark and the way back.
  function remember() {
    const address = new URL(location.href);
    const ids = [...form.querySelectorAll("input[name=run]")]
      .filter((box) => box.type === "hidden" || box.checked).map((box) => box.value);
    address.searchParams.delete("run");
    for (const id of ids) address.searchParams.append("run", id);
    history.replaceState(null, "", address);
  }

  form.addEventListener("change", (event) => {
    if (event.target === all) for (const box of boxes) box.checked = all.checked;
    if (event.target === all || event.target.name === "run") { count(); remember(); }
  });
  addEventListener("pageshow", count);

  // Completion.
  const input = document.getElementById("q");
  const list = document.getElementById("offers");
  let offers = null;
  let chosen = -1;
  let waiting = 0;
  let asked = 0;

  function close() {
    clearTimeout(waiting);
    asked += 1;
    offers = null;
    chosen = -1;
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function choose(index) {
    chosen = index;
    [...list.children].forEach((item, number) => item.setAttribute("aria-selected", String(number === index)));
    if (index >= 0) input.setAttribute("aria-activedescendant", list.children[index].id);
    else input.removeAttribute("aria-activedescendant");
  }

  function show(found) {
    offers = found;
    list.replaceChildren(...found.items.map((text, number) => {
      const item = document.createElement("span");
      item.id = `offer-${number}`;
      item.setAttribute("role", "option");
      item.textContent = text;
      item.addEventListener("mousedown", (event) => { event.preventDefault(); take(number); });
      return item;
    }));
    list.hidden = found.items.length === 0;
    input.setAttribute("aria-expanded", String(!list.hidden));
    choose(-1);
  }

  function take(index) {
    const text = offers.items[index] + (offers.items[index].endsWith("(") ? "" : " ");
    input.setRangeText(text, offers.start, offers.end, "end");
    close();
    ask();
  }

  async function ask() {
    const number = (asked += 1);
    const query = new URLSearchParams({ text: input.value, at: String(input.selectionStart) });
    for (const field of form.querySelectorAll("input[name=experiment]")) query.append("experiment", field.value);
    const answer = await fetch(`/runs/complete?${query}`);
    if (!answer.ok || number !== asked || document.activeElement !== input) return;
    show(await answer.json());
  }

  input.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(ask, 120);
  });
  input.addEventListener("blur", close);
  input.addEventListener("keydown", (event) => {
    if (event.key === "Escape" && !list.hidden) { event.preventDefault(); close(); return; }
    if (event.key === "ArrowDown" && list.hidden) { event.preventDefault(); ask(); return; }
    if (list.hidden) return;
    const count = offers.items.length;
    if (event.key === "ArrowDown") choose((chosen + 1) % count);
    else if (event.key === "ArrowUp") choose((chosen - 1 + count) % count);
    else if (event.key === "Enter" && chosen >= 0) take(chosen);
    else if (event.key === "Tab" && chosen >= 0) take(chosen);
    else return;
    event.preventDefault();
  });
  if (input.dataset.position !== undefined) {
    input.focus();
    input.setSelectionRange(Number(input.dataset.position), Number(input.dataset.position) + 1);
  }
})();
