/**
 * The ways to get from a plain connection to TLS that this version knows, as specs and `inspect --starttls` name them.
 * It stands here since services name a flavour and probes speak it, and neither family may import the other.
 */
export const STARTTLS = ["postgres", "proxy"] as const;

export type Starttls = (typeof STARTTLS)[number];
