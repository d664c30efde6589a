import { type Module, namedModules } from "../nn/module.js";

/** What stands before the name of an adapter in AdapterHub's tensors, old spellings too. */
const SLOT = /^(?:(.*)\.)?(?:adapters|(?:attention|layer)_text_(?:task|lang)_adapters)$/;

const parent = (path: string): string => path.slice(0, path.lastIndexOf(".") + 1);

/** Where AdapterHub keeps the adapters of a model's parts, by the paths of these modules here. */
export function adapterHubSlots(root: Module): Map<string, string> {
  const slots = new Map<string, string>();
  for (const [path, { joins }] of namedModules(root))
    if (joins !== undefined) slots.set(path, joins.slot === undefined ? path : parent(path) + joins.slot);
  return slots;
}

/** Names of an adapter's tensors in the files of AdapterHub and here. */
export class AdapterHubNames {
  readonly #slots: ReadonlyMap<string, string>;
  readonly #here: ReadonlyMap<string, string>;

  /**
   * @param name - the adapter's, as its file has it.
   * @param prefix - attribute of models with a head that holds the body; files of bodies lack it.
   */
  constructor(
    root: Module,
    readonly name: string,
    readonly prefix: string,
  ) {
    this.#slots = adapterHubSlots(root);
    this.#here = new Map([...this.#slots].map(([path, slot]) => [this.#bare(slot), path]));
  }

  #bare(path: string): string {
    return path.startsWith(`${this.prefix}.`) ? path.slice(this.prefix.length + 1) : path;
  }

  /** The name here of a tensor of a file; undefined where it belongs to no place of this model. */
  toHere(tensor: string): string | undefined {
    const [before, key] = this.#split(tensor) ?? [];
    if (before === undefined || key === undefined) return undefined;
    if (before === "shared_parameters" || before.endsWith(".shared_parameters"))
      return `base_model.shared_parameters.${key}`;
    const slot = SLOT.exec(before);
    const path = slot === null ? undefined : this.#here.get(this.#bare(slot[1] ?? ""));
    return path === undefined ? undefined : `base_model.model.${path}.${key}`;
  }

  #split(tensor: string): [before: string, key: string] | undefined {
    const at = tensor.indexOf(`.${this.name}.`);
    return at < 0 ? undefined : [tensor.slice(0, at), tensor.slice(at + this.name.length + 2)];
  }

  /** The name in a file of a tensor here. */
  toAdapterHub(tensor: string): string {
    const shared = "base_model.shared_parameters.";
    if (tensor.startsWith(shared)) {
      const bodyAlone = [...this.#slots.keys()].every((path) => this.#bare(path) === path);
      return `${bodyAlone ? "" : `${this.prefix}.`}shared_parameters.${this.name}.${tensor.slice(shared.length)}`;
    }
    const full = tensor.replace(/^base_model\.model\./, "");
    const path = [...this.#slots.keys()].find((one) => full.startsWith(`${one}.`));
    if (path === undefined) return full;
    return `${this.#slots.get(path)!}.adapters.${this.name}.${full.slice(path.length + 1)}`;
  }
}
