// Small helpers for the document. They write only what has changed, so that focus and selection stay.
//
// Every text of the server goes through `text` or `attr`; nothing here reads HTML.

const SVG = "http://www.w3.org/2000/svg";

/** Returns the element with this id. The page has all ids that the scripts name. */
export const byId = (id) => document.getElementById(id);

/**
 * Creates an element: `el("td.num", { scope: "row" }, "text", child)`. The name may have classes.
 * Properties that begin with `on` are listeners; those that are null or false are left out.
 */
export function el(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElement(tag), classes, properties, children);
}

/** Creates an SVG element, as `el` does. */
export function svg(name, properties = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElementNS(SVG, tag), classes, properties, children);
}

function fill(node, classes, properties, children) {
  if (classes.length > 0) node.classList.add(...classes);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false)
      node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

/** Sets the text of an element, if it differs. */
export function text(node, value) {
  const next = String(value);
  if (node.textContent !== next) node.textContent = next;
}

/** Sets or removes (`null`, `false`) an attribute, if it differs. */
export function attr(node, name, value) {
  if (value === null || value === undefined || value === false) {
    if (node.hasAttribute(name)) node.removeAttribute(name);
    return;
  }
  const next = value === true ? "" : String(value);
  if (node.getAttribute(name) !== next) node.setAttribute(name, next);
}

/** Hides or shows an element. */
export function show(node, isShown) {
  if (node.hidden === isShown) node.hidden = !isShown;
}

/** Sets a number as a custom property, for a width or a height in the style sheet. */
export function variable(node, name, value) {
  const next = String(Math.round(value * 1000) / 1000);
  if (node.style.getPropertyValue(name) !== next) node.style.setProperty(name, next);
}

const KEYED = new WeakMap();

/**
 * Makes the children of `parent` match `items`, one for each. An item keeps its element as long as its key is there.
 * @template T
 * @param {Element} parent has no other children
 * @param {T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => Element & {update?: (item: T) => void}} create
 *   makes the element, whose property `update` fills it in
 */
export function keyed(parent, items, keyOf, create) {
  const known = KEYED.get(parent) ?? new Map();
  const next = new Map();
  // Elements without an item go first. Otherwise those after them would all be moved, and a move takes the focus away.
  const wanted = new Set(items.map(keyOf));
  for (const [key, node] of known) {
    if (!wanted.has(key)) node.remove();
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    if (next.has(key)) continue;
    const node = known.get(key) ?? create(item);
    node.update?.(item);
    next.set(key, node);
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
  }
  KEYED.set(parent, next);
}
