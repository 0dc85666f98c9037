"use strict";
// Unfold listens for clicks on elements that no keyboard reaches. Here they become buttons, with a name each.

const NAMES = {
  dock_to_right: "Show or hide the menu",
  close: "Close",
  filter_list: "Filters",
  search: "Search",
  light_mode: "Light",
  dark_mode: "Dark",
  computer: "As the system",
};

function makeButton(element) {
  element.setAttribute("role", "button");
  element.setAttribute("tabindex", "0");
  const icon = element.matches(".material-symbols-outlined") ? element : element.querySelector(".material-symbols-outlined");
  const hasOwnText = [...element.querySelectorAll("*"), element].some(
    (one) => !one.closest(".material-symbols-outlined") && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()),
  );
  if (icon && !hasOwnText) {
    element.setAttribute("aria-label", NAMES[icon.textContent.trim()] || "More");
  }
  element.addEventListener("keydown", (event) => {
    if (event.target === element && (event.key === "Enter" || event.key === " ")) {
      event.preventDefault();
      element.click();
    }
  });
}

document.addEventListener("DOMContentLoaded", () => {
  const clickable = "span[x-on\\:click], div.cursor-pointer[x-on\\:click], h2[x-on\\:click], a[x-on\\:click]:not([href])";
  document.querySelectorAll(clickable).forEach(makeButton);
  document.querySelectorAll("button:not([aria-label]):not([title])").forEach((button) => {
    const icon = button.querySelector(":scope > .material-symbols-outlined:only-child");
    if (icon && button.textContent.trim() === icon.textContent.trim()) {
      button.setAttribute("aria-label", NAMES[icon.textContent.trim()] || "More");
    }
  });
  // Their text is the name of a sign, which nobody wants to have read to them.
  document.querySelectorAll(".material-symbols-outlined:not([role])").forEach((icon) => icon.setAttribute("aria-hidden", "true"));
});
