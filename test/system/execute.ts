import { execFile } from "node:child_process";
import { promisify } from "node:util";

const run = promisify(execFile);

/** Runs a program to its end and answers its output. Throws with the last of its words where it fails. */
export async function execute(
  program: string,
  argv: readonly string[],
  env: NodeJS.ProcessEnv = process.env,
): Promise<string> {
  try {
    const { stdout } = await run(program, argv, { env, maxBuffer: 2 ** 26 });
    return stdout;
  } catch (cause) {
    const { stdout = "", stderr = "", message } = cause as { stdout?: string; stderr?: string; message: string };
    throw new Error(`${program} failed: ${message.split("\n")[0]}\n${`${stdout}${stderr}`.slice(-4000)}`, { cause });
  }
}

/** Says what takes long. */
export function tell(line: string): void {
  process.stderr.write(`system tests: ${line}\n`);
}
