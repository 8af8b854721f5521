/** The form of one node: its parameters and settings as inputs, every change an operation on the document. */

import { Assignments } from "./assignments.js";
import { asExpression, asLiteral, isEqual, isExpression, readField, readNumber, readSource, shownValue } from "./values.js";

/** What a setting is that is not set. */
const SETTINGS = { disabled: false, notes: "", timeout: null, on_error: "stop", "retry.max_attempts": 1, "retry.backoff": 1, "retry.max_delay": 60 };
const NUMBERS = new Set(["timeout", "retry.max_attempts", "retry.backoff", "retry.max_delay"]);

export class NodeForm {
  #document;
  #id;
  #fields = new Map();
  element;

  /**
   * @param {object} options
   * @param {import("./document.js").FlowDocument} options.document
   * @param {string} options.id the node
   * @param {?object} options.type its type, as `GET node-types` describes it; null for one that is not installed
   * @param {boolean} options.editable
   */
  constructor({ document: flow, id, type, editable }) {
    this.#document = flow;
    this.#id = id;
    this.element = document.createElement("form");
    this.element.className = "node-form";
    this.element.noValidate = true;
    this.element.addEventListener("submit", (event) => event.preventDefault());
    this.element.append(...this.#parts(type));
    for (const field of type?.fields ?? []) this.#addParam(field);
    for (const element of this.element.querySelectorAll("[data-setting]")) this.#addSetting(element);
    if (!editable) this.element.querySelectorAll("input, select, textarea, button").forEach((each) => (each.disabled = true));
  }

  /** Show what is wrong, each message at its field; what is of the node as a whole at the top. */
  showProblems(problems) {
    for (const show of this.#fields.values()) show("");
    const general = [];
    for (const { param, setting, message } of problems) {
      const show = this.#fields.get(param === null ? `setting:${setting}` : `param:${param}`);
      if (show) show(message);
      else general.push(message);
    }
    this.#showGeneral(general);
    if (problems.some(({ setting }) => setting !== null && setting !== "name")) this.element.querySelector("[data-settings]").open = true;
  }

  /** Put the focus on the first field with a message. */
  focusProblem() {
    this.element.querySelector("[data-invalid] :is(input, select, textarea):not([hidden] *)")?.focus();
  }

  #parts(type) {
    const forms = [...document.querySelectorAll("template[data-node-form]")];
    const template = forms.find((each) => type && each.dataset.nodeForm === type.name);
    const params = template ? template.content.cloneNode(true) : unknownType(this.#document.node(this.#id));
    return [params, document.querySelector("template[data-node-settings]").content.cloneNode(true)];
  }

  #showGeneral(messages) {
    const element = this.element.querySelector("[data-form-error]");
    if (!element) return;
    element.hidden = messages.length === 0;
    element.querySelector("[data-error]").textContent = messages.join(" ");
  }

  #addParam(field) {
    const element = this.element.querySelector(`[data-field="${CSS.escape(field.name)}"]`);
    const { params = {} } = this.#document.node(this.#id);
    const wasGiven = Object.hasOwn(params, field.name);
    const input = new ParamInput(element, field, wasGiven ? params[field.name] : field.initial, (value) => {
      const isDefault = !wasGiven && isEqual(value ?? null, field.initial ?? null);
      this.#document.apply({ type: "setParam", id: this.#id, name: field.name, value: isDefault ? undefined : value });
      showError(element, input.focusable, ""); // it was said of another value
    });
    this.#fields.set(`param:${field.name}`, (message) => showError(element, input.focusable, message));
  }

  #addSetting(element) {
    const path = element.dataset.setting;
    const control = element.querySelector("[data-control]");
    this.#fillSetting(control, path);
    const eventName = control.matches("input[type=checkbox], select") ? "change" : "input";
    control.addEventListener(eventName, () => {
      this.#document.apply(this.#settingOperation(control, path));
      showError(element, control, "");
    });
    this.#fields.set(`setting:${path}`, (message) => showError(element, control, message));
  }

  #fillSetting(control, path) {
    const node = this.#document.node(this.#id);
    const stored = path.split(".").reduce((inner, key) => inner?.[key], node.settings ?? {});
    const value = path === "name" ? node.name : (stored ?? SETTINGS[path]);
    if (control.type === "checkbox") control.checked = value;
    else control.value = value ?? "";
  }

  #settingOperation(control, path) {
    const id = this.#id;
    if (path === "name") return { type: "renameNode", id, name: control.value };
    const typed = control.type === "checkbox" ? control.checked : control.value;
    const value = NUMBERS.has(path) ? readNumber(typed) : typed;
    return { type: "setSetting", id, path, value: value === SETTINGS[path] ? undefined : value };
  }
}

/** One parameter: an input of its kind, or an expression in its place. */
class ParamInput {
  #element;
  #field;
  #change;
  #value;
  #literal;
  #expression;
  #toggle;
  #assignments = null;

  constructor(element, field, value, change) {
    this.#element = element;
    this.#field = field;
    this.#change = change;
    this.#literal = element.querySelector("[data-control]");
    this.#expression = element.querySelector("[data-expression-control]");
    this.#toggle = element.querySelector("[data-expression-toggle]");
    if (element.dataset.kind === "assignments") this.#assignments = new Assignments(this.#literal, (rows) => this.#set(rows));
    this.#listen();
    this.#show(value);
    describe(element);
  }

  get focusable() {
    return isExpression(this.#value) ? this.#expression : this.#literal;
  }

  #listen() {
    this.#toggle.addEventListener("click", () => this.#toggleExpression());
    this.#expression.addEventListener("input", () => this.#typedExpression());
    if (this.#assignments) return;
    const eventName = this.#literal.matches("input[type=checkbox], select") ? "change" : "input";
    this.#literal.addEventListener(eventName, () => this.#typed());
    if (this.#element.dataset.kind === "json") this.#literal.addEventListener("blur", () => this.#tidy());
  }

  #typed() {
    const value = this.#read();
    this.#set(value);
    if (!isExpression(value)) return;
    this.#show(value);
    this.#expression.focus();
    this.#expression.setSelectionRange(value.length, value.length);
  }

  #typedExpression() {
    const typed = this.#expression.value;
    const source = readSource(typed);
    if (source !== typed) {
      const caret = Math.max(0, this.#expression.selectionStart - (typed.length - source.length));
      this.#expression.value = source;
      this.#expression.setSelectionRange(caret, caret);
    }
    this.#set(`=${source}`);
  }

  #read() {
    const { kind } = this.#field;
    if (kind === "boolean") return this.#literal.checked;
    if (kind === "multiple") return [...this.#literal.selectedOptions].map((option) => option.value);
    return readField(this.#field, this.#literal.value);
  }

  #toggleExpression() {
    const value = isExpression(this.#value) ? (asLiteral(this.#value) ?? this.#field.initial ?? undefined) : asExpression(this.#value);
    this.#set(value);
    this.#show(value);
    this.focusable.focus?.();
  }

  #tidy() {
    if (!isExpression(this.#value)) this.#literal.value = shownValue(this.#field.kind, this.#value);
  }

  #set(value) {
    this.#value = value;
    this.#describeSwitch();
    this.#change(value);
  }

  #show(value) {
    const isMissing = this.#field.kind === "expression" && (value ?? "") === "";
    const asExpressionNow = isExpression(value) || isMissing;
    this.#value = value;
    this.#toggle.setAttribute("aria-pressed", String(asExpressionNow));
    this.#element.querySelector("[data-literal]").hidden = asExpressionNow;
    this.#element.querySelector("[data-expression]").hidden = !asExpressionNow;
    if (asExpressionNow) this.#expression.value = (value ?? "").slice(1);
    else this.#showLiteral(value);
    this.#describeSwitch();
  }

  #showLiteral(value) {
    const { kind } = this.#field;
    if (this.#assignments) this.#assignments.show(value ?? {});
    else if (kind === "boolean") this.#literal.checked = value === true;
    else if (kind === "multiple") for (const option of this.#literal.options) option.selected = [value].flat().map(String).includes(option.value);
    else this.#literal.value = shownValue(kind, value);
  }

  #describeSwitch() {
    const text = this.#element.querySelector("[data-switch-text]");
    if (text) text.textContent = this.#literal.checked ? "On" : "Off";
  }
}

function showError(element, control, message) {
  const error = element.querySelector("[data-error]");
  element.toggleAttribute("data-invalid", message !== "");
  error.textContent = message;
  error.hidden = message === "";
  if (message === "") control.removeAttribute("aria-invalid");
  else control.setAttribute("aria-invalid", "true");
}

/** Join a field's help and error to its inputs, for those who hear the page. */
function describe(element) {
  const ids = [...element.querySelectorAll(".field-help, [data-error]")].map((each) => each.id).filter(Boolean);
  if (ids.length === 0) return;
  for (const control of element.querySelectorAll("[data-control], [data-expression-control]")) control.setAttribute("aria-describedby", ids.join(" "));
}

/** Parameters of a type that is not installed are shown as they are, and kept. */
function unknownType(node) {
  const fragment = document.createDocumentFragment();
  const text = document.createElement("p");
  text.className = "notice notice-error";
  text.textContent = `The node type “${node.type}” is not installed. Its parameters are kept as they are.`;
  const code = document.createElement("pre");
  code.className = "stream-text";
  code.textContent = JSON.stringify(node.params ?? {}, null, 2);
  fragment.append(text, code);
  return fragment;
}
