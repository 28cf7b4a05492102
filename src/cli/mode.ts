import type { Applier } from "../core/applier.ts";
import type { ApplyMode } from "../core/status-document.ts";
import type { Layout } from "../store/layout.ts";
import type { Places, Surroundings } from "./surroundings.ts";

/** The way to outputs and services, and what ends with it. */
export interface OpenedApplier extends AsyncDisposable {
  readonly applier: Applier;
  /** Finishes what a process left that was killed. Once, before anything is asked. */
  recover(): Promise<void>;
}

/** One way to apply. Which there are, and which of them is used, nobody knows but `main.ts`. */
export interface Mode {
  readonly name: ApplyMode;
  /** The mode of the half of it that is done as another user. */
  readonly apart: ApplyMode;
  open(places: Places, surroundings: Surroundings, layout: Layout): Promise<OpenedApplier>;
}
