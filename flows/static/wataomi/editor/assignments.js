/** A list of name and value pairs, for a parameter that is a JSON object: one row for each, values also as expressions. */

import { icon } from "./messages.js";
import { isExpression, readLiteral, shownLiteral } from "./values.js";

export class Assignments {
  #rows;
  #change;

  /** @param {HTMLElement} element @param {(value: object) => void} change */
  constructor(element, change) {
    this.#rows = element.querySelector("[data-rows]");
    this.#change = change;
    element.querySelector("[data-add-row]").addEventListener("click", () => this.#add());
  }

  show(value) {
    this.#rows.replaceChildren(...Object.entries(value).map(([name, each]) => this.#row(name, each)));
  }

  #add() {
    const row = this.#row("", "");
    this.#rows.append(row);
    row.querySelector("input").focus();
  }

  /** Rows without a name wait for one and are not part of the value; of two with the same name the lower one counts. */
  #read() {
    const rows = [...this.#rows.children].map((row) => [...row.querySelectorAll("input")].map((input) => input.value));
    return Object.fromEntries(rows.filter(([name]) => name.trim() !== "").map(([name, text]) => [name.trim(), readLiteral(text)]));
  }

  #row(name, value) {
    const row = document.createElement("div");
    row.className = "assignment";
    const nameInput = textInput("Name", name);
    const valueInput = textInput("Value, or = and an expression", shownLiteral(value));
    valueInput.classList.add("mono");
    const mark = () => valueInput.toggleAttribute("data-is-expression", isExpression(valueInput.value));
    mark();
    valueInput.addEventListener("input", mark);
    row.addEventListener("input", () => this.#change(this.#read()));
    row.append(nameInput, valueInput, this.#removeButton(row));
    return row;
  }

  #removeButton(row) {
    const button = document.createElement("button");
    Object.assign(button, { type: "button", className: "icon-button", title: "Remove" });
    button.setAttribute("aria-label", "Remove this field");
    button.append(icon("trash"));
    button.addEventListener("click", () => {
      const next = row.nextElementSibling ?? row.previousElementSibling;
      row.remove();
      next?.querySelector("input").focus();
      this.#change(this.#read());
    });
    return button;
  }
}

function textInput(label, value) {
  const input = document.createElement("input");
  Object.assign(input, { type: "text", value, placeholder: label, autocomplete: "off", spellcheck: false });
  input.setAttribute("aria-label", label);
  return input;
}
