const MOST_LEVELS = 16;
const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\]:]/g;

/**
 * JSON of an answer, in UTF-8. Throws an `Error` that says what is wrong, also for what parsers read differently or
 * programs stumble over: a byte order mark, more than 16 levels, a key that is there twice, `__proto__`.
 */
export function parseJson(bytes: Uint8Array): unknown {
  const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  const value: unknown = JSON.parse(text);
  inspect(text);
  return value;
}

/** Whether it is an object or list of that, as all that step-ca says. */
export function isJson(bytes: Uint8Array): boolean {
  try {
    return typeof parseJson(bytes) === "object";
  } catch {
    return false;
  }
}

/** Looks at the tokens of a text that is known to be JSON. */
function inspect(text: string): void {
  const levels: Set<string>[] = [];
  let last = "";
  for (const [token] of text.matchAll(TOKEN)) {
    if (token === "{" || token === "[") levels.push(new Set());
    if (token === "}" || token === "]") levels.pop();
    if (levels.length > MOST_LEVELS) throw new Error(`more than ${MOST_LEVELS} levels`);
    if (token === ":") checkKey(JSON.parse(last) as string, levels.at(-1));
    last = token;
  }
}

function checkKey(key: string, keys: Set<string> | undefined): void {
  if (key === "__proto__") throw new Error("the key __proto__");
  if (keys?.has(key)) throw new Error("a key that is there twice");
  keys?.add(key);
}
