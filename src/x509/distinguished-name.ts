import { type DerElement, readChildren, readObjectIdentifier, readSequence, readText } from "./der.ts";

const COMMON_NAME = "2.5.4.3";
const EMAIL_ADDRESS = "1.2.840.113549.1.9.1";

export interface Attribute {
  /** The attribute's type as dotted OID. */
  readonly type: string;
  readonly value: string;
}

/** The relative distinguished names of a Name (RFC 5280, 4.1.2.4), in order; several attributes in one are rare. */
export function readDistinguishedName(name: DerElement | undefined): readonly (readonly Attribute[])[] {
  return readSequence(name).map((set) =>
    readChildren(set).map((attribute) => {
      const [type, value] = readSequence(attribute);
      return { type: readObjectIdentifier(type), value: value === undefined ? "" : readText(value) };
    }),
  );
}

/** The last common name, which is the most specific one, or "". */
export function commonNameOf(name: DerElement | undefined): string {
  return lastOf(name, COMMON_NAME) ?? "";
}

/** The email address in a subject, as certificates carried it before they had alternative names. */
export function emailAddressOf(name: DerElement | undefined): string | undefined {
  return lastOf(name, EMAIL_ADDRESS);
}

function lastOf(name: DerElement | undefined, type: string): string | undefined {
  return readDistinguishedName(name)
    .flat()
    .findLast((attribute) => attribute.type === type)?.value;
}

/** Whether `name` lies in the subtree that `base` opens, as a directoryName constraint means it (RFC 5280, 7.1). */
export function isInSubtree(name: DerElement | undefined, base: DerElement | undefined): boolean {
  const steps = readDistinguishedName(name).map(comparable);
  return readDistinguishedName(base).every((step, index) => comparable(step) === steps[index]);
}

/** Case and runs of white space do not tell attributes apart. */
function comparable(step: readonly Attribute[]): string {
  const parts = step.map(({ type, value }) => `${type}=${value.trim().replace(/\s+/g, " ").toLowerCase()}`);
  return JSON.stringify(parts.sort((a, b) => (a < b ? -1 : 1)));
}
