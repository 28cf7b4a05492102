/** What all system tests share, made before the first of them. */
import type { TestProject } from "vitest/node";
import { type Installed, install } from "./installed.ts";

declare module "vitest" {
  export interface ProvidedContext extends Pick<Installed, "layers" | "deb" | "machines"> {}
}

export default async function setUp(project: TestProject): Promise<() => Promise<void>> {
  const installed = await install();
  for (const name of ["layers", "deb", "machines"] as const) project.provide(name, installed[name]);
  return async () => await installed[Symbol.asyncDispose]();
}
