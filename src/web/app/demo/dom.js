// Elements: made, changed only where they differ, and kept in lists by key, so that focus and video survive every render.

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

/** An element. `on…` are listeners, `data` the dataset, names with a dash and the few below attributes, others properties. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) set(element, name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

const ATTRIBUTES = new Set(["role", "for", "popover", "list"]);

/** Sets one thing of an element if it is other than now. */
export function set(element, name, value) {
  if (name.startsWith("on")) {
    element.addEventListener(name.slice(2).toLowerCase(), value);
  } else if (name === "class") {
    if (element.className !== value) element.className = value;
  } else if (name === "data") {
    for (const [key, one] of Object.entries(value)) {
      if (one === null || one === undefined || one === false) delete element.dataset[key];
      else if (element.dataset[key] !== String(one)) element.dataset[key] = one;
    }
  } else if (name.includes("-") || ATTRIBUTES.has(name)) {
    if (value === null || value === undefined) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  } else if (element[name] !== value) {
    element[name] = value;
  }
}

/** Several at once. */
export function update(element, props) {
  for (const [name, value] of Object.entries(props)) set(element, name, value);
  return element;
}

/** Text that is written only when it changes: screen readers and selections stay undisturbed. */
export function text(element, value) {
  if (element.textContent !== value) element.textContent = value;
  return element;
}

/** A picture of the sprite; what it means stands in words beside it or in a label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(document.createElementNS(SVG, "use"));
  return reicon(svg, name);
}

/** Another picture in the same place. */
export function reicon(svg, name) {
  const use = svg.firstElementChild;
  if (use.getAttribute("href") !== `#i-${name}`) use.setAttribute("href", `#i-${name}`);
  return svg;
}

/**
 * Makes `container` hold one element per item, in order. Elements of the same key stay the same; `create(item)` makes
 * `{element, update(item)}`. Gives the views by key.
 */
export function keyed(container, items, key, create) {
  const views = (container.views ??= new Map());
  const wanted = new Set(items.map(key));
  for (const [name, view] of views) {
    if (wanted.has(name)) continue;
    view.remove?.();
    view.element.remove();
    views.delete(name);
  }
  let before = null;
  for (const item of items) {
    const name = key(item);
    let view = views.get(name);
    if (!view) views.set(name, (view = create(item)));
    const place = before ? before.nextSibling : container.firstChild;
    // Moved only when it must: moving a video stops it.
    if (view.element !== place) container.insertBefore(view.element, place);
    view.update(item);
    before = view.element;
  }
  return views;
}

/** A round picture of a person: the first letters of the name in a colour of their own. */
export function face(person) {
  const element = h("span", { class: "face-dot", "aria-hidden": "true" });
  return reface(element, person);
}

export function reface(element, person) {
  text(element, initials(name(person)));
  element.style.setProperty("--hue", hue(person?.user ?? ""));
  return element;
}

export const name = (person) => person?.name || person?.user || "Somebody";

function initials(whole) {
  const words = whole.trim().split(/[\s_-]+/).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((word) => [...word][0]?.toUpperCase() ?? "").join("");
}

function hue(user) {
  let sum = 7;
  for (const letter of user) sum = (sum * 31 + letter.codePointAt(0)) % 360;
  return sum;
}
