// Loaded into npm alone. npm judges packages by the Node that runs it, warns of dozens, and leaves out optional ones (the
// native parts of the tools) that a Debian's Node is too old for. They run on the pinned Node, so that one is named.
Object.defineProperty(process, "version", { value: `v${process.env.PINNED_NODE}` });
