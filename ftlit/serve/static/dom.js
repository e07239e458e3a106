// Elements whose contents are texts: nothing that comes from data is ever parsed as HTML.

export function el(tag, attributes = {}, ...children) {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === false || value === undefined) continue;
    found.setAttribute(name, value === true ? "" : String(value));
  }
  found.append(...children.filter((child) => child !== undefined && child !== null).map(part));
  return found;
}

function part(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

export function on(root, selector, kind, listener) {
  for (const found of root.querySelectorAll(selector)) found.addEventListener(kind, listener);
}

// A page of this server that was fetched: its templates have escaped what they show.
export function parsed(text) {
  return new DOMParser().parseFromString(text, "text/html");
}

export function percent(share) {
  return `${(100 * share).toFixed(1)}%`;
}

export function number(value) {
  return Number.isInteger(value) ? value.toLocaleString("en") : value.toLocaleString("en", { maximumFractionDigits: 4 });
}
