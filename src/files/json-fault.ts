const SPACE = /[ \t\r\n]*/y;
// What may stand in a string: all from the space on, but " and \.
const STRING = /"[ !#-[\]-\uffff]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[ !#-[\]-\uffff]*)*"/y;
const SCALAR = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.+-])/y;

/** Where a text stops being JSON, and why. */
export interface JsonFault {
  readonly line: number;
  /** In UTF-16 units, from 1. */
  readonly column: number;
  readonly reason: string;
}

/** Walks a text by the grammar of JSON, with a stack of its own: nesting costs no calls. */
class Walker {
  at = 0;
  readonly #open: ("{" | "[")[] = [];

  constructor(readonly text: string) {}

  #take(pattern: RegExp): boolean {
    pattern.lastIndex = this.at;
    if (!pattern.test(this.text)) return false;
    this.at = pattern.lastIndex;
    return true;
  }

  #takeSign(sign: string): boolean {
    this.#take(SPACE);
    if (this.text[this.at] !== sign) return false;
    this.at += 1;
    return true;
  }

  /** What was expected at `at`, or undefined where the whole text is JSON. */
  expected(): string | undefined {
    for (;;) {
      this.#take(SPACE);
      if (this.#takeSign("{")) {
        this.#open.push("{");
        if (!this.#takeSign("}")) {
          const missing = this.#key("a name in double quotes or }");
          if (missing !== undefined) return missing;
          continue;
        }
        this.#open.pop();
      } else if (this.#takeSign("[")) {
        this.#open.push("[");
        if (!this.#takeSign("]")) continue;
        this.#open.pop();
      } else if (this.text[this.at] === '"') {
        if (!this.#take(STRING)) return "a text in double quotes, closed on its line";
      } else if (!this.#take(SCALAR)) return "a value";
      const missing = this.#afterValue();
      if (missing !== "value") return missing;
    }
  }

  /** A name and its colon. */
  #key(wanted: string): string | undefined {
    this.#take(SPACE);
    if (!this.#take(STRING)) return wanted;
    return this.#takeSign(":") ? undefined : "a colon";
  }

  /** Closes what ends here: `"value"` where another value follows, undefined at the end of the text. */
  #afterValue(): string | undefined {
    for (;;) {
      const inside = this.#open.at(-1);
      if (inside === undefined) {
        this.#take(SPACE);
        return this.at === this.text.length ? undefined : "the end of the file";
      }
      if (this.#takeSign(",")) {
        const missing = inside === "{" ? this.#key("a name in double quotes") : undefined;
        return missing ?? "value";
      }
      const close = inside === "{" ? "}" : "]";
      if (!this.#takeSign(close)) return `a comma or ${close}`;
      this.#open.pop();
    }
  }
}

/** The first place where a text is not JSON; undefined for one that is. */
export function findJsonFault(text: string): JsonFault | undefined {
  const walker = new Walker(text);
  const expected = walker.expected();
  if (expected === undefined) return undefined;
  const before = text.slice(0, walker.at).split("\n");
  const word = /^(?:[\w.+-]{1,20}|[^]?)/u.exec(text.slice(walker.at, walker.at + 20))?.[0] ?? "";
  const shown = /\p{Cc}/u.test(word) ? JSON.stringify(word).slice(1, -1) : word;
  const found = word === "" ? "the end of the file" : shown;
  return {
    line: before.length,
    column: before.at(-1)!.length + 1,
    reason: `${expected} was expected, ${found} was found`,
  };
}
