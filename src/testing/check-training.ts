import type { Place } from "../methods/method.js";
import { modelSite } from "../nn/virtual-tokens.js";
import { declaredParameters } from "../peft/adapter.js";
import type { PretrainedModel } from "../auto/pretrained-model.js";
import type { AttachedAdapter } from "../peft/attached-adapter.js";
import { defineCheck, type Finding } from "./check.js";
import { largestGap, require, sameBits } from "./conformance-error.js";
import { logitsOf, perturb, STEPS, type Subject, trainToy } from "./subject.js";
import type { PeftModel } from "../peft/peft-model.js";
import { toyBatch } from "./tiny-model.js";
import { optionRange } from "../base/option-range.js";

const IDENTITY = 1e-5;

export const identity = defineCheck({
  name: "start",
  title: "starts as identity, or declares that it does not",
  forVariants: true,
  async run(subject) {
    const base = await subject.models.shared();
    const plain = await logitsOf(base);
    return subject.attached(base, async (model): Promise<Finding> => {
      const declared = subject.method.identityStart(model.adapter().config);
      const gap = largestGap(await logitsOf(model), plain);
      require(declared === gap <= IDENTITY, "identity_start", () =>
        declared
          ? `${subject.method.name} declares that it starts as identity, and changes scores by ${gap}.`
          : `${subject.method.name} declares that it does not start as identity, and changes nothing (${gap}).`);
      return declared ? "holds" : "declared";
    });
  },
});

export const onlyOwn = defineCheck({
  name: "only its own",
  title: "only its own parameters receive a gradient and change",
  async run(subject) {
    const { strayGradients, changedBase } = await subject.training();
    const such = (names: readonly string[]): readonly (readonly [string, string])[] => [
      ["such as", names[0]!],
    ];
    require(strayGradients.length === 0, "stray_gradient", () =>
      `${strayGradients.length} parameters of the base got a gradient.`, () => such(strayGradients));
    require(changedBase.length === 0, "base_changed", () =>
      `${changedBase.length} parameters of the base changed in training.`, () => such(changedBase));
    return "holds";
  },
});

export const everyOne = defineCheck({
  name: "all learn",
  title: "every one of its parameters receives a gradient and changes",
  forVariants: true,
  async run(subject) {
    const { gradients, before, after } = await subject.training();
    require(gradients.size > 0, "nothing_trained", () => `${subject.method.name} trains nothing.`);
    const still = [...gradients].filter(([, largest]) => !(largest > 0)).map(([name]) => name);
    require(still.length === 0, "no_gradient", () =>
      `${still.length} of ${gradients.size} tensors never got a gradient.`, () => [["such as", still[0]!]]);
    const unmoved = [...before]
      .filter(([name, values]) => sameBits(values, after.get(name)!))
      .map(([name]) => name);
    require(unmoved.length === 0, "unmoved", () =>
      `${unmoved.length} of ${before.size} tensors did not change.`, () => [["such as", unmoved[0]!]]);
    return "holds";
  },
});

export const lossFalls = defineCheck({
  name: "loss falls",
  title: "the loss falls on a toy task",
  forVariants: true,
  async run(subject) {
    const { lossBefore, lossAfter } = await subject.training();
    require(lossAfter < lossBefore, "loss", () =>
      `After ${STEPS} steps on one batch the loss is ${lossAfter}; it was ${lossBefore}.`);
    return "holds";
  },
});

export const seeds = defineCheck({
  name: "seed",
  title: "two attaches from one seed agree",
  async run(subject) {
    const base = await subject.models.shared();
    const start = (): Promise<Map<string, Float32Array>> =>
      subject.attached(
        base,
        async (model) =>
          new Map(
            [...model.adapter().tensors].map(([name, { tensor }]) => [
              name,
              Float32Array.from(tensor.data as Float32Array),
            ]),
          ),
        { seed: 7 },
      );
    const [first, second] = [await start(), await start()];
    require([...first.keys()].join() === [...second.keys()].join(), "seed_names", () =>
      "Two attaches made tensors of different names.");
    const differ = [...first]
      .filter(([name, values]) => !sameBits(values, second.get(name)!))
      .map(([name]) => name);
    require(differ.length === 0, "seed", () =>
      `Two attaches from seed 7 differ in ${differ.length} tensors.`, () => [["such as", differ[0]!]]);
    return "holds";
  },
});

/** Trained parameters without what is trained beside the method: modules to save, such as a classifier's head, and biases. */
function trainedByMethod({ tensors, fixed, config }: AttachedAdapter, base: PretrainedModel): number {
  const whole = (config["modulesToSave"] ?? []) as readonly string[];
  const own = new Set([...base.namedParameters()].map(({ name }) => `base_model.model.${name}`));
  const biases = config["bias"] !== undefined && config["bias"] !== "none";
  const beside = (key: string): boolean =>
    whole.some((path) => key.replace(/^base_model\.(model\.)?/, "").startsWith(`${path}.`)) ||
    (biases && own.has(key));
  const trained = [...tensors].filter(([key, parameter]) => !fixed.has(parameter) && !beside(key));
  // A tied parameter has two names.
  return [...new Set(trained.map(([, parameter]) => parameter))].reduce((sum, { size }) => sum + size, 0);
}

/** Where the method holds on: the matched modules, or the model as a whole. */
function placesOf(model: PeftModel): readonly Place[] {
  const { places, method } = model.adapter();
  if (places.length > 0 || !(method.sites as readonly string[]).includes("model")) return places;
  const site = modelSite(model.base.module);
  return site === undefined ? [] : [{ path: site.module.path, site, named: () => false }];
}

export const count = defineCheck({
  name: "count",
  title: "the parameter count is what its formula says",
  forVariants: true,
  async run(subject) {
    const base = await subject.models.shared();
    return subject.attached(base, async (model): Promise<Finding> => {
      const { config } = model.adapter();
      const places = placesOf(model);
      const expected = declaredParameters(subject.method, config, places);
      const trainable = trainedByMethod(model.adapter(), base);
      require(expected === trainable, "parameter_count", () =>
        `${subject.method.name} trains ${trainable} parameters; its parameterCount says ${expected}.`, () => [
        ["formula", subject.method.parameters],
      ]);
      return "holds";
    });
  },
});

export const bfloat16 = defineCheck({
  name: "bfloat16",
  title: "trains in float32 on a base in bfloat16",
  oncePerFamily: true,
  async run(subject) {
    const base = await subject.models.bfloat16();
    const types = (): string[] => [...base.namedParameters()].map(({ type }) => type.dtype);
    const before = types();
    return subject.attached(base, async (model): Promise<Finding> => {
      const { lossBefore, lossAfter } = await trainToy(model, 3);
      const odd = model.trainableParameters().filter(({ type }) => type.dtype !== "float32");
      require(odd.length === 0, "adapter_type", () =>
        `${odd[0]!.name} is kept as ${odd[0]!.type.dtype}, not as float32.`);
      require(types().join() === before.join(), "base_type", () =>
        "Training changed the element type of the base.");
      require(lossAfter < lossBefore, "loss", () =>
        `On a base in bfloat16 the loss is ${lossAfter} after 3 steps; it was ${lossBefore}.`);
      return "holds";
    });
  },
});

/** Every option that drops something, switched on. */
const dropouts = ({ method, options }: Subject): Record<string, unknown> =>
  Object.fromEntries(
    Object.entries(method.config)
      .filter(
        ([name, option]) =>
          /dropout$/i.test(name) && options[name] === undefined && optionRange(option).below === 1,
      )
      .map(([name]) => [name, 0.25]),
  );

export const recompute = defineCheck({
  name: "recompute",
  title: "the gradient with recomputation is the gradient without",
  oncePerFamily: true,
  async run(subject) {
    const gradientsOf = async (model: PeftModel): Promise<Map<string, Float32Array>> => {
      perturb(model);
      await model.backward(toyBatch(model.base), { seed: 3 });
      return new Map(
        model.trainableParameters().map(({ name, grad, size }) => [name, grad ?? new Float32Array(size)]),
      );
    };
    const more = dropouts(subject);
    const kept = await subject.attached(await subject.models.shared(), gradientsOf, { more });
    const again = await subject.attached(await subject.models.recomputing(), gradientsOf, { more });
    for (const [name, gradient] of kept) {
      const gap = largestGap(again.get(name)!, gradient);
      require(gap <= 1e-4, "recompute", () =>
        `The gradient of ${name} differs by ${gap} when activations are computed again.`, () => [
        ["options", JSON.stringify(more)],
      ]);
    }
    return "holds";
  },
});
