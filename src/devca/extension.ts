import { Extension } from "@peculiar/x509";

export const PROVISIONER_EXTENSION = "1.3.6.1.4.1.37476.9000.64.1";
const JWK_TYPE = 1;

/** step-ca's mark of the provisioner: SEQUENCE { type INTEGER, name OCTET STRING, credentialID OCTET STRING }. */
export function provisionerExtension(name: string, kid: string): Extension {
  const fields = [
    element(0x02, Buffer.from([JWK_TYPE])),
    element(0x04, Buffer.from(name)),
    element(0x04, Buffer.from(kid)),
  ];
  return new Extension(PROVISIONER_EXTENSION, false, Uint8Array.from(element(0x30, Buffer.concat(fields))));
}

/** The provisioner's name in such an extension. */
export function provisionerName(value: ArrayBuffer): string {
  const bytes = Buffer.from(value);
  // The sequence's header (two bytes, or three for a long name), the type (three bytes), then the name.
  const name = ((bytes[1] ?? 0) < 0x80 ? 2 : 3) + 3;
  return bytes.subarray(name + 2, name + 2 + (bytes[name + 1] ?? 0)).toString("utf8");
}

/** Names and key ids are far below 128 bytes; only the sequence around them can be longer. */
function element(tag: number, content: Buffer): Buffer {
  const { length } = content;
  return Buffer.concat([Buffer.from(length < 0x80 ? [tag, length] : [tag, 0x81, length]), content]);
}
