/** System calls from JavaScript, for code that plays an intruder. Runs inside a machine, with nothing of certagent. */
import { dlopen, getInt32, getRawPointer } from "node:ffi";

const WORD = "i64" as const;
const { functions } = dlopen(null, {
  syscall: { arguments: [WORD, WORD, WORD, WORD, WORD, WORD, WORD], return: WORD },
  __errno_location: { arguments: [], return: "pointer" },
});

/** Name → number, for x86-64 and arm64. */
const NUMBERS = {
  add_key: [248, 217],
  adjtimex: [159, 171],
  bpf: [321, 280],
  chroot: [161, 51],
  clone: [56, 220],
  clock_settime: [227, 112],
  delete_module: [176, 106],
  finit_module: [313, 273],
  init_module: [175, 105],
  ioctl: [16, 29],
  kexec_load: [246, 104],
  mknodat: [259, 33],
  mount: [165, 40],
  perf_event_open: [298, 241],
  personality: [135, 92],
  prlimit64: [302, 261],
  process_vm_readv: [310, 270],
  pselect6: [270, 72],
  ptrace: [101, 117],
  reboot: [169, 142],
  sethostname: [170, 161],
  setns: [308, 268],
  setpriority: [141, 140],
  setresuid: [117, 147],
  socket: [41, 198],
  swapon: [167, 224],
  syslog: [103, 116],
  umount2: [166, 39],
  unshare: [272, 97],
  userfaultfd: [323, 282],
} as const;

type Argument = number | bigint | string | Uint8Array | null;

const ERRNO: Readonly<Record<number, string>> = {
  1: "EPERM",
  2: "ENOENT",
  3: "ESRCH",
  8: "ENOEXEC",
  9: "EBADF",
  11: "EAGAIN",
  13: "EACCES",
  14: "EFAULT",
  22: "EINVAL",
  38: "ENOSYS",
  97: "EAFNOSUPPORT",
};

/** Thrown with the name of the errno. */
export class CallFailed extends Error {
  readonly errno: string;
  constructor(name: string, errno: string) {
    super(`${name}: ${errno}`);
    this.errno = errno;
  }
}

/** Calls the kernel itself; texts and bytes are passed as pointers. Throws {@link CallFailed}. */
export function call(name: keyof typeof NUMBERS, ...given: readonly Argument[]): bigint {
  const number = NUMBERS[name][process.arch === "arm64" ? 1 : 0];
  const held = given.map((argument) => (typeof argument === "string" ? Buffer.from(`${argument}\0`) : argument));
  const words = [0, 1, 2, 3, 4, 5].map((at) => wordOf(held[at] ?? 0));
  const [a = 0n, b = 0n, c = 0n, d = 0n, e = 0n, f = 0n] = words;
  const result = functions.syscall(BigInt(number), a, b, c, d, e, f);
  if (result !== -1n) return result;
  const errno = getInt32(functions.__errno_location());
  throw new CallFailed(name, ERRNO[errno] ?? String(errno));
}

function wordOf(argument: number | bigint | Uint8Array | null): bigint {
  if (argument instanceof Uint8Array) return getRawPointer(argument);
  return BigInt(argument ?? 0);
}

/** That the call got as far as the kernel's own look at its arguments, which are nonsense on purpose. */
export function reaches(...errnos: readonly string[]): (act: () => unknown) => void {
  return (act) => {
    try {
      act();
    } catch (error) {
      if (!(error instanceof CallFailed) || !errnos.includes(error.errno)) throw error;
    }
  };
}
