/** The first lines of a list, one under the other, and how many more there are. */
export function firstFew(lines: readonly string[], most = 5): string {
  const rest = lines.length - most;
  return [...lines.slice(0, most), ...(rest > 0 ? [`and ${rest} more`] : [])].join("\n");
}
