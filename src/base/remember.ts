/** Keeps `value` under `key`; of more than `most` the one that was kept first is forgotten. */
export function remember<Value>(known: Map<string, Value>, most: number, key: string, value: Value): void {
  const [oldest] = known.keys();
  if (oldest !== undefined && known.size === most) known.delete(oldest);
  known.set(key, value);
}
