/** Writes the protobuf wire format: varints, fixed 32 bits, and length-delimited fields. */
export class ProtobufWriter {
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

  /** Field `number` holding bytes. */
  bytes(number: number, value: Uint8Array): void {
    this.varint((number << 3) | 2);
    this.varint(value.length);
    this.#reserve(value.length);
    this.#bytes.set(value, this.#length);
    this.#length += value.length;
  }

  /** Field `number` holding text. */
  text(number: number, value: string): void {
    this.bytes(number, new TextEncoder().encode(value));
  }

  /** Field `number` holding a message that `write` fills. */
  message(number: number, write: (message: ProtobufWriter) => void): void {
    const message = new ProtobufWriter();
    write(message);
    this.bytes(number, message.finish());
  }

  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }
}
