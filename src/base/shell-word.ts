/** A text as one word for a POSIX shell: what is shown is pasted by root, and a path may have blanks in it. */
export function shellWord(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
