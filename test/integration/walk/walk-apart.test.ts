/** The walk with an agent that may do nothing, and a root side that does what it is asked. */
import { WAYS } from "../../servers/ways.ts";
import { walk } from "./walk.ts";

walk(WAYS.apart);
