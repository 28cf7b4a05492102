import { type DerElement, readChildren, readDer, readSequence } from "./der.ts";
import { emailAddressOf, isInSubtree } from "./distinguished-name.ts";
import { GENERAL_NAME, latin1 } from "./extensions.ts";
import { type Name, nameOf } from "./name.ts";

/** What of a certificate a name constraint looks at. */
export interface ConstrainedNames {
  readonly names: readonly Name[];
  readonly otherNames: readonly string[];
  readonly subjectDer: Uint8Array;
}

/**
 * Judges a certificate by the NameConstraints (RFC 5280, 4.2.1.10) of an authority above it, given as DER. Returns null
 * where all names are allowed, else which one is not, for people. Everything that is not understood counts as a
 * violation: node:crypto has no way to ask OpenSSL, and a chain that clients refuse must not be deployed.
 */
export function violatedConstraint(constraints: Uint8Array, certificate: ConstrainedNames): string | null {
  const parts = readSequence(readDer(constraints));
  const permitted = readSubtrees(parts.find((part) => part.tag === 0xa0));
  const excluded = readSubtrees(parts.find((part) => part.tag === 0xa1));
  const tags = new Set([...permitted, ...excluded].map((base) => base.tag));
  const strange = [...tags].find((tag) => !UNDERSTOOD.has(tag));
  if (strange !== undefined && certificate.otherNames.length > 0) return certificate.otherNames.join(", ");
  const subjects = subjectsOf(certificate);
  const bases = permitted.length + excluded.length;
  if (subjects.length * bases > MOST_COMPARISONS) return `${subjects.length} names under ${bases} constraints`;
  for (const subject of subjects) {
    const mine = permitted.filter((base) => base.tag === subject.tag);
    const isPermitted = mine.length === 0 || mine.some((base) => subject.lies(base, "permitted"));
    const isExcluded = excluded.some((base) => base.tag === subject.tag && subject.lies(base, "excluded"));
    if (!isPermitted || isExcluded) return subject.label;
  }
  return null;
}

/** A chain of ten certificates compares forty times as often; Go's verifier stops at 250,000. */
const MOST_COMPARISONS = 32_768;
const UNDERSTOOD: ReadonlySet<number> = new Set(Object.values(GENERAL_NAME));

/** The bases of GeneralSubtrees. Their minimum and maximum must be absent (RFC 5280, 4.2.1.10). */
function readSubtrees(element: DerElement | undefined): readonly DerElement[] {
  return (element === undefined ? [] : readChildren(element)).map((subtree) => {
    const [base, ...distances] = readSequence(subtree);
    if (base === undefined || distances.length > 0) throw new Error("a name constraint has a minimum or a maximum");
    return base;
  });
}

type Side = "permitted" | "excluded";

interface Subject {
  readonly tag: number;
  readonly label: string;
  /** Whether it lies below the base of a subtree of its own kind. */
  lies(base: DerElement, side: Side): boolean;
}

function subjectsOf({ names, subjectDer }: ConstrainedNames): readonly Subject[] {
  const subjects: Subject[] = names.map((name) => ({
    tag: GENERAL_NAME[name.type],
    label: name.value,
    lies: (base, side) => MATCHERS[name.type](name.value, base.content, side),
  }));
  const distinguished = readDer(subjectDer);
  if (distinguished.content.length > 0) {
    subjects.push({
      tag: GENERAL_NAME.directory,
      label: "its subject",
      lies: (base) => isInSubtree(distinguished, readChildren(base)[0]),
    });
  }
  const address = emailAddressOf(distinguished);
  if (address !== undefined && !names.some((name) => name.type === "email")) {
    const email = nameOf("email", address).value;
    subjects.push({
      tag: GENERAL_NAME.email,
      label: email,
      lies: (base, side) => MATCHERS.email(email, base.content, side),
    });
  }
  return subjects;
}

const MATCHERS: Readonly<Record<Name["type"], (value: string, base: Uint8Array, side: Side) => boolean>> = {
  dns: (value, base, side) => {
    const host = latin1(base).toLowerCase();
    if (value.startsWith("*.") && side === "excluded") {
      // The wildcard stands for every name with one label more, so an excluded one of those excludes it.
      const behindFirstLabel = host.replace(/^\./, "").replace(/^[^.]*\./, "");
      if (behindFirstLabel === value.slice(2)) return true;
    }
    return host === "" || value === host || value.endsWith(host.startsWith(".") ? host : `.${host}`);
  },
  ip: (value, base) => {
    if (base.length !== 8 && base.length !== 32) throw new Error("a name constraint is no network");
    const address = bytesOfIp(value);
    if (base.length !== 2 * address.length) return false;
    return address.every((byte, at) => ((byte ^ (base[at] ?? 0)) & (base[at + address.length] ?? 0)) === 0);
  },
  email: (value, base) => {
    const mailbox = latin1(base);
    const at = mailbox.lastIndexOf("@");
    if (at < 0) return liesAtHost(value.slice(value.lastIndexOf("@") + 1), mailbox.toLowerCase());
    return value === `${mailbox.slice(0, at)}@${mailbox.slice(at + 1).toLowerCase()}`;
  },
  uri: (value, base, side) => {
    const authority = /^[a-z][a-z0-9+.-]*:\/\/(?:[^@/?#]*@)?([^/?#]*)/.exec(value)?.[1];
    const host = authority?.replace(/:\d*$/, "");
    // A URI without a host name cannot be judged: RFC 5280 says to refuse it.
    if (host === undefined || host === "" || /^[\d.]+$|^\[/.test(host)) return side === "excluded";
    return liesAtHost(host, latin1(base).toLowerCase());
  },
};

/** Email and URI: a host stands for itself alone, and with a leading dot for what lies below it. */
function liesAtHost(host: string, base: string): boolean {
  return base === "" || (base.startsWith(".") ? host.endsWith(base) : host === base);
}

/** The bytes of a canonical IP address. */
function bytesOfIp(value: string): readonly number[] {
  if (!value.includes(":")) return value.split(".").map(Number);
  const [head = "", tail = ""] = value.split("::");
  const groups = (text: string): readonly string[] => (text === "" ? [] : text.split(":"));
  const zeros = 8 - groups(head).length - groups(tail).length;
  return [...groups(head), ...Array<string>(value.includes("::") ? zeros : 0).fill("0"), ...groups(tail)].flatMap(
    (group) => {
      const bits = Number.parseInt(group, 16);
      return [bits >> 8, bits & 255];
    },
  );
}
