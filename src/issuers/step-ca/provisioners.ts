import * as z from "zod";
import { AgentError } from "../../base/errors.ts";
import { remoteText } from "./remote-text.ts";
import type { Session } from "./session.ts";

/** Each may bring a template of kilobytes, one now and then roots of hundreds of kilobytes. */
const PAGE = 20;
const MOST_PAGE_BYTES = 1024 * 1024;
const MOST_PAGES = 100;

const listed = z.object({
  type: z.string().optional(),
  name: z.string().optional(),
  key: z.object({ kid: z.string().max(256).optional() }).optional(),
  encryptedKey: z.string().max(16_384).optional(),
});

const page = z.object({
  // What is of a kind that nobody here knows is nobody's business.
  provisioners: z.array(listed.catch({})).max(PAGE * 5),
  nextCursor: z.string().max(1024).default(""),
});

/** A JWK provisioner as the CA lists it. */
export interface JwkProvisioner {
  readonly name: string;
  readonly kid: string | undefined;
  readonly encryptedKey: string | undefined;
}

/**
 * The JWK provisioner of exactly this name, among at most 2000 at each address. Throws `ISSUER_REJECTED` where there is
 * none, naming those that there are.
 */
export async function findProvisioner(session: Session, name: string): Promise<JwkProvisioner> {
  const others: string[] = [];
  do {
    const found = await search(session, name, others);
    if (found !== undefined) return found;
  } while (session.leave());
  const known = others.slice(0, 8).map((other) => `"${remoteText(other).slice(0, 64)}"`);
  const more = others.length > known.length ? ` and ${others.length - known.length} more` : "";
  throw new AgentError(
    "ISSUER_REJECTED",
    `Cannot use the provisioner "${name}": the CA has no JWK provisioner of that name`,
    {
      hint: others.length === 0 ? "the CA has no JWK provisioner at all" : `it has ${known.join(", ")}${more}`,
    },
  );
}

/** Looks for it at one address. Adds the names of what else it meets. */
async function search(session: Session, name: string, others: string[]): Promise<JwkProvisioner | undefined> {
  let cursor = "";
  for (let number = 0; number < MOST_PAGES; number++) {
    const path = `/provisioners?limit=${PAGE}&cursor=${encodeURIComponent(cursor)}`;
    const answer = await session.ask({
      action: "read the provisioners",
      method: "GET",
      path,
      mostBytes: MOST_PAGE_BYTES,
    });
    const { provisioners, nextCursor } = parsePage(answer);
    for (const { type, name: found, key, encryptedKey } of provisioners) {
      if (type?.toUpperCase() !== "JWK" || found === undefined) continue;
      if (found === name) return { name, kid: key?.kid, encryptedKey };
      others.push(found);
    }
    if (nextCursor === "" || nextCursor === cursor) break;
    cursor = nextCursor;
  }
  return undefined;
}

function parsePage(answer: unknown): z.output<typeof page> {
  const parsed = page.safeParse(answer);
  if (parsed.success) return parsed.data;
  throw new AgentError(
    "ISSUER_UNREACHABLE",
    "Cannot read the provisioners: the answer is not the list that step-ca gives",
    { hint: "is that a step-ca? curl -k URL/health" },
  );
}
