import { describe, expect, test } from "vitest";
import { ConfigError } from "../base/errors.js";
import type { Option, Options } from "../base/option.js";
import { promptOptions } from "../base/prompt-options.js";
import { optionFaults } from "../base/read-options.js";
import { targetOptions } from "../base/target-options.js";
import { prepareConfig } from "../peft/adapter.js";
import { badValues } from "../testing/check-options.js";
import { methods, type PeftConfig } from "./index.js";
import type { MethodDefinition } from "./method.js";

const all = methods as unknown as Readonly<Record<string, MethodDefinition>>;
const shown = new Set<string>();

/** The error for a value of an option, after its first line: option, value, what was expected, cure. */
function refusal(method: MethodDefinition, name: string, value: unknown): string {
  try {
    prepareConfig({ peftType: method.name, [name]: value } as PeftConfig, {}, { source: method.name });
  } catch (error) {
    expect(error).toBeInstanceOf(ConfigError);
    const [first, ...rest] = (error as ConfigError).message.split("\n");
    expect(first).toBe(`${method.name} has an option that cannot be used.`);
    return rest.map((line) => line.trim()).join("  ");
  }
  return `${name}  takes ${JSON.stringify(value)}`;
}

/** Bad values of an option, and those of the settings where it is a group of them. */
const valuesOf = ({ group, ...option }: Option<unknown>): unknown[] => [
  ...badValues(option).map(({ value }) => value),
  ...Object.entries(group?.options ?? {}).flatMap(([key, setting]) =>
    badValues(setting).map(({ value }) => ({ [key]: value })),
  ),
];

/** What every option says to values that it refuses. */
function refusals(method: MethodDefinition, options: Options): string {
  for (const option of Object.keys(options)) shown.add(`${method.name} ${option}`);
  return Object.entries(options)
    .flatMap(([name, option]) => {
      const values = valuesOf(option);
      return values.length === 0
        ? [`${name}  has no bad value`]
        : values.map((value) => refusal(method, name, value));
    })
    .join("\n");
}

const common = new Set<unknown>([...Object.values(targetOptions), ...Object.values(promptOptions)]);

/** Options that are a method's own. */
const own = (name: string): string => {
  const { config, ...method } = all[name]!;
  const options = Object.entries(config).filter(([, option]) => !common.has(option));
  return refusals({ config, ...method }, Object.fromEntries(options));
};

/** The same without what another method says too, for methods that differ in defaults alone. */
const differing = (name: string, other: string): string => {
  const known = own(other).split("\n");
  return own(name)
    .split("\n")
    .filter((line) => !known.includes(line))
    .join("\n");
};

describe("a bad value: the option, the value, what was expected, a cure", () => {
  test("options of methods with targets", () => {
    expect(refusals(all["LORA"]!, targetOptions as Options)).toMatchInlineSnapshot(`
      "targetModules  7 is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: targetModules: ["q_proj", "v_proj"]
      targetModules  [-1] is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: targetModules: ["q_proj", "v_proj"]
      targetModules  {"bad":0} is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: targetModules: ["q_proj", "v_proj"]
      excludeModules  7 is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave excludeModules out
      excludeModules  [-1] is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave excludeModules out
      excludeModules  {"bad":0} is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave excludeModules out
      modulesToSave  7 is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave modulesToSave out
      modulesToSave  [-1] is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave modulesToSave out
      modulesToSave  {"bad":0} is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave modulesToSave out
      layersToTransform  {"bad":[]} is not the number of a layer from 0, or a list of such numbers  fix: layersToTransform: [0, 1]
      layersToTransform  [-1] (at 0) is too small; at least 0 was expected  fix: layersToTransform: [0, 1]
      layersToTransform  {"bad":0} is not the number of a layer from 0, or a list of such numbers  fix: layersToTransform: [0, 1]
      layersPattern  7 is not a name or a list of names  fix: leave layersPattern out
      layersPattern  [-1] is not a name or a list of names  fix: leave layersPattern out
      layersPattern  {"bad":0} is not a name or a list of names  fix: leave layersPattern out
      ambiguous  "no such word" is not one of error, warn, allow  fix: leave ambiguous out
      ambiguous  7 is not one of error, warn, allow  fix: leave ambiguous out
      matching  "no such word" is not one of whole-names, hugging-face  fix: matching: "whole-names"
      matching  7 is not one of whole-names, hugging-face  fix: matching: "whole-names""
    `);
  });

  test("options of methods with virtual tokens", () => {
    expect(refusals(all["PROMPT_TUNING"]!, promptOptions as Options)).toMatchInlineSnapshot(`
      "numVirtualTokens  0 is too small; at least 1 was expected  fix: numVirtualTokens: 20
      numVirtualTokens  1.5 is not a whole number; 1 or more was expected  fix: numVirtualTokens: 20
      numVirtualTokens  "many" is not a whole number; 1 or more was expected  fix: numVirtualTokens: 20
      numLayers  0 is too small; at least 1 was expected  fix: leave numLayers out
      numLayers  1.5 is not a whole number; 1 or more was expected  fix: leave numLayers out
      numLayers  "many" is not a whole number; 1 or more was expected  fix: leave numLayers out
      tokenDim  0 is too small; at least 1 was expected  fix: leave tokenDim out
      tokenDim  1.5 is not a whole number; 1 or more was expected  fix: leave tokenDim out
      tokenDim  "many" is not a whole number; 1 or more was expected  fix: leave tokenDim out
      numAttentionHeads  0 is too small; at least 1 was expected  fix: leave numAttentionHeads out
      numAttentionHeads  1.5 is not a whole number; 1 or more was expected  fix: leave numAttentionHeads out
      numAttentionHeads  "many" is not a whole number; 1 or more was expected  fix: leave numAttentionHeads out
      numTransformerSubmodules  0 is too small; at least 1 was expected  fix: leave numTransformerSubmodules out
      numTransformerSubmodules  3 is too large; at most 2 was expected  fix: leave numTransformerSubmodules out
      numTransformerSubmodules  1.5 is not a whole number; 1 to 2 was expected  fix: leave numTransformerSubmodules out
      numTransformerSubmodules  "many" is not a whole number; 1 to 2 was expected  fix: leave numTransformerSubmodules out
      modulesToSave  7 is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave modulesToSave out
      modulesToSave  [-1] is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave modulesToSave out
      modulesToSave  {"bad":0} is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave modulesToSave out"
    `);
  });

  test("LORA", () => {
    expect(own("LORA")).toMatchInlineSnapshot(`
      "r  0 is too small; at least 1 was expected  fix: r: 8
      r  1.5 is not a whole number; 1 or more was expected  fix: r: 8
      r  "many" is not a whole number; 1 or more was expected  fix: r: 8
      loraAlpha  0 is too small; above 0 was expected  fix: loraAlpha: 8
      loraAlpha  "many" is not a number; above 0 was expected  fix: loraAlpha: 8
      loraDropout  -0.001 is too small; at least 0 was expected  fix: loraDropout: 0
      loraDropout  1 is too large; below 1 was expected  fix: loraDropout: 0
      loraDropout  "many" is not a number; 0 to below 1 was expected  fix: loraDropout: 0
      useRslora  "no such word" is not true or false  fix: useRslora: false
      useRslora  7 is not true or false  fix: useRslora: false
      useDora  "no such word" is not true or false  fix: useDora: false
      useDora  7 is not true or false  fix: useDora: false
      loraBias  "no such word" is not true or false  fix: loraBias: false
      loraBias  7 is not true or false  fix: loraBias: false
      initLoraWeights  7 is not one of true, false, gaussian, orthogonal, pissa, olora, eva, corda, lora_ga, mica, loftq, pissa_niter_<n>  fix: initLoraWeights: true
      initLoraWeights  [-1] is not one of true, false, gaussian, orthogonal, pissa, olora, eva, corda, lora_ga, mica, loftq, pissa_niter_<n>  fix: initLoraWeights: true
      initLoraWeights  {"bad":0} is not one of true, false, gaussian, orthogonal, pissa, olora, eva, corda, lora_ga, mica, loftq, pissa_niter_<n>  fix: initLoraWeights: true
      evaConfig  7 is not a set of values by name (rho, tau, useLabelMask, labelMaskValue, whiten, adjustScalingFactors)  fix: leave evaConfig out
      evaConfig  [-1] is not a set of values by name (rho, tau, useLabelMask, labelMaskValue, whiten, adjustScalingFactors)  fix: leave evaConfig out
      evaConfig.rho  0.999 is too small; at least 1 was expected  fix: rho: 2 in evaConfig
      evaConfig.rho  "many" is not a number; 1 or more was expected  fix: rho: 2 in evaConfig
      evaConfig.tau  -0.001 is too small; at least 0 was expected  fix: tau: 0.99 in evaConfig
      evaConfig.tau  1.001 is too large; at most 1 was expected  fix: tau: 0.99 in evaConfig
      evaConfig.tau  "many" is not a number; 0 to 1 was expected  fix: tau: 0.99 in evaConfig
      evaConfig.useLabelMask  "no such word" is not true or false  fix: useLabelMask: true in evaConfig
      evaConfig.useLabelMask  7 is not true or false  fix: useLabelMask: true in evaConfig
      evaConfig.labelMaskValue  1.5 is not a whole number; any whole number was expected  fix: labelMaskValue: -100 in evaConfig
      evaConfig.labelMaskValue  "many" is not a whole number; any whole number was expected  fix: labelMaskValue: -100 in evaConfig
      evaConfig.whiten  "no such word" is not true or false  fix: whiten: false in evaConfig
      evaConfig.whiten  7 is not true or false  fix: whiten: false in evaConfig
      evaConfig.adjustScalingFactors  "no such word" is not true or false  fix: adjustScalingFactors: true in evaConfig
      evaConfig.adjustScalingFactors  7 is not true or false  fix: adjustScalingFactors: true in evaConfig
      cordaConfig  7 is not a set of values by name (cordaMethod)  fix: leave cordaConfig out
      cordaConfig  [-1] is not a set of values by name (cordaMethod)  fix: leave cordaConfig out
      cordaConfig.cordaMethod  "no such word" is not one of ipm, kpm  fix: cordaMethod: "ipm" in cordaConfig
      cordaConfig.cordaMethod  7 is not one of ipm, kpm  fix: cordaMethod: "ipm" in cordaConfig
      loraGaConfig  7 is not a set of values by name (direction, scale, stableGamma)  fix: leave loraGaConfig out
      loraGaConfig  [-1] is not a set of values by name (direction, scale, stableGamma)  fix: leave loraGaConfig out
      loraGaConfig.direction  "no such word" is not one of ArBr, A2rBr, ArB2r, random  fix: direction: "ArB2r" in loraGaConfig
      loraGaConfig.direction  7 is not one of ArBr, A2rBr, ArB2r, random  fix: direction: "ArB2r" in loraGaConfig
      loraGaConfig.scale  "no such word" is not one of stable, weight_svd, gd_scale, unit  fix: scale: "stable" in loraGaConfig
      loraGaConfig.scale  7 is not one of stable, weight_svd, gd_scale, unit  fix: scale: "stable" in loraGaConfig
      loraGaConfig.stableGamma  0 is too small; above 0 was expected  fix: stableGamma: 16 in loraGaConfig
      loraGaConfig.stableGamma  "many" is not a number; above 0 was expected  fix: stableGamma: 16 in loraGaConfig
      loftqConfig  7 is not a set of values by name (loftqBits, loftqIter)  fix: leave loftqConfig out
      loftqConfig  [-1] is not a set of values by name (loftqBits, loftqIter)  fix: leave loftqConfig out
      loftqConfig.loftqBits  "no such word" is not 4 or 8  fix: loftqBits: 4 in loftqConfig
      loftqConfig.loftqBits  7 is not 4 or 8  fix: loftqBits: 4 in loftqConfig
      loftqConfig.loftqIter  0 is too small; at least 1 was expected  fix: loftqIter: 1 in loftqConfig
      loftqConfig.loftqIter  1.5 is not a whole number; 1 or more was expected  fix: loftqIter: 1 in loftqConfig
      loftqConfig.loftqIter  "many" is not a whole number; 1 or more was expected  fix: loftqIter: 1 in loftqConfig
      targetParameters  7 is not a list of names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: targetParameters: ["q_proj.weight"]
      targetParameters  [-1] (at 0) is not a list of names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: targetParameters: ["q_proj.weight"]
      targetParameters  {"bad":0} is not a list of names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: targetParameters: ["q_proj.weight"]
      rankPattern  7 is not a set of numbers above 0 by name  fix: rankPattern: { q_proj: 4 }
      rankPattern  [-1] is not a set of numbers above 0 by name  fix: rankPattern: { q_proj: 4 }
      rankPattern  {"bad":0} (at bad) is too small; above 0 was expected  fix: rankPattern: { q_proj: 4 }
      alphaPattern  7 is not a set of numbers above 0 by name  fix: alphaPattern: { q_proj: 4 }
      alphaPattern  [-1] is not a set of numbers above 0 by name  fix: alphaPattern: { q_proj: 4 }
      alphaPattern  {"bad":0} (at bad) is too small; above 0 was expected  fix: alphaPattern: { q_proj: 4 }
      ensureWeightTying  "no such word" is not true or false  fix: ensureWeightTying: false
      ensureWeightTying  7 is not true or false  fix: ensureWeightTying: false
      bias  "no such word" is not one of none, all, lora_only  fix: bias: "none"
      bias  7 is not one of none, all, lora_only  fix: bias: "none"
      trainableTokenIndices  7 is not a list of whole numbers from 0, or such lists by module  fix: trainableTokenIndices: [0, 1]
      trainableTokenIndices  [-1] (at 0) is too small; at least 0 was expected  fix: trainableTokenIndices: [0, 1]
      trainableTokenIndices  {"bad":0} is not a list of whole numbers from 0, or such lists by module  fix: trainableTokenIndices: [0, 1]"
    `);
  });

  test("ADALORA", () => {
    expect(own("ADALORA")).toMatchInlineSnapshot(`
      "targetR  0 is too small; at least 1 was expected  fix: targetR: 8
      targetR  1.5 is not a whole number; 1 or more was expected  fix: targetR: 8
      targetR  "many" is not a whole number; 1 or more was expected  fix: targetR: 8
      initR  0 is too small; at least 1 was expected  fix: initR: 12
      initR  1.5 is not a whole number; 1 or more was expected  fix: initR: 12
      initR  "many" is not a whole number; 1 or more was expected  fix: initR: 12
      tinit  -1 is too small; at least 0 was expected  fix: tinit: 0
      tinit  1.5 is not a whole number; 0 or more was expected  fix: tinit: 0
      tinit  "many" is not a whole number; 0 or more was expected  fix: tinit: 0
      tfinal  -1 is too small; at least 0 was expected  fix: tfinal: 0
      tfinal  1.5 is not a whole number; 0 or more was expected  fix: tfinal: 0
      tfinal  "many" is not a whole number; 0 or more was expected  fix: tfinal: 0
      deltaT  0 is too small; at least 1 was expected  fix: deltaT: 1
      deltaT  1.5 is not a whole number; 1 or more was expected  fix: deltaT: 1
      deltaT  "many" is not a whole number; 1 or more was expected  fix: deltaT: 1
      beta1  0 is too small; above 0 was expected  fix: beta1: 0.85
      beta1  1 is too large; below 1 was expected  fix: beta1: 0.85
      beta1  "many" is not a number; above 0 to below 1 was expected  fix: beta1: 0.85
      beta2  0 is too small; above 0 was expected  fix: beta2: 0.85
      beta2  1 is too large; below 1 was expected  fix: beta2: 0.85
      beta2  "many" is not a number; above 0 to below 1 was expected  fix: beta2: 0.85
      orthRegWeight  -0.001 is too small; at least 0 was expected  fix: orthRegWeight: 0.5
      orthRegWeight  "many" is not a number; 0 or more was expected  fix: orthRegWeight: 0.5
      totalStep  0 is too small; at least 1 was expected  fix: leave totalStep out
      totalStep  1.5 is not a whole number; 1 or more was expected  fix: leave totalStep out
      totalStep  "many" is not a whole number; 1 or more was expected  fix: leave totalStep out
      loraAlpha  0 is too small; above 0 was expected  fix: loraAlpha: 8
      loraAlpha  "many" is not a number; above 0 was expected  fix: loraAlpha: 8
      loraDropout  -0.001 is too small; at least 0 was expected  fix: loraDropout: 0
      loraDropout  1 is too large; below 1 was expected  fix: loraDropout: 0
      loraDropout  "many" is not a number; 0 to below 1 was expected  fix: loraDropout: 0
      initLoraWeights  "no such word" is not true or false  fix: initLoraWeights: true
      initLoraWeights  7 is not true or false  fix: initLoraWeights: true
      rankPattern  7 is not a set of lists of true and false by name  fix: leave rankPattern out
      rankPattern  [-1] is not a set of lists of true and false by name  fix: leave rankPattern out
      rankPattern  {"bad":0} (at bad) is not a set of lists of true and false by name  fix: leave rankPattern out
      bias  "no such word" is not one of none, all, lora_only  fix: bias: "none"
      bias  7 is not one of none, all, lora_only  fix: bias: "none""
    `);
  });

  test("LOHA", () => {
    expect(own("LOHA")).toMatchInlineSnapshot(`
      "r  0 is too small; at least 1 was expected  fix: r: 8
      r  1.5 is not a whole number; 1 or more was expected  fix: r: 8
      r  "many" is not a whole number; 1 or more was expected  fix: r: 8
      alpha  0 is too small; above 0 was expected  fix: alpha: 8
      alpha  "many" is not a number; above 0 was expected  fix: alpha: 8
      rankDropout  -0.001 is too small; at least 0 was expected  fix: rankDropout: 0
      rankDropout  1 is too large; below 1 was expected  fix: rankDropout: 0
      rankDropout  "many" is not a number; 0 to below 1 was expected  fix: rankDropout: 0
      moduleDropout  -0.001 is too small; at least 0 was expected  fix: moduleDropout: 0
      moduleDropout  1 is too large; below 1 was expected  fix: moduleDropout: 0
      moduleDropout  "many" is not a number; 0 to below 1 was expected  fix: moduleDropout: 0
      initWeights  "no such word" is not true or false  fix: initWeights: true
      initWeights  7 is not true or false  fix: initWeights: true
      rankPattern  7 is not a set of numbers above 0 by name  fix: rankPattern: { q_proj: 4 }
      rankPattern  [-1] is not a set of numbers above 0 by name  fix: rankPattern: { q_proj: 4 }
      rankPattern  {"bad":0} (at bad) is too small; above 0 was expected  fix: rankPattern: { q_proj: 4 }
      alphaPattern  7 is not a set of numbers above 0 by name  fix: alphaPattern: { q_proj: 4 }
      alphaPattern  [-1] is not a set of numbers above 0 by name  fix: alphaPattern: { q_proj: 4 }
      alphaPattern  {"bad":0} (at bad) is too small; above 0 was expected  fix: alphaPattern: { q_proj: 4 }"
    `);
  });

  test("LOKR", () => {
    expect(own("LOKR")).toMatchInlineSnapshot(`
      "r  0 is too small; at least 1 was expected  fix: r: 8
      r  1.5 is not a whole number; 1 or more was expected  fix: r: 8
      r  "many" is not a whole number; 1 or more was expected  fix: r: 8
      alpha  0 is too small; above 0 was expected  fix: alpha: 8
      alpha  "many" is not a number; above 0 was expected  fix: alpha: 8
      rankDropout  -0.001 is too small; at least 0 was expected  fix: rankDropout: 0
      rankDropout  1 is too large; below 1 was expected  fix: rankDropout: 0
      rankDropout  "many" is not a number; 0 to below 1 was expected  fix: rankDropout: 0
      moduleDropout  -0.001 is too small; at least 0 was expected  fix: moduleDropout: 0
      moduleDropout  1 is too large; below 1 was expected  fix: moduleDropout: 0
      moduleDropout  "many" is not a number; 0 to below 1 was expected  fix: moduleDropout: 0
      decomposeBoth  "no such word" is not true or false  fix: decomposeBoth: false
      decomposeBoth  7 is not true or false  fix: decomposeBoth: false
      decomposeFactor  -2 is too small; at least -1 was expected  fix: decomposeFactor: -1
      decomposeFactor  1.5 is not a whole number; -1 or more was expected  fix: decomposeFactor: -1
      decomposeFactor  "many" is not a whole number; -1 or more was expected  fix: decomposeFactor: -1
      rankDropoutScale  "no such word" is not true or false  fix: rankDropoutScale: false
      rankDropoutScale  7 is not true or false  fix: rankDropoutScale: false
      initWeights  7 is not one of true, false, lycoris  fix: initWeights: true
      initWeights  [-1] is not one of true, false, lycoris  fix: initWeights: true
      initWeights  {"bad":0} is not one of true, false, lycoris  fix: initWeights: true
      rankPattern  7 is not a set of numbers above 0 by name  fix: rankPattern: { q_proj: 4 }
      rankPattern  [-1] is not a set of numbers above 0 by name  fix: rankPattern: { q_proj: 4 }
      rankPattern  {"bad":0} (at bad) is too small; above 0 was expected  fix: rankPattern: { q_proj: 4 }
      alphaPattern  7 is not a set of numbers above 0 by name  fix: alphaPattern: { q_proj: 4 }
      alphaPattern  [-1] is not a set of numbers above 0 by name  fix: alphaPattern: { q_proj: 4 }
      alphaPattern  {"bad":0} (at bad) is too small; above 0 was expected  fix: alphaPattern: { q_proj: 4 }"
    `);
  });

  test("VERA", () => {
    expect(own("VERA")).toMatchInlineSnapshot(`
      "r  0 is too small; at least 1 was expected  fix: r: 256
      r  1.5 is not a whole number; 1 or more was expected  fix: r: 256
      r  "many" is not a whole number; 1 or more was expected  fix: r: 256
      projectionPrngKey  -1 is too small; at least 0 was expected  fix: projectionPrngKey: 0
      projectionPrngKey  4294967296 is too large; at most 4294967295 was expected  fix: projectionPrngKey: 0
      projectionPrngKey  1.5 is not a whole number; 0 to 4294967295 was expected  fix: projectionPrngKey: 0
      projectionPrngKey  "many" is not a whole number; 0 to 4294967295 was expected  fix: projectionPrngKey: 0
      saveProjection  "no such word" is not true or false  fix: saveProjection: true
      saveProjection  7 is not true or false  fix: saveProjection: true
      veraDropout  -0.001 is too small; at least 0 was expected  fix: veraDropout: 0
      veraDropout  1 is too large; below 1 was expected  fix: veraDropout: 0
      veraDropout  "many" is not a number; 0 to below 1 was expected  fix: veraDropout: 0
      dInitial  "many" is not a number; any number was expected  fix: dInitial: 0.1
      initWeights  "no such word" is not true or false  fix: initWeights: true
      initWeights  7 is not true or false  fix: initWeights: true
      bias  "no such word" is not one of none, all, vera_only  fix: bias: "none"
      bias  7 is not one of none, all, vera_only  fix: bias: "none""
    `);
  });

  test("IA3", () => {
    expect(own("IA3")).toMatchInlineSnapshot(`
      "feedforwardModules  7 is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave feedforwardModules out
      feedforwardModules  [-1] is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave feedforwardModules out
      feedforwardModules  {"bad":0} is not a regular expression, or names, patterns or objects ({ exact }, { regex }, { kind }, { match })  fix: leave feedforwardModules out
      initIa3Weights  "no such word" is not true or false  fix: initIa3Weights: true
      initIa3Weights  7 is not true or false  fix: initIa3Weights: true"
    `);
  });

  test("OFT", () => {
    expect(own("OFT")).toMatchInlineSnapshot(`
      "r  -1 is too small; at least 0 was expected  fix: r: 0
      r  1.5 is not a whole number; 0 or more was expected  fix: r: 0
      r  "many" is not a whole number; 0 or more was expected  fix: r: 0
      oftBlockSize  -1 is too small; at least 0 was expected  fix: oftBlockSize: 32
      oftBlockSize  1.5 is not a whole number; 0 or more was expected  fix: oftBlockSize: 32
      oftBlockSize  "many" is not a whole number; 0 or more was expected  fix: oftBlockSize: 32
      moduleDropout  -0.001 is too small; at least 0 was expected  fix: moduleDropout: 0
      moduleDropout  1 is too large; below 1 was expected  fix: moduleDropout: 0
      moduleDropout  "many" is not a number; 0 to below 1 was expected  fix: moduleDropout: 0
      coft  "no such word" is not true or false  fix: coft: false
      coft  7 is not true or false  fix: coft: false
      eps  0 is too small; above 0 was expected  fix: eps: 0.00006
      eps  "many" is not a number; above 0 was expected  fix: eps: 0.00006
      blockShare  "no such word" is not true or false  fix: blockShare: false
      blockShare  7 is not true or false  fix: blockShare: false
      useCayleyNeumann  "no such word" is not true or false  fix: useCayleyNeumann: true
      useCayleyNeumann  7 is not true or false  fix: useCayleyNeumann: true
      numCayleyNeumannTerms  0 is too small; at least 1 was expected  fix: numCayleyNeumannTerms: 5
      numCayleyNeumannTerms  1.5 is not a whole number; 1 or more was expected  fix: numCayleyNeumannTerms: 5
      numCayleyNeumannTerms  "many" is not a whole number; 1 or more was expected  fix: numCayleyNeumannTerms: 5
      initWeights  "no such word" is not true or false  fix: initWeights: true
      initWeights  7 is not true or false  fix: initWeights: true
      bias  "no such word" is not one of none, all, oft_only  fix: bias: "none"
      bias  7 is not one of none, all, oft_only  fix: bias: "none""
    `);
  });

  test("BOFT", () => {
    expect(own("BOFT")).toMatchInlineSnapshot(`
      "boftBlockSize  -1 is too small; at least 0 was expected  fix: boftBlockSize: 4
      boftBlockSize  1.5 is not a whole number; 0 or more was expected  fix: boftBlockSize: 4
      boftBlockSize  "many" is not a whole number; 0 or more was expected  fix: boftBlockSize: 4
      boftBlockNum  -1 is too small; at least 0 was expected  fix: boftBlockNum: 0
      boftBlockNum  1.5 is not a whole number; 0 or more was expected  fix: boftBlockNum: 0
      boftBlockNum  "many" is not a whole number; 0 or more was expected  fix: boftBlockNum: 0
      boftNButterflyFactor  0 is too small; at least 1 was expected  fix: boftNButterflyFactor: 1
      boftNButterflyFactor  1.5 is not a whole number; 1 or more was expected  fix: boftNButterflyFactor: 1
      boftNButterflyFactor  "many" is not a whole number; 1 or more was expected  fix: boftNButterflyFactor: 1
      boftDropout  -0.001 is too small; at least 0 was expected  fix: boftDropout: 0
      boftDropout  1 is too large; below 1 was expected  fix: boftDropout: 0
      boftDropout  "many" is not a number; 0 to below 1 was expected  fix: boftDropout: 0
      initWeights  "no such word" is not true or false  fix: initWeights: true
      initWeights  7 is not true or false  fix: initWeights: true
      bias  "no such word" is not one of none, all, boft_only  fix: bias: "none"
      bias  7 is not one of none, all, boft_only  fix: bias: "none""
    `);
  });

  test("HRA", () => {
    expect(own("HRA")).toMatchInlineSnapshot(`
      "r  0 is too small; at least 1 was expected  fix: r: 8
      r  1.5 is not a whole number; 1 or more was expected  fix: r: 8
      r  "many" is not a whole number; 1 or more was expected  fix: r: 8
      applyGS  "no such word" is not true or false  fix: applyGS: false
      applyGS  7 is not true or false  fix: applyGS: false
      initWeights  "no such word" is not true or false  fix: initWeights: true
      initWeights  7 is not true or false  fix: initWeights: true
      bias  "no such word" is not one of none, all, hra_only  fix: bias: "none"
      bias  7 is not one of none, all, hra_only  fix: bias: "none""
    `);
  });

  test("FOURIERFT", () => {
    expect(own("FOURIERFT")).toMatchInlineSnapshot(`
      "nFrequency  0 is too small; at least 1 was expected  fix: nFrequency: 1000
      nFrequency  1.5 is not a whole number; 1 or more was expected  fix: nFrequency: 1000
      nFrequency  "many" is not a whole number; 1 or more was expected  fix: nFrequency: 1000
      scaling  "many" is not a number; any number was expected  fix: scaling: 150
      randomLocSeed  -1 is too small; at least 0 was expected  fix: randomLocSeed: 777
      randomLocSeed  4294967296 is too large; at most 4294967295 was expected  fix: randomLocSeed: 777
      randomLocSeed  1.5 is not a whole number; 0 to 4294967295 was expected  fix: randomLocSeed: 777
      randomLocSeed  "many" is not a whole number; 0 to 4294967295 was expected  fix: randomLocSeed: 777
      nFrequencyPattern  7 is not a set of numbers above 0 by name  fix: nFrequencyPattern: { q_proj: 4 }
      nFrequencyPattern  [-1] is not a set of numbers above 0 by name  fix: nFrequencyPattern: { q_proj: 4 }
      nFrequencyPattern  {"bad":0} (at bad) is too small; above 0 was expected  fix: nFrequencyPattern: { q_proj: 4 }
      initWeights  "no such word" is not true or false  fix: initWeights: false
      initWeights  7 is not true or false  fix: initWeights: false
      bias  "no such word" is not one of none, all, fourier_only  fix: bias: "none"
      bias  7 is not one of none, all, fourier_only  fix: bias: "none""
    `);
  });

  test("SHIRA", () => {
    expect(own("SHIRA")).toMatchInlineSnapshot(`
      "r  0 is too small; at least 1 was expected  fix: r: 32
      r  1.5 is not a whole number; 1 or more was expected  fix: r: 32
      r  "many" is not a whole number; 1 or more was expected  fix: r: 32
      maskType  "no such word" is not random, the only choice  fix: maskType: "random"
      maskType  7 is not random, the only choice  fix: maskType: "random"
      randomSeed  -1 is too small; at least 0 was expected  fix: leave randomSeed out
      randomSeed  4294967296 is too large; at most 4294967295 was expected  fix: leave randomSeed out
      randomSeed  1.5 is not a whole number; 0 to 4294967295 was expected  fix: leave randomSeed out
      randomSeed  "many" is not a whole number; 0 to 4294967295 was expected  fix: leave randomSeed out
      initWeights  "no such word" is not true or false  fix: initWeights: true
      initWeights  7 is not true or false  fix: initWeights: true"
    `);
  });

  test("SEQ_BN", () => {
    expect(own("SEQ_BN")).toMatchInlineSnapshot(`
      "reductionFactor  {"bad":[]} is not a number above 0, or a set of such numbers by name  fix: reductionFactor: 16
      reductionFactor  [-1] is not a number above 0, or a set of such numbers by name  fix: reductionFactor: 16
      reductionFactor  {"bad":0} (at bad) is too small; above 0 was expected  fix: reductionFactor: 16
      nonLinearity  "no such word" is not one of relu, gelu, gelu_new, silu, swish, tanh, sigmoid, leakyrelu  fix: nonLinearity: "relu"
      nonLinearity  7 is not one of relu, gelu, gelu_new, silu, swish, tanh, sigmoid, leakyrelu  fix: nonLinearity: "relu"
      mhAdapter  "no such word" is not true or false  fix: mhAdapter: false
      mhAdapter  7 is not true or false  fix: mhAdapter: false
      crossAdapter  "no such word" is not true or false  fix: crossAdapter: false
      crossAdapter  7 is not true or false  fix: crossAdapter: false
      outputAdapter  "no such word" is not true or false  fix: outputAdapter: true
      outputAdapter  7 is not true or false  fix: outputAdapter: true
      isParallel  "no such word" is not true or false  fix: isParallel: false
      isParallel  7 is not true or false  fix: isParallel: false
      originalLnBefore  "no such word" is not true or false  fix: originalLnBefore: true
      originalLnBefore  7 is not true or false  fix: originalLnBefore: true
      originalLnAfter  "no such word" is not true or false  fix: originalLnAfter: true
      originalLnAfter  7 is not true or false  fix: originalLnAfter: true
      residualBeforeLn  7 is not one of true, false, post_add  fix: residualBeforeLn: true
      residualBeforeLn  [-1] is not one of true, false, post_add  fix: residualBeforeLn: true
      residualBeforeLn  {"bad":0} is not one of true, false, post_add  fix: residualBeforeLn: true
      lnBefore  "no such word" is not true or false  fix: lnBefore: false
      lnBefore  7 is not true or false  fix: lnBefore: false
      lnAfter  "no such word" is not true or false  fix: lnAfter: false
      lnAfter  7 is not true or false  fix: lnAfter: false
      adapterResidualBeforeLn  "no such word" is not true or false  fix: adapterResidualBeforeLn: false
      adapterResidualBeforeLn  7 is not true or false  fix: adapterResidualBeforeLn: false
      scaling  {"bad":[]} is not a number or one of learned, channel  fix: scaling: 1
      scaling  [-1] is not a number or one of learned, channel  fix: scaling: 1
      scaling  {"bad":0} is not a number or one of learned, channel  fix: scaling: 1
      dropout  -0.001 is too small; at least 0 was expected  fix: dropout: 0
      dropout  1 is too large; below 1 was expected  fix: dropout: 0
      dropout  "many" is not a number; 0 to below 1 was expected  fix: dropout: 0
      leaveOut  7 is not a list of whole numbers from 0  fix: leaveOut: [0, 1]
      leaveOut  [-1] (at 0) is too small; at least 0 was expected  fix: leaveOut: [0, 1]
      leaveOut  {"bad":0} is not a list of whole numbers from 0  fix: leaveOut: [0, 1]
      initWeights  "no such word" is not one of bert, mam_adapter, houlsby  fix: initWeights: "bert"
      initWeights  7 is not one of bert, mam_adapter, houlsby  fix: initWeights: "bert"
      initWeightsSeed  -1 is too small; at least 0 was expected  fix: leave initWeightsSeed out
      initWeightsSeed  1.5 is not a whole number; 0 or more was expected  fix: leave initWeightsSeed out
      initWeightsSeed  "many" is not a whole number; 0 or more was expected  fix: leave initWeightsSeed out
      phmLayer  "no such word" is not true or false  fix: phmLayer: false
      phmLayer  7 is not true or false  fix: phmLayer: false
      phmDim  0 is too small; at least 1 was expected  fix: phmDim: 4
      phmDim  1.5 is not a whole number; 1 or more was expected  fix: phmDim: 4
      phmDim  "many" is not a whole number; 1 or more was expected  fix: phmDim: 4
      sharedPhmRule  "no such word" is not true or false  fix: sharedPhmRule: true
      sharedPhmRule  7 is not true or false  fix: sharedPhmRule: true
      factorizedPhmRule  "no such word" is not true or false  fix: factorizedPhmRule: false
      factorizedPhmRule  7 is not true or false  fix: factorizedPhmRule: false
      learnPhm  "no such word" is not true or false  fix: learnPhm: true
      learnPhm  7 is not true or false  fix: learnPhm: true
      factorizedPhmW  "no such word" is not true or false  fix: factorizedPhmW: true
      factorizedPhmW  7 is not true or false  fix: factorizedPhmW: true
      sharedWPhm  "no such word" is not true or false  fix: sharedWPhm: false
      sharedWPhm  7 is not true or false  fix: sharedWPhm: false
      phmRank  0 is too small; at least 1 was expected  fix: phmRank: 1
      phmRank  1.5 is not a whole number; 1 or more was expected  fix: phmRank: 1
      phmRank  "many" is not a whole number; 1 or more was expected  fix: phmRank: 1
      phmCInit  "no such word" is not one of normal, uniform  fix: phmCInit: "normal"
      phmCInit  7 is not one of normal, uniform  fix: phmCInit: "normal"
      phmInitRange  -0.001 is too small; at least 0 was expected  fix: phmInitRange: 0.0001
      phmInitRange  "many" is not a number; 0 or more was expected  fix: phmInitRange: 0.0001
      phmBias  "no such word" is not true or false  fix: phmBias: true
      phmBias  7 is not true or false  fix: phmBias: true"
    `);
  });

  test("DOUBLE_SEQ_BN", () => {
    expect(differing("DOUBLE_SEQ_BN", "SEQ_BN")).toMatchInlineSnapshot(`
      "nonLinearity  "no such word" is not one of relu, gelu, gelu_new, silu, swish, tanh, sigmoid, leakyrelu  fix: nonLinearity: "swish"
      nonLinearity  7 is not one of relu, gelu, gelu_new, silu, swish, tanh, sigmoid, leakyrelu  fix: nonLinearity: "swish"
      mhAdapter  "no such word" is not true or false  fix: mhAdapter: true
      mhAdapter  7 is not true or false  fix: mhAdapter: true
      originalLnBefore  "no such word" is not true or false  fix: originalLnBefore: false
      originalLnBefore  7 is not true or false  fix: originalLnBefore: false"
    `);
  });

  test("PAR_BN", () => {
    expect(differing("PAR_BN", "SEQ_BN")).toMatchInlineSnapshot(`
      "reductionFactor  {"bad":[]} is not a number above 0, or a set of such numbers by name  fix: reductionFactor: 2
      reductionFactor  [-1] is not a number above 0, or a set of such numbers by name  fix: reductionFactor: 2
      reductionFactor  {"bad":0} (at bad) is too small; above 0 was expected  fix: reductionFactor: 2
      isParallel  "no such word" is not true or false  fix: isParallel: true
      isParallel  7 is not true or false  fix: isParallel: true
      originalLnBefore  "no such word" is not true or false  fix: originalLnBefore: false
      originalLnBefore  7 is not true or false  fix: originalLnBefore: false
      scaling  {"bad":[]} is not a number or one of learned, channel  fix: scaling: 4
      scaling  [-1] is not a number or one of learned, channel  fix: scaling: 4
      scaling  {"bad":0} is not a number or one of learned, channel  fix: scaling: 4
      initWeights  "no such word" is not one of bert, mam_adapter, houlsby  fix: initWeights: "mam_adapter"
      initWeights  7 is not one of bert, mam_adapter, houlsby  fix: initWeights: "mam_adapter""
    `);
  });

  test("SCALED_PAR_BN", () => {
    expect(differing("SCALED_PAR_BN", "SEQ_BN")).toMatchInlineSnapshot(`
      "reductionFactor  {"bad":[]} is not a number above 0, or a set of such numbers by name  fix: reductionFactor: 2
      reductionFactor  [-1] is not a number above 0, or a set of such numbers by name  fix: reductionFactor: 2
      reductionFactor  {"bad":0} (at bad) is too small; above 0 was expected  fix: reductionFactor: 2
      isParallel  "no such word" is not true or false  fix: isParallel: true
      isParallel  7 is not true or false  fix: isParallel: true
      originalLnBefore  "no such word" is not true or false  fix: originalLnBefore: false
      originalLnBefore  7 is not true or false  fix: originalLnBefore: false
      scaling  {"bad":[]} is not a number or one of learned, channel  fix: scaling: "learned"
      scaling  [-1] is not a number or one of learned, channel  fix: scaling: "learned"
      scaling  {"bad":0} is not a number or one of learned, channel  fix: scaling: "learned"
      initWeights  "no such word" is not one of bert, mam_adapter, houlsby  fix: initWeights: "mam_adapter"
      initWeights  7 is not one of bert, mam_adapter, houlsby  fix: initWeights: "mam_adapter""
    `);
  });

  test("COMPACTER", () => {
    expect(differing("COMPACTER", "SEQ_BN")).toMatchInlineSnapshot(`
      "reductionFactor  {"bad":[]} is not a number above 0, or a set of such numbers by name  fix: reductionFactor: 32
      reductionFactor  [-1] is not a number above 0, or a set of such numbers by name  fix: reductionFactor: 32
      reductionFactor  {"bad":0} (at bad) is too small; above 0 was expected  fix: reductionFactor: 32
      nonLinearity  "no such word" is not one of relu, gelu, gelu_new, silu, swish, tanh, sigmoid, leakyrelu  fix: nonLinearity: "gelu"
      nonLinearity  7 is not one of relu, gelu, gelu_new, silu, swish, tanh, sigmoid, leakyrelu  fix: nonLinearity: "gelu"
      mhAdapter  "no such word" is not true or false  fix: mhAdapter: true
      mhAdapter  7 is not true or false  fix: mhAdapter: true
      originalLnBefore  "no such word" is not true or false  fix: originalLnBefore: false
      originalLnBefore  7 is not true or false  fix: originalLnBefore: false
      phmLayer  "no such word" is not true or false  fix: phmLayer: true
      phmLayer  7 is not true or false  fix: phmLayer: true"
    `);
  });

  test("COMPACTER_PLUS_PLUS", () => {
    expect(differing("COMPACTER_PLUS_PLUS", "SEQ_BN")).toMatchInlineSnapshot(`
      "reductionFactor  {"bad":[]} is not a number above 0, or a set of such numbers by name  fix: reductionFactor: 32
      reductionFactor  [-1] is not a number above 0, or a set of such numbers by name  fix: reductionFactor: 32
      reductionFactor  {"bad":0} (at bad) is too small; above 0 was expected  fix: reductionFactor: 32
      nonLinearity  "no such word" is not one of relu, gelu, gelu_new, silu, swish, tanh, sigmoid, leakyrelu  fix: nonLinearity: "gelu"
      nonLinearity  7 is not one of relu, gelu, gelu_new, silu, swish, tanh, sigmoid, leakyrelu  fix: nonLinearity: "gelu"
      phmLayer  "no such word" is not true or false  fix: phmLayer: true
      phmLayer  7 is not true or false  fix: phmLayer: true"
    `);
  });

  test("LN_TUNING", () => {
    expect(own("LN_TUNING")).toMatchInlineSnapshot(`""`);
  });

  test("BITFIT", () => {
    expect(own("BITFIT")).toMatchInlineSnapshot(`""`);
  });

  test("TRAINABLE_TOKENS", () => {
    expect(own("TRAINABLE_TOKENS")).toMatchInlineSnapshot(`
      "tokenIndices  7 is not a list of whole numbers from 0  fix: tokenIndices: [0, 1]
      tokenIndices  [-1] (at 0) is too small; at least 0 was expected  fix: tokenIndices: [0, 1]
      tokenIndices  {"bad":0} is not a list of whole numbers from 0  fix: tokenIndices: [0, 1]
      initWeights  "no such word" is not true or false  fix: initWeights: true
      initWeights  7 is not true or false  fix: initWeights: true"
    `);
  });

  test("PROMPT_TUNING", () => {
    expect(own("PROMPT_TUNING")).toMatchInlineSnapshot(`
      "promptTuningInit  "no such word" is not one of RANDOM, TEXT, SAMPLE_VOCAB  fix: promptTuningInit: "RANDOM"
      promptTuningInit  7 is not one of RANDOM, TEXT, SAMPLE_VOCAB  fix: promptTuningInit: "RANDOM"
      promptTuningInitText  7 is not a text  fix: leave promptTuningInitText out
      promptTuningInitText  [-1] is not a text  fix: leave promptTuningInitText out
      promptTuningInitText  {"bad":0} is not a text  fix: leave promptTuningInitText out
      tokenizerNameOrPath  7 is not a text  fix: leave tokenizerNameOrPath out
      tokenizerNameOrPath  [-1] is not a text  fix: leave tokenizerNameOrPath out
      tokenizerNameOrPath  {"bad":0} is not a text  fix: leave tokenizerNameOrPath out
      tokenizerKwargs  7 is not a set of values by name  fix: leave tokenizerKwargs out
      tokenizerKwargs  [-1] is not a set of values by name  fix: leave tokenizerKwargs out"
    `);
  });

  test("PREFIX_TUNING", () => {
    expect(own("PREFIX_TUNING")).toMatchInlineSnapshot(`
      "prefixProjection  "no such word" is not true or false  fix: prefixProjection: false
      prefixProjection  7 is not true or false  fix: prefixProjection: false
      encoderHiddenSize  0 is too small; at least 1 was expected  fix: leave encoderHiddenSize out
      encoderHiddenSize  1.5 is not a whole number; 1 or more was expected  fix: leave encoderHiddenSize out
      encoderHiddenSize  "many" is not a whole number; 1 or more was expected  fix: leave encoderHiddenSize out
      initWeights  "no such word" is not zero, the only choice  fix: leave initWeights out
      initWeights  7 is not zero, the only choice  fix: leave initWeights out"
    `);
  });

  test("P_TUNING", () => {
    expect(own("P_TUNING")).toMatchInlineSnapshot(`
      "encoderReparameterizationType  "no such word" is not one of MLP, LSTM  fix: encoderReparameterizationType: "MLP"
      encoderReparameterizationType  7 is not one of MLP, LSTM  fix: encoderReparameterizationType: "MLP"
      encoderHiddenSize  0 is too small; at least 1 was expected  fix: leave encoderHiddenSize out
      encoderHiddenSize  1.5 is not a whole number; 1 or more was expected  fix: leave encoderHiddenSize out
      encoderHiddenSize  "many" is not a whole number; 1 or more was expected  fix: leave encoderHiddenSize out
      encoderNumLayers  0 is too small; at least 1 was expected  fix: encoderNumLayers: 2
      encoderNumLayers  1.5 is not a whole number; 1 or more was expected  fix: encoderNumLayers: 2
      encoderNumLayers  "many" is not a whole number; 1 or more was expected  fix: encoderNumLayers: 2
      encoderDropout  -0.001 is too small; at least 0 was expected  fix: encoderDropout: 0
      encoderDropout  1 is too large; below 1 was expected  fix: encoderDropout: 0
      encoderDropout  "many" is not a number; 0 to below 1 was expected  fix: encoderDropout: 0"
    `);
  });

  test("MULTITASK_PROMPT_TUNING", () => {
    expect(own("MULTITASK_PROMPT_TUNING")).toMatchInlineSnapshot(`
      "numTasks  0 is too small; at least 1 was expected  fix: numTasks: 1
      numTasks  1.5 is not a whole number; 1 or more was expected  fix: numTasks: 1
      numTasks  "many" is not a whole number; 1 or more was expected  fix: numTasks: 1
      numRanks  0 is too small; at least 1 was expected  fix: numRanks: 1
      numRanks  1.5 is not a whole number; 1 or more was expected  fix: numRanks: 1
      numRanks  "many" is not a whole number; 1 or more was expected  fix: numRanks: 1
      promptTuningInit  "no such word" is not one of RANDOM, TEXT, SAMPLE_VOCAB, AVERAGE_SOURCE_TASKS, EXACT_SOURCE_TASK, ONLY_SOURCE_SHARED  fix: promptTuningInit: "RANDOM"
      promptTuningInit  7 is not one of RANDOM, TEXT, SAMPLE_VOCAB, AVERAGE_SOURCE_TASKS, EXACT_SOURCE_TASK, ONLY_SOURCE_SHARED  fix: promptTuningInit: "RANDOM"
      promptTuningInitStateDictPath  7 is not a text  fix: leave promptTuningInitStateDictPath out
      promptTuningInitStateDictPath  [-1] is not a text  fix: leave promptTuningInitStateDictPath out
      promptTuningInitStateDictPath  {"bad":0} is not a text  fix: leave promptTuningInitStateDictPath out
      promptTuningInitTask  -1 is too small; at least 0 was expected  fix: promptTuningInitTask: 0
      promptTuningInitTask  1.5 is not a whole number; 0 or more was expected  fix: promptTuningInitTask: 0
      promptTuningInitTask  "many" is not a whole number; 0 or more was expected  fix: promptTuningInitTask: 0
      promptTuningInitText  7 is not a text  fix: leave promptTuningInitText out
      promptTuningInitText  [-1] is not a text  fix: leave promptTuningInitText out
      promptTuningInitText  {"bad":0} is not a text  fix: leave promptTuningInitText out
      tokenizerNameOrPath  7 is not a text  fix: leave tokenizerNameOrPath out
      tokenizerNameOrPath  [-1] is not a text  fix: leave tokenizerNameOrPath out
      tokenizerNameOrPath  {"bad":0} is not a text  fix: leave tokenizerNameOrPath out
      tokenizerKwargs  7 is not a set of values by name  fix: leave tokenizerKwargs out
      tokenizerKwargs  [-1] is not a set of values by name  fix: leave tokenizerKwargs out"
    `);
  });

  test("no option of any method is left out", () => {
    const missing = Object.values(all).flatMap(({ name, config }) =>
      Object.entries(config)
        .filter(([key, option]) => !common.has(option) && !shown.has(`${name} ${key}`))
        .map(([key]) => `${name} ${key}`),
    );
    expect(missing).toEqual([]);
  });

  test("every cure is taken", () => {
    const check = (options: Options): void => {
      for (const [key, option] of Object.entries(options)) {
        const value = option.example ?? option.default;
        expect(optionFaults({ [key]: option }, { [key]: value }, "camelCase"), key).toEqual([]);
        if (option.group !== undefined) check(option.group.options);
      }
    };
    for (const { config } of Object.values(all)) check(config);
  });
});
