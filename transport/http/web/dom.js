// Functions that make and change elements. Text is set as text, so that the browser never reads data of the server as markup.

// el makes an element. An attribute whose value is a function becomes an event listener. true sets an empty attribute; false,
// null and undefined set none.
export function el(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const byID = (id) => document.getElementById(id);

// setText writes a text only if it differs. Of 500 changes a second, most change no text.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// setAttribute writes an attribute only if it differs. null and undefined remove it.
export function setAttribute(element, name, value) {
  if (value === null || value === undefined) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
  } else if (element.getAttribute(name) !== value) {
    element.setAttribute(name, value);
  }
}
