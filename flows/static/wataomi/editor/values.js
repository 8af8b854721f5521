/**
 * Parameters between the graph's JSON and what people type. Pure.
 *
 * What cannot be read as it should (a number that is none, broken JSON) stays the text that was typed: the server says at
 * the field what is wrong with it, and nothing typed is lost.
 */

export const isExpression = (value) => typeof value === "string" && value.startsWith("=");

/** A value as the input of its kind shows it. */
export function shownValue(kind, value) {
  if (value === undefined || value === null) return "";
  if (kind === "json") return typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/**
 * What was typed into the input of a field. Nothing in a field that may be empty is `undefined`: the parameter is left
 * out. In one that must be given it stays empty, for the server to refuse: the default would be a value nobody chose.
 *
 * @param {{kind: string, required?: boolean, initial?: unknown}} field
 * @param {string} text
 */
export function readField({ kind, required = false, initial = null }, text) {
  const value = readValue(kind, text);
  const isEmpty = value === undefined || value === "";
  if (!isEmpty) return value;
  if (required) return value ?? null;
  // A text left out would be its default again, which is not what an empty one says.
  return value === "" && (initial ?? "") !== "" ? value : undefined;
}

/** What was typed into the input of a kind; `undefined` for nothing. */
export function readValue(kind, text) {
  if (kind === "number" || kind === "integer") return readNumber(text);
  if (kind === "json") return text.trim() === "" ? undefined : (parsed(text)?.value ?? readNull(text));
  return text;
}

/** A whole or decimal number; other text as it is, nothing as `undefined`. A comma counts as a point. */
export function readNumber(text) {
  const trimmed = text.trim();
  if (trimmed === "") return undefined;
  const number = Number(trimmed.replace(/^([+-]?\d*),(\d+)$/, "$1.$2"));
  return Number.isFinite(number) && /\d/.test(trimmed) ? number : trimmed;
}

/**
 * The value of a row in a list of assignments: an expression, a JSON value where it is written as one, else text.
 * Text that looks like a number is written in quotes.
 */
export function readLiteral(text) {
  if (isExpression(text)) return text;
  const trimmed = text.trim();
  const looksLikeJson = /^(-?\d|true$|false$|null$|"|\[|\{)/.test(trimmed);
  const result = looksLikeJson ? parsed(trimmed) : null;
  return result ? result.value : text;
}

/** A value as a row of assignments shows it: what `readLiteral` would read as that value. */
export function shownLiteral(value) {
  if (typeof value !== "string") return value === undefined ? "" : JSON.stringify(value);
  return isExpression(value) || Object.is(readLiteral(value), value) ? value : JSON.stringify(value);
}

/** What was typed into an input that has its `=` in front of it already: one that was typed or pasted along is no part. */
export const readSource = (text) => text.replace(/^\s*=/, "");

/** An expression that gives a literal value, to begin with when a field becomes an expression. */
export function asExpression(value) {
  if (value === undefined || value === null || value === "") return "=";
  if (typeof value === "boolean") return value ? "=True" : "=False";
  return `=${JSON.stringify(value)}`;
}

/** The literal that an expression is, when it is a mere literal; else `undefined`. */
export function asLiteral(expression) {
  const source = expression.slice(1).trim();
  if (source === "True" || source === "False") return source === "True";
  return parsed(source)?.value;
}

export function isEqual(one, other) {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}

function parsed(text) {
  try {
    return { value: JSON.parse(text) };
  } catch {
    return null;
  }
}

const readNull = (text) => (text.trim() === "null" ? null : text);
