// Started by installPackages() of pinned-node.mjs, with the checkout locked for as long as it runs.
import { installMissing } from "./pinned-node.mjs";

process.exitCode = (await installMissing()) ? 0 : 1;
