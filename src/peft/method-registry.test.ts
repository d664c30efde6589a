import { expect, test } from "vitest";
import { methods } from "../methods/index.js";
import type { MethodDefinition } from "../methods/method.js";
import { findMethod, registerMethod } from "./method-registry.js";

const messageOf = (work: () => unknown): string => {
  try {
    work();
    return "it worked";
  } catch (error) {
    return (error as Error).message;
  }
};
const register = (parts: Partial<MethodDefinition>): string =>
  messageOf(() => registerMethod({ ...(methods.LORA as unknown as MethodDefinition), ...parts }));

test("a method is registered once under a name of its own", () => {
  const own = { ...methods.LORA, name: "MY_LORA" };
  registerMethod(own);
  registerMethod(own);
  expect(findMethod("MY_LORA").attach).toBe(methods.LORA.attach);
  expect(register({})).toMatchInlineSnapshot(`
    "There is a method called LORA already: LoRA, arXiv:2106.09685.
    fix: give the new one another name"
  `);
  expect(register({ name: "my-Method" })).toMatchInlineSnapshot(`
    ""my-Method" cannot be the name of a method: capitals, digits and _ can be used, a capital first.
    fix: name: "MY_METHOD""
  `);
  expect(register({ name: "X", formula: undefined as unknown as string })).toMatchInlineSnapshot(`
    "The method "X" lacks formula.
    fix: declare it with defineMethod, which asks for every part"
  `);
});

test("a name that no method has", () => {
  expect(messageOf(() => findMethod("LORRA"))).toMatchInlineSnapshot(`
    "peftType is "LORRA", which is no method of this version.
      nearest  LORA
      methods  LORA, ADALORA, LOHA, LOKR, VERA, IA3, OFT, BOFT, HRA, FOURIERFT, SHIRA, LN_TUNING, BITFIT, TRAINABLE_TOKENS, SEQ_BN, DOUBLE_SEQ_BN, PAR_BN, SCALED_PAR_BN, COMPACTER, COMPACTER_PLUS_PLUS, PROMPT_TUNING, PREFIX_TUNING, P_TUNING, MULTITASK_PROMPT_TUNING, MY_LORA
    fix: a method of another package has to be registered first: registerMethod(method), or peft --plugin MODULE"
  `);
});
