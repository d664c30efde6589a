/** Bytes of this size and more are kept as they are until the message is finished, so that large tensors are copied once. */
const LARGE = 4096;

/** Writes the protobuf wire format: varints, fixed 32 bits, and length-delimited fields. */
export class ProtobufWriter {
  readonly #parts: Uint8Array[] = [];
  #partsLength = 0;
  #bytes = new Uint8Array(1024);
  #length = 0;

  #reserve(count: number): void {
    if (this.#length + count <= this.#bytes.length) return;
    const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#length + count));
    larger.set(this.#bytes.subarray(0, this.#length));
    this.#bytes = larger;
  }

  /** A varint of up to 64 bits; negative numbers are written as two's complement, as protobuf does for int64. */
  varint(value: number | bigint): void {
    this.#reserve(10);
    if (typeof value === "number" && value >= 0 && value <= 0x7fffffff) {
      let rest = value;
      while (rest > 127) {
        this.#bytes[this.#length++] = (rest & 127) | 128;
        rest >>>= 7;
      }
      this.#bytes[this.#length++] = rest;
      return;
    }
    let rest = BigInt.asUintN(64, BigInt(value));
    while (rest > 127n) {
      this.#bytes[this.#length++] = Number(rest & 127n) | 128;
      rest >>= 7n;
    }
    this.#bytes[this.#length++] = Number(rest);
  }

  /** Field `number` holding an integer. */
  integer(number: number, value: number | bigint): void {
    this.varint(number << 3);
    this.varint(value);
  }

  /** Field `number` holding a 32-bit float. */
  float(number: number, value: number): void {
    this.varint((number << 3) | 5);
    this.#reserve(4);
    new DataView(this.#bytes.buffer).setFloat32(this.#length, value, true);
    this.#length += 4;
  }

  #append(value: Uint8Array): void {
    if (value.length >= LARGE) {
      this.#flush();
      this.#push(value);
      return;
    }
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  #push(part: Uint8Array): void {
    this.#parts.push(part);
    this.#partsLength += part.length;
  }

  /** Puts what was written so far among the parts. */
  #flush(): void {
    if (this.#length > 0) this.#push(this.#bytes.slice(0, this.#length));
    this.#length = 0;
  }

  /** Field `number` holding bytes, which must not change before the message is finished. */
  bytes(number: number, value: Uint8Array): void {
    this.varint((number << 3) | 2);
    this.varint(value.length);
    this.#append(value);
  }

  /** Field `number` holding text. */
  text(number: number, value: string): void {
    this.bytes(number, new TextEncoder().encode(value));
  }

  /** Field `number` holding a message that `write` fills. */
  message(number: number, write: (message: ProtobufWriter) => void): void {
    const message = new ProtobufWriter();
    write(message);
    message.#flush();
    this.varint((number << 3) | 2);
    this.varint(message.#partsLength);
    for (const part of message.#parts) this.#append(part);
  }

  finish(): Uint8Array {
    this.#flush();
    const whole = new Uint8Array(this.#partsLength);
    let at = 0;
    for (const part of this.#parts) {
      whole.set(part, at);
      at += part.length;
    }
    return whole;
  }
}
