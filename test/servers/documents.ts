/** The blocks of one language in a text of Markdown, in their order. */
export function blocksOf(language: string, markdown: string): readonly string[] {
  return [...markdown.matchAll(/^```(\w+)\n(.*?)^```$/gms)].flatMap(([, kind, block = ""]) =>
    kind === language ? [block] : [],
  );
}
