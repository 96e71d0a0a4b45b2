// Starts Azurite: node start.js <its main.js> <its arguments>
//
// BRIDGE_TLS names a file with a certificate and its key, or is empty; BRIDGE_TOKENS has what tokens are signed with.
"use strict";
const fs = require("fs");
const http = require("http");
const https = require("https");
const path = require("path");

const OLDEST = 18; // of Debian 12; Azurite names a newer one, and runs on it

if (parseInt(process.versions.node, 10) < OLDEST) {
  console.log(`Node.js ${OLDEST} or later is needed; this is ${process.versions.node}`);
  process.exit(1);
}

const [main, ...rest] = process.argv.slice(2);
const part = (...names) => require(path.join(path.dirname(main), ...names)).default;

// Ends with the process that started it, however that went: its end of the pipe is closed then.
process.stdin.on("end", () => process.exit(0)).resume();

// Azurite has either HTTP or TLS; here are both, and the same behind them.
const create = http.createServer;
http.createServer = (...given) => {
  const plain = create(...given);
  if (!process.env.BRIDGE_TLS) return plain;
  const pem = fs.readFileSync(process.env.BRIDGE_TLS);
  const encrypted = https.createServer({ cert: pem, key: pem });
  encrypted.on("request", (request, response) => plain.emit("request", request, response));
  encrypted.listen(0, "127.0.0.1", () => console.log(`TLS at https://127.0.0.1:${encrypted.address().port}`));
  return plain;
};

// Azure calls a signature that is wrong, or has expired, AuthenticationFailed; Azurite calls it as Azure calls
// a request that the account's network rules refuse. Clients tell by the code whether to sign anew.
const errors = part("errors", "StorageErrorFactory.js");
errors.getAuthorizationFailure = (id) =>
  errors.getAuthenticationFailed(id, "Signature did not match, or is not valid in the specified time frame");

// Azurite looks at what a token says, and not at its signature; and takes a shared key that is wrong for none.
const tokens = part("authentication", "BlobTokenAuthenticator.js").prototype;
const { validate, authenticateBasic } = tokens;
const jwt = require(require.resolve("jsonwebtoken", { paths: [path.dirname(main)] }));
const key = Buffer.from(process.env.BRIDGE_TOKENS, "base64");
tokens.validate = async function (request, context) {
  const header = request.getHeader("authorization");
  return header && header.startsWith("Bearer") ? validate.call(this, request, context) : undefined;
};
tokens.authenticateBasic = async function (token, context) {
  try {
    jwt.verify(token, key, { algorithms: ["HS256"], ignoreExpiration: true, ignoreNotBefore: true });
  } catch {
    throw errors.getAuthenticationFailed(context.contextId, "Signature validation failed.");
  }
  return authenticateBasic.call(this, token, context);
};

process.argv = [process.argv[0], main, ...rest];
require(main);
