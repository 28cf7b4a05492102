// undici has no entry for its client alone; its index costs 8 MB of memory more than this one file.
declare module "undici/lib/dispatcher/client.js" {
  export { Client as default } from "undici";
}
