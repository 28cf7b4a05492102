/** A request that step-ca would refuse: HTTP status, what the client reads, and what only the CA's log would say. */
export class Rejection extends Error {
  override readonly name = "Rejection";
  readonly status: number;
  /** What a client is told; undefined for step-ca's standard text. */
  readonly told: string | undefined;

  constructor(status: number, reason: string, told?: string) {
    super(reason);
    this.status = status;
    this.told = told;
  }
}

const SEE_LOGS = "Please see the certificate authority logs for more info.";
const STANDARD: Readonly<Record<number, string>> = {
  400: `The request could not be completed; malformed or missing data. ${SEE_LOGS}`,
  401: `The request lacked necessary authorization to be completed. ${SEE_LOGS}`,
  403: `The request was forbidden by the certificate authority. ${SEE_LOGS}`,
  404: `The requested resource could not be found. ${SEE_LOGS}`,
  500: `The certificate authority encountered an Internal Server Error. ${SEE_LOGS}`,
  501: `The requested method is not implemented by the certificate authority. ${SEE_LOGS}`,
};

/** The body of an error: `{"status":401,"message":"…"}`. */
export function rejectionBody({ status, told }: Rejection): string {
  const other = `The certificate authority received an unexpected HTTP status code - '${status}'. ${SEE_LOGS}`;
  return JSON.stringify({ status, message: told ?? STANDARD[status] ?? other });
}

/** 400, told with its reason, as step-ca does. */
export function badRequest(reason: string): Rejection {
  return new Rejection(400, reason, `The request could not be completed: ${reason}.`);
}

/** 403, told with its reason. */
export function forbidden(reason: string): Rejection {
  return new Rejection(403, reason, `The request was forbidden by the certificate authority: ${reason}.`);
}

/** 401, whose reason stays in the CA's log. */
export function unauthorized(reason: string, told?: string): Rejection {
  return new Rejection(401, reason, told);
}
