import * as z from "zod";
import type { AclEntry, Output } from "../core/ports.ts";
import { FORMATS, formatNamed } from "../formats/index.ts";
import { expects, show, textOf, withHint } from "./describe.ts";
import { writablePath } from "./fields.ts";

const PLAIN = String.raw`[A-Za-z_][A-Za-z0-9_.\-]{0,254}\$?`;
/** Of a directory, as sssd and winbind call them: `alice@ad.example`, `AD\alice`, `AD\domain users`. */
const DOMAIN = String.raw`[A-Za-z0-9][A-Za-z0-9_.\-]{0,254}`;
const MEMBER = String.raw`[^\s\x00-\x1f:\/@\\,+~\-]([^\x00-\x1f:\/@\\,]{0,253}[^\s\x00-\x1f:\/@\\,])?`;
const ACCOUNT = String.raw`(${PLAIN}|${MEMBER}@${DOMAIN}|${DOMAIN}[\\+]${MEMBER}|\d{1,10})`;
const NAME = new RegExp(`^${ACCOUNT}$`, "u");
const NOBODY_YET = 4_294_967_295; // (uid_t) -1 means "leave it" to chown(2)

function isAccount(text: string): boolean {
  return NAME.test(text) && !(Number(text) >= NOBODY_YET);
}

/** A user or group by name or number; not looked up here, since it may come with a package later. */
const account = z
  .union([z.string().meta({ pattern: NAME.source }), z.int().meta({ minimum: 0, maximum: NOBODY_YET - 1 })], {
    error: expects("a name or a number"),
  })
  .transform((value, context): string => {
    const text = String(value);
    if (isAccount(text)) return text;
    context.addIssue(`must be a name or a number, not ${show(value)}`);
    return z.NEVER;
  });

const OCTAL = "a string of octal digits";

/** Only strings: YAML reads an unquoted 0640 as the decimal number 640. */
const mode = z
  .string({ error: expects(OCTAL, modeHint) })
  .regex(/^0?[0-7]{3,4}$/, { error: expects(OCTAL, modeHint) })
  .meta({ pattern: "^0{0,2}[0-7]{3}$" })
  .transform((text, context): number => {
    const bits = Number.parseInt(text, 8);
    if (bits <= 0o777) return bits;
    context.addIssue(
      withHint(`must not set setuid, setgid or sticky, as ${text} does`, `write mode: ${octal(bits & 0o777)}`),
    );
    return z.NEVER;
  });

function modeHint(input: unknown): string {
  const digits = textOf(input).replace(/^0o?/, "");
  const isOctal = /^[0-7]{3}$/.test(digits);
  if (typeof input !== "number") return `write mode: ${isOctal ? `"0${digits}"` : '"0640"'}`;
  const text = isOctal ? `0${digits}` : "0640";
  return `write mode: "${text}"; YAML reads ${text} without quotes as a decimal number`;
}

function octal(bits: number): string {
  return `"${bits.toString(8).padStart(4, "0")}"`;
}

const ACL_ENTRY = /^(u|user|g|group):([^:]*):([rwx-]{1,3})$/;

/** `u:nginx:r`, as setfacl(1) takes it, for one more user or group; defaults, masks and `x` have no place on a file. */
const aclEntry = z
  .string()
  .meta({ pattern: `^(u|user|g|group):${ACCOUNT}:(?=.{1,3}$)-*(r-*w?|w)-*$` })
  .transform((text, context): AclEntry => {
    const [, tag, qualifier = "", letters = ""] = ACL_ENTRY.exec(text) ?? [];
    const permissions = letters.replaceAll("-", "");
    if (tag !== undefined && isAccount(qualifier) && /^(r|w|rw)$/.test(permissions)) {
      return { tag: tag.startsWith("u") ? "user" : "group", qualifier, permissions };
    }
    context.addIssue(withHint(`must be an entry such as u:nginx:r, not ${show(text)}`, aclHint(text, letters)));
    return z.NEVER;
  });

function aclHint(text: string, letters: string): string {
  if (text.startsWith("d")) return "default entries are for folders; they mean nothing on a file";
  if (letters.includes("x")) return "a certificate or key is never run: r, w or rw";
  return 'write "u:NAME:r" for a user, "g:NAME:r" for a group, with r, w or rw';
}

const formatNames = FORMATS.map(({ name }) => name);

const fields = z.strictObject({
  format: z.enum(formatNames).meta({
    description:
      "What the file holds: `certificate` the leaf, `chain` the intermediates, `fullchain` the leaf and then those, `key` the private key (PKCS#8), `combined` key and then fullchain, `roots` the issuer's trust anchors, anew when those change.",
  }),
  path: writablePath.meta({ description: "Where it goes: an absolute path." }),
  owner: account
    .optional()
    .meta({ description: "User by name or number; default: root, or whoever certagent runs as." }),
  group: account.optional().meta({ description: "Group by name or number; default: that of the process." }),
  mode: mode.optional().meta({
    description: 'Permissions, quoted: `"0640"`. Default: `"0600"` where the file holds the key, else `"0644"`.',
    examples: ["0640"],
  }),
  acl: z
    .array(aclEntry, { error: expects("a list of entries", () => 'write acl: ["u:nginx:r"]') })
    .max(32)
    .optional()
    .meta({ description: "Further users and groups who may read (or write) it.", examples: [["u:nginx:r"]] }),
});

/** One entry of `outputs`. */
export const outputSchema = fields.transform((output, context): Output => {
  const format = formatNamed(output.format);
  if (format === undefined) throw new TypeError(`no format ${output.format}`); // the enum is made of the same list
  const { path, owner = null, group = null, acl = [] } = output;
  const bits = output.mode ?? (format.holdsKey ? 0o600 : 0o644);
  const complaint = complaintAboutMode(bits, format.holdsKey, acl);
  if (complaint !== undefined) context.addIssue({ code: "custom", message: complaint, path: ["mode"] });
  const twice = acl.findIndex((entry, index) => acl.findIndex((other) => isSameEntry(entry, other)) < index);
  if (twice >= 0)
    context.addIssue({ code: "custom", message: "names somebody for the second time", path: ["acl", twice] });
  return { format, path, owner, group, mode: bits, acl };
});

function isSameEntry(a: AclEntry, b: AclEntry): boolean {
  return a.tag === b.tag && a.qualifier === b.qualifier;
}

function complaintAboutMode(mode: number, holdsKey: boolean, acl: readonly AclEntry[]): string | undefined {
  if (holdsKey && (mode & 0o007) !== 0) {
    const safe = octal(mode & 0o770);
    return withHint(`mode ${octal(mode)} would let everybody at the private key`, `write mode: ${safe}`);
  }
  // With an ACL the group's bits are the mask: what they lack, no entry gives.
  const masked = acl.find(({ permissions }) => (bitsOf(permissions) & (mode >> 3)) === 0);
  if (masked === undefined) return undefined;
  const wanted = acl.reduce((bits, { permissions }) => bits | (bitsOf(permissions) << 3), mode);
  const entry = `${masked.tag.charAt(0)}:${masked.qualifier}:${masked.permissions}`;
  const message = `mode ${octal(mode)} takes from ${entry} all that it gives: the group's bits are the mask of an ACL`;
  return withHint(message, `write mode: ${octal(wanted)}`);
}

function bitsOf(permissions: string): number {
  return (permissions.includes("r") ? 4 : 0) | (permissions.includes("w") ? 2 : 0);
}
