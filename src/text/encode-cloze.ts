import { type ConfigError, InternalError } from "../base/errors.js";
import type { Cloze } from "./cloze.js";
import { clozeError } from "./cloze-fault.js";
import { longestContinuation } from "./cloze-plan.js";
import { renderTemplate } from "./cloze-template.js";

/** What the columns of a template hold in one row. */
export type ClozeValues = ReadonlyMap<string, string>;

/** A row in its template, as tokens. */
export interface EncodedCloze {
  readonly inputIds: readonly number[];
  /** Absent where all are 0. */
  readonly tokenTypeIds?: readonly number[];
  /** Column of the mask; absent for a model that completes. */
  readonly maskAt?: number;
  /** Tokens that were cut off. */
  readonly truncated: number;
}

type Encoding = ReturnType<Cloze["tokenizer"]["encodePair"]>;

/** Words, signs, and characters of scripts that put no space between words. */
const PIECE = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}]|[\p{L}\p{M}\p{N}]+|\S/gu;

/** Words longer than this may be cut within. */
const LONG_WORD = 24;

/** Where a text may be cut: behind its words. */
function stopsOf(text: string): number[] {
  const stops = [0];
  for (const { 0: piece, index } of text.matchAll(PIECE)) {
    if (piece.length > LONG_WORD) {
      let at = index;
      for (const character of piece) stops.push((at += character.length));
    } else stops.push(index + piece.length);
  }
  return stops;
}

/** A text with the places where it may be cut, in order. */
interface Cuttable {
  readonly text: string;
  readonly stops: readonly number[];
}

/** Texts that are cut to so many characters each, at most. */
interface Cut {
  readonly values: ClozeValues;
  readonly encoding: Encoding;
}

function cutTo({ parts, tokenizer }: Cloze, texts: ReadonlyMap<string, Cuttable>, length: number): Cut {
  const values = new Map(
    [...texts].map(([name, { text, stops }]) => {
      const end = text.length <= length ? text.length : stops.findLast((stop) => stop <= length)!;
      return [name, text.slice(0, end)];
    }),
  );
  const written = renderTemplate(parts, (name) => values.get(name) ?? "", tokenizer.maskToken ?? "");
  return { values, encoding: tokenizer.encodePair(written) };
}

/**
 * The longest texts with which a template has no more than `room` tokens. Longer texts are cut first, behind a word. The whole is
 * always encoded as one text, so its tokens are those that the model would be given anyway; where the cut has to be is found by
 * steps in proportion to what is too much.
 */
function fit(
  cloze: Cloze,
  values: ClozeValues,
  room: number,
): { readonly whole: number; readonly kept: Cut } {
  const texts = new Map([...values].map(([name, text]) => [name, { text, stops: stopsOf(text) }]));
  const lengths = [...new Set([...texts.values()].flatMap(({ stops }) => stops))].sort((a, b) => a - b);
  const size = ({ encoding }: Cut): number => encoding.ids.length;
  let over = { at: lengths.length - 1, cut: cutTo(cloze, texts, Infinity) };
  const whole = size(over.cut);
  if (whole <= room) return { whole, kept: over.cut };
  let kept = { at: 0, cut: cutTo(cloze, texts, 0) };
  if (size(kept.cut) > room) throw templateTooLong(size(kept.cut), room);
  while (over.at - kept.at > 1 && size(kept.cut) < room) {
    const between = over.at - kept.at;
    const share = (room - size(kept.cut)) / Math.max(1, size(over.cut) - size(kept.cut));
    const at = kept.at + Math.min(between - 1, Math.max(1, Math.round(share * between)));
    const next = { at, cut: cutTo(cloze, texts, lengths[at]!) };
    if (size(next.cut) <= room) kept = next;
    else over = next;
  }
  return { whole, kept: kept.cut };
}

/** The column of the mask that the template has put there, and not of one that a text holds. */
function maskColumn({ parts, tokenizer }: Cloze, { values, encoding }: Cut): number {
  const { maskToken = "", maskTokenId } = tokenizer;
  const before = parts.slice(
    0,
    parts.findIndex(({ kind }) => kind === "mask"),
  );
  const text = renderTemplate(before, (name) => values.get(name) ?? "", "");
  const earlier = text.split(maskToken).length - 1;
  const at = [...encoding.ids.entries()].filter(([, id]) => id === maskTokenId)[earlier]?.[0];
  if (at !== undefined) return at;
  throw new InternalError(`The tokenizer gave no token for the mask ${maskToken}.`);
}

/**
 * A row in its template, as tokens: what is too much is cut off the texts, never off the template.
 *
 * @throws {@link ConfigError} `cloze` where the template alone is too long
 */
export function encodeCloze(cloze: Cloze, values: ClozeValues, maxLength: number): EncodedCloze {
  const { whole, kept } = fit(cloze, values, maxLength - longestContinuation(cloze.plan));
  const { ids, typeIds } = kept.encoding;
  return {
    inputIds: ids,
    ...(typeIds.some((type) => type !== 0) ? { tokenTypeIds: typeIds } : {}),
    ...(cloze.form === "mask" ? { maskAt: maskColumn(cloze, kept) } : {}),
    truncated: whole - ids.length,
  };
}

function templateTooLong(tokens: number, room: number): ConfigError {
  const text = `takes ${tokens} tokens by itself; there is room for ${room}`;
  return clozeError([{ where: "template", text, cure: `maxLength: ${tokens + 64}   (--max-length)` }]);
}
