/**
 * A process that applies the newest generation and kills itself at its n-th change of the disk.
 * Arguments: the host's folder, the layout, n. Exits with 0 where it made fewer changes.
 */
import { countFiles } from "../integration/apply/faults.ts";
import { NAME, never, reopenHost } from "../integration/apply/harness.ts";

const [folder = "", layout = "files", at = "1"] = process.argv.slice(2);
const die = (): Promise<never> => {
  process.kill(process.pid, "SIGKILL");
  return new Promise(() => {});
};
const host = await reopenHost(folder, layout === "link" ? "link" : "files");
const applier = await host.open(countFiles(Number(at), die).files);
const { failure } = await applier.apply(NAME, never);
process.exitCode = failure === null ? 0 : 2;
