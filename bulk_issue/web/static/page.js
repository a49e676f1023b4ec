// Small manners that HTML alone doesn't have. Without this file everything but live updates works.
"use strict";
(() => {
  const shown = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

  // Times in the zone of whoever looks.
  const localise = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      time.title = time.dateTime;
      time.textContent = shown.format(new Date(time.dateTime));
    }
  };

  // A part that somebody works in isn't replaced under their hands; nor does a detail close that they opened.
  document.addEventListener("htmx:sseBeforeMessage", (event) => {
    const part = event.target;
    const busy = part.contains(document.activeElement) && document.activeElement.matches("input, select, textarea, button, summary");
    if (busy || part.querySelector("form:has(input:checked), form input:not([type=hidden]):not(:placeholder-shown):user-valid")) {
      event.preventDefault();
      return;
    }
    part.dataset.open = [...part.querySelectorAll("details")].map((each, at) => (each.open ? at : -1)).join(" ");
  });
  document.addEventListener("htmx:sseMessage", (event) => {
    const open = new Set((event.target.dataset.open || "").split(" "));
    event.target.querySelectorAll("details").forEach((each, at) => { each.open = each.open || open.has(String(at)); });
    localise(event.target);
  });

  document.addEventListener("DOMContentLoaded", () => localise(document));
  if (document.readyState !== "loading") localise(document);

  for (const form of document.querySelectorAll("form[data-most]")) {
    const file = form.querySelector("input[type=file]");
    const drop = form.querySelector(".drop");
    const warning = form.querySelector("#too-large");
    const tooLarge = () => [...file.files].some((each) => each.size > Number(form.dataset.most));
    file.addEventListener("change", () => { warning.hidden = !tooLarge(); });
    form.addEventListener("submit", (event) => {
      if (tooLarge()) { event.preventDefault(); warning.hidden = false; file.focus(); }
    });
    for (const [name, over] of [["dragover", true], ["dragleave", false], ["drop", false]]) {
      drop.addEventListener(name, (event) => { event.preventDefault(); drop.classList.toggle("over", over); });
    }
    drop.addEventListener("drop", (event) => {
      if (event.dataTransfer.files.length) { file.files = event.dataTransfer.files; file.dispatchEvent(new Event("change")); }
    });
  }

  // Say that something is under way; a second press does nothing.
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (event.defaultPrevented || !button) return;
    setTimeout(() => {
      button.setAttribute("aria-busy", "true");
      if (button.dataset.busy) button.textContent = button.dataset.busy;
      button.disabled = true;
    });
  });
})();
