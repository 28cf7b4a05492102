import * as z from "zod";
import { command } from "./command.ts";
import { nginx } from "./nginx.ts";
import { none } from "./none.ts";
import { postgresql } from "./postgresql.ts";
import { redis } from "./redis.ts";
import { systemd } from "./systemd.ts";

/** The kinds of service that this version has, in the order in which the reference page shows them. */
const KINDS = [nginx, postgresql, redis, systemd, command, none] as const;

/** The names of the kinds, as `type` says them. */
export const SERVICE_TYPES: readonly string[] = KINDS.map((kind) => kind.in.shape.type.value);

/** One entry of a spec's `services`, parsed into the port. */
export const serviceSchema = z.discriminatedUnion("type", KINDS);
