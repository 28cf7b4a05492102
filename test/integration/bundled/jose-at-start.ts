import "./jose.ts";
