import type { Machine } from "./machine.ts";

/** Writes a file inside a booted machine, by a rename, as an editor or a package does. */
export async function put(
  machine: Machine,
  path: string,
  text: string,
  mode = "0644",
  owner = "root:root",
): Promise<void> {
  const script = `mkdir -p "$(dirname "$0")"; umask 077; cat > "$0.put"; chown "$2" "$0.put"; chmod "$1" "$0.put"; mv "$0.put" "$0"`;
  const { code, stderr } = await machine.run(["sh", "-euc", script, path, mode, owner], { input: text });
  if (code !== 0) throw new Error(`cannot put ${path}: ${stderr}`);
}
