/** The walk with one process that does it all. */
import { WAYS } from "../../servers/ways.ts";
import { walk } from "./walk.ts";

walk(WAYS.alone);
