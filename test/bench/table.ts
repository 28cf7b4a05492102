/** The figures as one table: certagent's, the baseline's of the same run, their ratio, and what is to be reached. */

export interface Row {
  readonly figure: string;
  readonly certagent: number;
  readonly unit: string;
  /** Measured in the same run; absent where nothing does the like. */
  readonly baseline?: { readonly name: string; readonly value: number };
  /** At most this. */
  readonly reach?: number | undefined;
}

/** The value in the middle: one run on a busy machine does not move it. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const [high = Number.NaN, low = high] = [sorted[middle], sorted[middle - 1]];
  return sorted.length % 2 === 1 ? high : (low + high) / 2;
}

/** The table in lines of text. */
export function formatTable(rows: readonly Row[]): string {
  const cells = rows.map(({ figure, certagent, unit, baseline, reach }) => [
    figure,
    `${short(certagent)} ${unit}`,
    baseline === undefined ? "" : `${short(baseline.value)} ${unit}`,
    baseline === undefined ? "" : short(certagent / baseline.value),
    reach === undefined ? "" : `≤ ${short(reach)}${certagent <= reach ? "" : "  missed"}`,
    baseline?.name ?? "",
  ]);
  const all = [["", "certagent", "baseline", "ratio", "reach", "baseline is"], ...cells];
  const widths = all[0]?.map((_, column) => Math.max(...all.map((row) => row[column]?.length ?? 0))) ?? [];
  const isNumber = (column: number): boolean => column >= 1 && column <= 3;
  const padded = (cell: string, column: number): string =>
    isNumber(column) ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0);
  return all.map((row) => row.map(padded).join("  ").trimEnd()).join("\n");
}

/** Three digits that mean something. */
export function short(value: number): string {
  if (!Number.isFinite(value)) return "-";
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return value.toFixed(Math.abs(value) >= 10 ? 1 : 2);
}
