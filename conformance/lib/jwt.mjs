// Tokens as an issuer with a shared secret makes them.

import { createHmac } from "node:crypto";

export const secret = "a secret of at least thirty-two bytes";

const base64url = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");

// jwt signs claims; without `exp` among them the token expires in an hour.
export function jwt(claims, { key = secret, alg = "HS256" } = {}) {
  const body = `${base64url({ alg, typ: "JWT" })}.${base64url({ exp: inSeconds(3600), ...claims })}`;
  return `${body}.${alg === "none" ? "" : createHmac("sha256", key).update(body).digest("base64url")}`;
}

// inSeconds is a NumericDate (RFC 7519).
export const inSeconds = (n) => Math.floor(Date.now() / 1000) + n;
