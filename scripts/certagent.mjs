#!/usr/bin/env node
// certagent from a checkout, on the pinned Node, sources unbuilt: `npx certagent …`.
import { join } from "node:path";
import { installPackages, nodeFlags, orExplain, pinnedNode, ROOT, runInForeground } from "./pinned-node.mjs";

await orExplain(async () => {
  const arguments_ = process.argv.slice(2);
  await installPackages();
  await runInForeground(pinnedNode(), [...nodeFlags(arguments_[0]), join(ROOT, "src", "main.ts"), ...arguments_]);
});
