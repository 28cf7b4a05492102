import { AgentError } from "../../base/errors.ts";
import { shortened } from "../../base/printable.ts";
import { HOUR, type Instant } from "../../base/time.ts";
import { createCsr } from "../../x509/csr.ts";
import type { IssuerContext } from "../kind.ts";
import type { StepCaConfig } from "./config.ts";
import { credentialMissing, type Minter, secretsIn } from "./mint.ts";
import { findProvisioner } from "./provisioners.ts";
import { remoteText } from "./remote-text.ts";
import { otherClock, type Session } from "./session.ts";
import { signCall, signedChain } from "./sign.ts";
import { importSigningKey, type SigningKey, unlockSigningKey } from "./signing-key.ts";
import { signToken } from "./token.ts";
import { createVault, type Secret, type Vault } from "./vault.ts";

/** `step` makes them of 43 characters; whoever writes a JWK may choose any. */
const LONGEST_ID = 64;

/** Mints with tokens that it signs itself, by the provisioner's key, or by the password that opens it. */
export function createKeyMinter(config: StepCaConfig, context: IssuerContext): Minter {
  const { name, secret: where } = config.provisioner;
  const keyring = createKeyring(config, context);
  const vault = createVault(where.kind, where.source, context, keyring.clear);

  return {
    mint: async (session, { request, key, complain }) => {
      const [secret, ...others] = await secretsIn(vault, config, request);
      for (const { bytes } of others) bytes.fill(0);
      if (secret === undefined) throw credentialMissing(config, request, `there is no ${where.kind} in ${vault.place}`);
      return await vault.use(secret, complain, async (spoil) => {
        const csr = await createCsr(request, key);
        let datedBy = 0;
        const attempt = async (fresh: boolean, now = session.now) => {
          const signer = await keyring.signer(session, secret, vault, fresh).catch((error: unknown) => {
            if (error instanceof AgentError && error.code === "CREDENTIAL_MISSING") spoil(); // it will never fit
            throw error;
          });
          const call = signCall(request, csr, (origin) => {
            datedBy = session.skew();
            return signToken(signer, name, origin, request, now());
          });
          return { signer, call, reply: await session.send(call) };
        };
        let { signer, call, reply } = await attempt(false);
        // A fresh token is dated by another clock, where there is one, after the CA's last restart, and signed with the key that it has now.
        if (reply.status === 401) ({ signer, call, reply } = await attempt(true, otherClock(session, datedBy)));
        if (reply.status !== 401) return signedChain(session, call, reply);
        throw await explain(session.errorOf(call, reply), session, name, signer);
      });
    },
    isHolding: () => vault.isHolding() || keyring.isHolding(),
    clear: () => {
      vault.clear();
      keyring.clear();
    },
  };
}

interface Keyring {
  readonly signer: (session: Session, secret: Secret, vault: Vault, fresh: boolean) => Promise<SigningKey>;
  readonly isHolding: () => boolean;
  readonly clear: () => void;
}

/** Keeps the opened key for as long as its secret may be kept: opening it takes a tenth of a second of CPU. */
function createKeyring(config: StepCaConfig, { clock }: IssuerContext): Keyring {
  const { name, secret: where } = config.provisioner;
  let opened: { readonly id: string; readonly since: Instant; readonly signer: Promise<SigningKey> } | undefined;

  const signer: Keyring["signer"] = async (session, secret, vault, fresh) => {
    const now = clock.now();
    const joined = opened?.id === secret.id && Math.abs(now - opened.since) < HOUR && !fresh ? opened : undefined;
    const open = () =>
      where.kind === "key"
        ? importSigningKey(secret.bytes, vault.place)
        : unlockSigningKey(session, name, secret.bytes, vault.place);
    const current = joined ?? { id: secret.id, since: now, signer: open() };
    opened = current;
    try {
      return await current.signer;
    } catch (error) {
      if (opened === current) opened = undefined;
      // The attempt of another spec that opened it was ended from outside; this one was not.
      if (joined === undefined || error instanceof AgentError || session.signal.aborted) throw error;
      return await signer(session, secret, vault, true);
    }
  };
  return {
    signer,
    isHolding: () => opened !== undefined,
    clear: () => {
      opened = undefined;
    },
  };
}

/** All 401 look the same from here: what can be told is told. */
async function explain(error: AgentError, session: Session, name: string, signer: SigningKey): Promise<AgentError> {
  return new AgentError(error.code, error.message, { cause: error, hint: await whyRefused(session, name, signer) });
}

async function whyRefused(session: Session, name: string, signer: SigningKey): Promise<string | undefined> {
  try {
    const { kid } = await findProvisioner(session, name);
    if (kid !== signer.id) {
      const [theirs, ours] = [kid ?? "none", signer.id].map((id) => shortened(remoteText(id), LONGEST_ID));
      return `the CA knows the provisioner "${name}" by the key ${theirs}, but the key here is ${ours}`;
    }
    return "the CA's log has the reason; is the url's host one of its dnsNames, capitals included?";
  } catch (failure) {
    if (!(failure instanceof AgentError)) throw failure;
    return [failure.message, failure.hint].filter((text) => text !== undefined).join("; ");
  }
}
