/** A subject alternative name (RFC 5280, 4.2.1.6) in its canonical spelling. */
export interface Name {
  readonly type: "dns" | "ip" | "uri" | "email";
  /** DNS names lower case and in A-labels, IP addresses in their shortest form. */
  readonly value: string;
}
