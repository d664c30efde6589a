/** How the files of an adapter can be laid out. */
export const ADAPTER_LAYOUTS = ["peft", "adapterhub"] as const;

/** As Hugging Face PEFT reads them, or as AdapterHub does. */
export type AdapterLayout = (typeof ADAPTER_LAYOUTS)[number];
