/** What cloud-init does with user data, as far as certagent's sample goes. */
import { parse } from "yaml";

interface UserData {
  readonly write_files: readonly {
    readonly path: string;
    readonly content: string;
    readonly permissions?: string;
    readonly defer?: boolean;
  }[];
  readonly runcmd: readonly (string | readonly string[])[];
}

/** The host that it is done to. */
export interface Target<Result> {
  /** Makes the folders that it lacks. */
  write(path: string, content: string, mode: string): Promise<void>;
  /** Installs the packages. */
  install(): Promise<void>;
  run(script: string): Promise<Result>;
}

/** In the order of cloud-init's modules: files, packages, deferred files, and `runcmd` as one script of the shell. */
export async function cloudInit<Result>(text: string, target: Target<Result>): Promise<Result> {
  const { write_files, runcmd } = parse(text) as UserData;
  const write = async (deferred: boolean): Promise<void> => {
    const files = write_files.filter(({ defer = false }) => defer === deferred);
    for (const { path, content, permissions = "0644" } of files) await target.write(path, content, permissions);
  };
  await write(false);
  await target.install();
  await write(true);
  const lines = runcmd.map((line) => (typeof line === "string" ? line : line.map((word) => `'${word}'`).join(" ")));
  const script = "/var/lib/cloud/instance/scripts/runcmd";
  await target.write(script, `#!/bin/sh\n${lines.join("\n")}\n`, "0700");
  return await target.run(`sh ${script}`);
}
