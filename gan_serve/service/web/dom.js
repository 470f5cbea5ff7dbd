/** Small helpers for building and watching the page. */

/**
 * Make an element: `h("button", { class: "primary", onclick: go, "aria-label": "Go" }, "Go")`.
 * Functions become listeners; true and false set or leave out an attribute.
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") {
      element.addEventListener(name.replace(/^on/, ""), value);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

/** A line icon of 20 x 20. */
export function icon(path) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS(SVG, "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

export const ICONS = {
  close: "M5.5 5.5l9 9M14.5 5.5l-9 9",
  play: "M7 4.5v11l9-5.5z",
  pause: "M7 5.5v9M13 5.5v9",
  pin: "M10 12.5V18M6 12.5h8l-1.5-3V4h1V2.5h-7V4h1v5.5z",
};

export const $ = (id) => document.getElementById(id);

/**
 * One stop for the Tab key, arrow keys within (the pattern of a listbox or a table).
 * @param {HTMLElement} container
 * @param {string} selector of the items
 * @param {() => number} columns
 */
export function arrowKeys(container, selector, columns) {
  container.addEventListener("focusin", ({ target }) => {
    const item = target.closest(selector);
    if (item) makeTabStop(container, selector, item);
  });
  container.addEventListener("keydown", (event) => {
    const items = [...container.querySelectorAll(selector)];
    const at = items.indexOf(event.target.closest(selector));
    if (at < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const to = {
      ArrowLeft: at - 1,
      ArrowRight: at + 1,
      ArrowUp: at - columns(),
      ArrowDown: at + columns(),
      Home: 0,
      End: items.length - 1,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    items[to]?.focus();
  });
}

/** Let the Tab key stop at `item` and at no other of the container's. */
export function makeTabStop(container, selector, item) {
  for (const other of container.querySelectorAll(selector)) other.tabIndex = other === item ? 0 : -1;
}

/** Rebuild a list by `render`; where the focus was on one of its buttons, it goes to the one that stands there now. */
export function keepFocus(list, render) {
  const at = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  render();
  const buttons = list.querySelectorAll("button");
  if (at >= 0) buttons[Math.min(at, buttons.length - 1)]?.focus();
}

/** Put text on the clipboard; the old way where the page was not loaded over HTTPS or from this machine. */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = h("textarea", { class: "off-screen", readonly: true });
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

/** A button that copies, and says for a moment that it did. */
export function copyButton(name, text, attributes = {}) {
  const said = h("span", {}, name);
  const button = h("button", { type: "button", ...attributes }, said);
  wireCopy(button, said, text);
  return button;
}

/** Make an existing button copy what `text()` gives; `said` holds its words. */
export function wireCopy(button, said, text) {
  const name = said.textContent;
  const heard = h("span", { class: "off-screen", "aria-live": "polite" });
  const say = (words) => {
    said.textContent = words || name;
    heard.textContent = words;
    button.classList.toggle("said", Boolean(words));
  };
  button.addEventListener("click", async () => {
    button.after(heard);
    try {
      await copyText(text());
      say("Copied");
    } catch {
      say("Not allowed");
    }
    setTimeout(() => say(""), 1600);
  });
}

/** Save bytes as a file. */
export function saveFile(blob, name) {
  const url = URL.createObjectURL(blob);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
