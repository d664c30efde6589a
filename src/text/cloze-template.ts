/** A part of a template: text as it is, a column of the data, or the word to be found. */
export type TemplatePart =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "column"; readonly name: string }
  | { readonly kind: "mask" };

export interface ParsedTemplate {
  readonly parts: readonly TemplatePart[];
  /** Braces that stand alone, and placeholders without a name. */
  readonly faults: readonly string[];
}

const PIECES = /\{\{|\}\}|\{([^{}]*)\}|[^{}]+|[{}]/g;

/** Text cut where the mask token stands in it. */
function withMasks(text: string, maskToken: string | undefined): TemplatePart[] {
  if (maskToken === undefined) return [{ kind: "text", text }];
  return text
    .split(maskToken)
    .flatMap((piece, i): TemplatePart[] => [
      ...(i > 0 ? [{ kind: "mask" } as const] : []),
      ...(piece === "" ? [] : [{ kind: "text", text: piece } as const]),
    ]);
}

/** Reads a template: `{text}` is a column, `{mask}` or the mask token itself the word to be found, `{{` and `}}` are braces. */
export function parseTemplate(template: string, maskToken: string | undefined): ParsedTemplate {
  const parts: TemplatePart[] = [];
  const faults: string[] = [];
  let open = "";
  const close = (): void => {
    if (open !== "") parts.push(...withMasks(open, maskToken));
    open = "";
  };
  for (const [piece, name] of template.matchAll(PIECES)) {
    if (piece === "{{" || piece === "}}") open += piece[0];
    else if (piece === "{" || piece === "}") faults.push(`has a ${piece} that stands alone`);
    else if (name === undefined) open += piece;
    else if (name.trim() === "") faults.push("has a placeholder without a name: {}");
    else {
      close();
      parts.push(name.trim() === "mask" ? { kind: "mask" } : { kind: "column", name: name.trim() });
    }
  }
  close();
  return { parts, faults };
}

/** Names of the columns that a template shows, each once. */
export const columnsOf = (parts: readonly TemplatePart[]): string[] => [
  ...new Set(parts.flatMap((part) => (part.kind === "column" ? [part.name] : []))),
];

/** A template with values for its columns. */
export function renderTemplate(
  parts: readonly TemplatePart[],
  column: (name: string) => string,
  mask: string,
): string {
  return parts
    .map((part) => (part.kind === "text" ? part.text : part.kind === "mask" ? mask : column(part.name)))
    .join("");
}
