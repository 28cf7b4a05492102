/**
 * Makes one call of many: who comes while none is under way gets one that begins now, and all who come meanwhile share the
 * next. So each gets an answer that was looked for after it had asked.
 */
export function oneForAll<Result>(call: () => Promise<Result>): () => Promise<Result> {
  let last: Promise<unknown> = Promise.resolve();
  let next: Promise<Result> | undefined;
  return () => {
    next ??= last.then(() => {
      next = undefined;
      const running = call();
      last = running.catch(() => undefined);
      return running;
    });
    return next;
  };
}
