import { BLOCK_SIZE, BlockCodes, blockCount } from "../base/block-codes.js";

/** Running means of some values of a parameter, in float32; what is put into them is kept. */
export interface MomentPiece {
  /** The place of their first value in the parameter. */
  readonly start: number;
  readonly count: number;
  readonly first: Float32Array;
  readonly second: Float32Array;
  /** The largest second mean there was, where that is asked for. */
  readonly largest?: Float32Array | undefined;
}

export type MomentArray = Float32Array | Uint8Array;

/** The running means of a parameter. */
export interface Moments {
  /** What they are kept in, by name; the live arrays. */
  readonly arrays: Readonly<Record<string, MomentArray>>;
  /** Hands all of them out, piece by piece. */
  update(use: (piece: MomentPiece) => void): void;
}

/** What running means are kept in. */
export interface MomentFormat {
  /** Bytes for a parameter of so many values. */
  bytes(size: number): number;
  make(size: number): Moments;
}

/** Running means as they are, 8 bytes a value, or 12 with the largest. */
export function plainMoments(amsgrad: boolean): MomentFormat {
  return {
    bytes: (size) => (amsgrad ? 12 : 8) * size,
    make(size) {
      const zeros = (): Float32Array => new Float32Array(size);
      const arrays = { first: zeros(), second: zeros(), ...(amsgrad ? { largest: zeros() } : {}) };
      return { arrays, update: (use) => use({ start: 0, count: size, ...arrays }) };
    },
  };
}

/** Running means in codes of 8 bits, 2 bytes a value and 8 a block; as they are where there are few. */
export function codedMoments(min8bitSize: number): MomentFormat {
  const plain = plainMoments(false);
  return {
    bytes: (size) => (size < min8bitSize ? plain.bytes(size) : 2 * size + 8 * blockCount(size)),
    make(size) {
      if (size < min8bitSize) return plain.make(size);
      const [first, second] = [new BlockCodes(size, "signed"), new BlockCodes(size, "unsigned")];
      const scratch = { first: new Float32Array(BLOCK_SIZE), second: new Float32Array(BLOCK_SIZE) };
      return {
        arrays: {
          first: first.codes,
          "first.absmax": first.absmax,
          second: second.codes,
          "second.absmax": second.absmax,
        },
        update(use) {
          for (let block = 0; block < first.absmax.length; block += 1) {
            const start = block * BLOCK_SIZE;
            first.decode(block, scratch.first);
            second.decode(block, scratch.second);
            use({ start, count: Math.min(BLOCK_SIZE, size - start), ...scratch });
            first.encode(block, scratch.first);
            second.encode(block, scratch.second);
          }
        },
      };
    },
  };
}
