import { expect, test } from "vitest";
import { hostTensor } from "../base/host-tensor.js";
import { number } from "../base/option.js";
import { targetOptions } from "../base/target-options.js";
import { always, nothing } from "../base/fill.js";
import { defineMethod } from "../methods/method.js";
import { ConformanceBench, checks } from "./bench.js";

/** y = γ ⊙ W x on every linear layer without a bias: the plainest method that conforms. */
const scaling = (name: string) =>
  defineMethod({
    name,
    title: "Scaling",
    paper: "none",
    formula: "y = γ ⊙ W x",
    parameters: "out",
    advice: "For tests.",
    sites: ["linear"],
    quantisedBase: true,
    modelDefaults: { targetModules: ["LORA"] },
    config: {
      scale: number({ default: 1, above: 0, doc: "Start of every γ, above 0." }),
      ...targetOptions,
    },
    inert: {},
    identityStart: ({ scale }) => scale === 1,
    mergeable: () => true,
    parameterCount: ({ site }) => site.outFeatures,
    attach(site, { scale }, scope) {
      const gamma = scope.param("gamma", [site.outFeatures], always(scale));
      return {
        forward: ({ f, x, base, p }) => f.mul(base(x), p(gamma)),
        merged: ({ f, own, p }) => ({
          weight: f.mul(own("weight"), f.reshape(p(gamma), { shape: [site.outFeatures, 1] })),
        }),
      };
    },
  });
type Scaling = ReturnType<typeof scaling>;
type Site = Parameters<Scaling["attach"]>[0];

const attachOf = (name: string, attach: Scaling["attach"]): Scaling => ({ ...scaling(name), attach });

async function failures(method: Scaling): Promise<string[]> {
  const failed: string[] = [];
  // One of its own: a spoilt method may leave the models in any state.
  const bench = new ConformanceBench();
  for (const { check, run } of bench.cases(method, { models: ["llama"], variantModels: [] }))
    await run().catch((error: unknown) =>
      failed.push(`${check}: ${(error as Error).message.split("\n")[0]}`),
    );
  await bench.close();
  return failed;
}

test("a method that does what it declares passes", async () => {
  expect(await failures(scaling("GOOD"))).toEqual([]);
});

let draws = 0;
const spoilt: Readonly<Record<string, (name: string) => Scaling>> = {
  start: (name) => ({ ...scaling(name), identityStart: () => false }),
  "only its own": (name) =>
    attachOf(name, (site: Site, config, scope) => {
      // Writes into the base while it trains.
      scope.afterStep(() => void (site.weight.data[0]! += 1));
      return scaling(name).attach(site, config, scope);
    }),
  "all learn": (name) =>
    attachOf(name, (site, config, scope) => {
      scope.param("unused", [1], nothing);
      return scaling(name).attach(site, config, scope);
    }),
  "loss falls": (name) =>
    attachOf(name, (site, config, scope) => {
      const gamma = scope.param("gamma", [site.outFeatures], always(1));
      // The gradient points the wrong way: γ' = 2 − γ in training, γ otherwise, is not to be had, so the step is turned round.
      let before = gamma.data.slice();
      scope.afterStep(() => {
        for (let i = 0; i < before.length; i += 1) gamma.data[i] = 3 * before[i]! - 2 * gamma.data[i]!;
        before = gamma.data.slice();
      });
      return { forward: ({ f, x, base, p }) => f.mul(base(x), p(gamma)) };
    }),
  merge: (name) =>
    attachOf(name, (site, config, scope) => ({
      ...scaling(name).attach(site, config, scope),
      merged: ({ own }) => ({ weight: own("weight") }),
    })),
  save: (name) =>
    attachOf(name, (site, config, scope) => {
      const adapter = scaling(name).attach(site, config, scope);
      // Acts like a tensor of its own that no file holds.
      const hidden = scope.frozen(hostTensor("float32", [1], Float32Array.of(1 + (draws += 1) / 64)));
      return {
        forward: (context) => context.f.mul(adapter.forward!(context), context.p(hidden)),
        merged: ({ f, own, p }) => ({ weight: f.mul(own("weight"), p(hidden)) }),
      };
    }),
  options: (name) => ({
    ...scaling(name),
    config: { ...scaling(name).config, scale: number({ default: 1, min: 0, doc: "No sentence" }) },
  }),
  seed: (name) =>
    attachOf(name, (site, config, scope) =>
      scaling(name).attach(site, { ...config, scale: (draws += 1) }, scope),
    ),
  count: (name) => ({ ...scaling(name), parameterCount: () => 7 }),
  detach: (name) =>
    attachOf(name, (site, config, scope) => {
      site.weight.data[0]! += 0.5;
      return scaling(name).attach(site, config, scope);
    }),
  bfloat16: (name) =>
    attachOf(name, (site, config, scope) => {
      const adapter = scaling(name).attach(site, config, scope);
      if (site.weight.type.dtype === "float32") return adapter;
      // Works on copies of the weight as if it were float32.
      return { ...adapter, forward: ({ x, base }) => base(x) };
    }),
  "mixed batch": (name) =>
    attachOf(name, (site, config, scope) => {
      const { forward } = scaling(name).attach(site, config, scope);
      // Every row hears of the others.
      const around: NonNullable<typeof forward> = (context) => {
        const { f } = context;
        const y = forward!(context);
        return f.add(y, f.scale(f.sum(y, { axis: 0 }), { by: 0.01 }));
      };
      return { forward: around };
    }),
  switch: (name) => {
    const shared = new Map<string, ReturnType<Scaling["attach"]>>();
    return attachOf(name, (site, config, scope) => {
      // One adapter for everybody who comes to a place.
      const made = scaling(name).attach(site, config, scope);
      if (!shared.has(scope.place.path)) shared.set(scope.place.path, made);
      return shared.get(scope.place.path)!;
    });
  },
};

test.each(Object.entries(spoilt))('the check "%s" catches a method that fails it', async (check, spoil) => {
  const name = `SPOILT_${check.toUpperCase().replaceAll(" ", "_")}`;
  expect((await failures(spoil(name))).map((text) => text.split(":")[0])).toContain(check);
});

test("every check but that of the engine has a method that fails it", () => {
  const names = checks.map((check) => check.name);
  expect(names.filter((name) => !Object.hasOwn(spoilt, name))).toEqual(["recompute"]);
});

test("merge: declared and tried have to agree", async () => {
  const attach: Scaling["attach"] = (site, config, scope) => {
    const { forward } = scaling("X").attach(site, config, scope);
    return { forward: forward! };
  };
  expect(await failures({ ...scaling("UNMERGED"), attach })).toEqual([
    "merge: UNMERGED declares that it can be merged, and cannot be.",
  ]);
  expect(await failures({ ...scaling("DECLARED"), attach, mergeable: () => false })).toEqual([]);
  expect(await failures({ ...scaling("MERGED_ANYHOW"), mergeable: () => false })).toEqual([
    "merge: MERGED_ANYHOW declares that it cannot be merged, and was.",
  ]);
});
