/** What all system tests share, made before the first of them. */
import type { TestProject } from "vitest/node";
import { type Installed, install } from "./installed.ts";
import { treeWith } from "./tree.ts";

declare module "vitest" {
  export interface ProvidedContext extends Pick<Installed, "layers" | "deb" | "machines"> {
    /** Trees of Debian 13, on which nothing is of certagent; with what the tests of other ways to it want. */
    readonly newer: readonly string[];
  }
}

export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const [installed, newer] = await Promise.all([install(), treeWith("trixie", ["cloud-init", "rpm"])]);
  project.provide("newer", newer);
  for (const name of ["layers", "deb", "machines"] as const) project.provide(name, installed[name]);
  return async () => await installed[Symbol.asyncDispose]();
}
