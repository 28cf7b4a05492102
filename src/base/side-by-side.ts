/**
 * Does `work` for each item, at most `places` of them at one time, so that disk and processor are busy together and memory
 * is not. The results are in the items' order; rejects with the first that fails.
 */
export async function sideBySide<Item, Result>(
  places: number,
  items: readonly Item[],
  work: (item: Item) => Promise<Result>,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [at, item] of queue) results[at] = await work(item);
  };
  await Promise.all(Array.from({ length: places }, worker));
  return results;
}
