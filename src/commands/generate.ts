import { generate as generateAll, generationOptions } from "../auto/generate.js";
import { pickQuantisation, quantisationOptions } from "../auto/quantisation-options.js";
import { flag, optionalText } from "../base/option.js";
import { readOptions } from "../base/read-options.js";
import { arithmetic } from "../cli/arithmetic.js";
import { chat, promptTokens, streamAnswer, tokenizerOf } from "../cli/chat.js";
import { openLanguageModel } from "../cli/open-model.js";
import { askedTasks, taskIdOption, tasksOf } from "../cli/task-names.js";
import type { Arithmetic } from "../nn/runner.js";
import { defineCommand } from "./command.js";

const options = {
  ...generationOptions,
  adapter: optionalText({ doc: "Adapter folder to use with the model.", placeholder: "<folder>" }),
  system: optionalText({ doc: "System message of the conversation." }),
  stop: optionalText({ doc: "Ends an answer where this text appears." }),
  taskId: taskIdOption,
  arithmetic,
  raw: flag({ default: false, doc: "Continues the text as it is, without the chat template." }),
  ...quantisationOptions,
};

/** `peft generate`: answers prompts, or chats where none is given. */
export const generate = defineCommand({
  name: "generate",
  summary: "Answers one or more prompts; without a prompt, a chat.",
  args: [
    { name: "<model>", doc: "Model folder, .gguf file or Hub id; or embedded." },
    { name: "[prompts...]", doc: "What to answer; several are run together." },
  ],
  options,
  examples: ['peft generate embedded "a large cat with stripes"', "peft generate model.gguf --adapter out"],
  async run({ args, flags, terminal, signal }) {
    const settings = readOptions(options, flags, {
      source: "The command line",
      spelling: "kebab-case",
      fix: "peft generate --help",
    });
    const [name = "", ...prompts] = args;
    const { adapter, system, stop, raw, taskId } = settings;
    const sampling = Object.fromEntries(
      Object.entries(settings).filter(([key]) => Object.hasOwn(generationOptions, key)),
    );
    const opening = {
      ...pickQuantisation(settings),
      arithmetic: settings.arithmetic as Arithmetic,
      terminal,
      signal,
    };
    const { base } = await openLanguageModel(name, adapter, opening);
    try {
      tokenizerOf(base);
      const taskIds = askedTasks(taskId, await tasksOf(base, adapter), Math.max(prompts.length, 1));
      const wishes = { ...sampling, taskIds, signal, ...(stop === undefined ? {} : { stop: [stop] }) };
      const before = system === undefined ? [] : [{ role: "system", content: system }];
      const tokens = prompts.map((content) =>
        promptTokens(base, [...before, { role: "user", content }], raw),
      );
      if (prompts.length === 0) {
        await chat(base, wishes, terminal);
      } else if (prompts.length === 1) {
        await streamAnswer(base, tokens[0]!, wishes, terminal);
        terminal.line();
      } else {
        const answers = await generateAll(base, tokens, wishes);
        for (const [i, { text }] of answers.entries())
          terminal.line(`${i === 0 ? "" : "\n"}> ${prompts[i]}\n${text}`);
      }
      return 0;
    } finally {
      await base.close();
    }
  },
});
