import { SignJWT } from "jose";

process.stdout.write(SignJWT.name);
