// Simulated agents of MeshCentral, for `./dev bench NAME --with-meshcentral`: each with a key of its own and the whole
// handshake, every signature made and checked by the server. They hold their sockets, answer commands, and say every
// second what they did, until standard input ends.
//
//   node agents.mjs --dir FOLDER --url wss://127.0.0.1:PORT/agent.ashx --group ID --agents N [--at-once N]

import { createHash, createPrivateKey, createPublicKey, generatePrimeSync, randomBytes, sign } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const { values: options } = parseArgs({
  options: {
    dir: { type: 'string' },
    url: { type: 'string' },
    group: { type: 'string' },
    agents: { type: 'string' },
    'at-once': { type: 'string', default: '16' },
  },
})
const installed = createRequire(join(options.dir, 'node_modules/meshcentral/'))
const WebSocket = installed('ws')
const forge = installed('node-forge')

// What the agents' wire names its messages.
const SERVER_AUTH = 1
const AGENT_AUTH = 2
const AGENT_INFO = 3
const AUTH_CONFIRMED = 4
const CORE_HASH = 11
const AGENT_HASH = 12
const CORE_IS_GOOD = 16
// An agent for Linux on x86_64, of the version that the server hands out, with all it can do but the desktop.
const AGENT_TYPE = 6
const PLATFORM = 6
const CAPABILITIES = 31
const HASH_BYTES = 48
// Between two signs of life.
const PING_MILLISECONDS = 30_000

const sha384 = (data) => createHash('sha384').update(data).digest()
const u16 = (value) => {
  const bytes = Buffer.alloc(2)
  bytes.writeUInt16BE(value)
  return bytes
}
const u32 = (value) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(value)
  return bytes
}

// Making an RSA key takes the time of two primes; a key of any two of a few primes is as good for this, and nobody's.
function primes(count) {
  const file = join(options.dir, 'primes.json')
  const known = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).map(BigInt) : []
  if (known.length >= count) return known.slice(0, count)
  while (known.length < count) {
    const prime = generatePrimeSync(1024, { bigint: true })
    // Products of two have 2,048 bits, and the usual exponent has an inverse.
    if (prime >> 1022n === 3n && (prime - 1n) % 65_537n !== 0n) known.push(prime)
  }
  writeFileSync(file, JSON.stringify(known.map(String)))
  return known
}

function inverse(value, modulus) {
  let [before, now, remainder, rest] = [0n, 1n, modulus, value % modulus]
  while (rest) {
    const times = remainder / rest
    ;[remainder, rest] = [rest, remainder % rest]
    ;[before, now] = [now, before - times * now]
  }
  return ((before % modulus) + modulus) % modulus
}

const bytesOf = (value, length) => Buffer.from(value.toString(16).padStart(2 * length, '0'), 'hex')

function keyOf(p, q) {
  const n = p * q
  const d = inverse(65_537n, (p - 1n) * (q - 1n))
  const text = (value, length) => bytesOf(value, length).toString('base64url')
  const jwk = {
    kty: 'RSA',
    e: 'AQAB',
    n: text(n, 256),
    d: text(d, 256),
    p: text(p, 128),
    q: text(q, 128),
    dp: text(d % (p - 1n), 128),
    dq: text(d % (q - 1n), 128),
    qi: text(inverse(q, p), 128),
  }
  return { modulus: bytesOf(n, 256), key: createPrivateKey({ format: 'jwk', key: jwk }) }
}

// A certificate of the first key; that of another one differs in the modulus. The server looks at its key only.
function certificateTemplate({ key, modulus }) {
  const certificate = forge.pki.createCertificate()
  const day = 24 * 3600 * 1000
  certificate.publicKey = forge.pki.publicKeyFromPem(
    createPublicKey(key).export({ type: 'spki', format: 'pem' }),
  )
  certificate.serialNumber = '01'
  certificate.validity.notBefore = new Date(Date.now() - day)
  certificate.validity.notAfter = new Date(Date.now() + 365 * day)
  const name = [{ name: 'commonName', value: 'MeshNodeCertificate' }]
  certificate.setSubject(name)
  certificate.setIssuer(name)
  certificate.sign(
    forge.pki.privateKeyFromPem(key.export({ type: 'pkcs1', format: 'pem' })),
    forge.md.sha384.create(),
  )
  const der = Buffer.from(forge.asn1.toDer(forge.pki.certificateToAsn1(certificate)).getBytes(), 'binary')
  return { der, at: der.indexOf(modulus) }
}

const counts = { connected: 0, ready: 0, failed: 0, commands: 0 }
const agents = Number(options.agents)
let needed = 2
while ((needed * (needed - 1)) / 2 < agents) needed++
const pool = primes(needed)
const pairs = pool.flatMap((p, at) => pool.slice(0, at).map((q) => [p, q]))
const template = certificateTemplate(keyOf(...pairs[0]))
const group = Buffer.from(options.group.replaceAll('@', '+').replaceAll('$', '/'), 'base64')
// What the server finds up to date it leaves alone.
const program = sha384(readFileSync(join(options.dir, 'node_modules/meshcentral/agents/meshagent_x86-64')))
const sockets = new Set()

function connect(number) {
  const { modulus, key } = keyOf(...pairs[number])
  const certificate = Buffer.from(template.der)
  modulus.copy(certificate, template.at)
  const nonce = randomBytes(HASH_BYTES)
  const socket = new WebSocket(options.url, {
    rejectUnauthorized: false,
    perMessageDeflate: false,
    localAddress: `127.78.${number >> 8}.${(number & 255) || 1}`,
  })
  let serverHash
  let isCounted = false
  return new Promise((settled) => {
    socket.on('upgrade', (response) => {
      serverHash = sha384(response.socket.getPeerCertificate(true).raw)
    })
    socket.on('open', () => {
      sockets.add(socket)
      socket.send(Buffer.concat([u16(SERVER_AUTH), serverHash, nonce]))
    })
    socket.on('message', (data) => {
      if (data[0] === 0x7b) return command(socket, JSON.parse(data.toString()))
      switch (data.readUInt16BE(0)) {
        case SERVER_AUTH: {
          const theirs = data.subarray(2 + HASH_BYTES, 2 + 2 * HASH_BYTES)
          const signature = sign('sha384', Buffer.concat([serverHash, theirs, nonce]), key)
          const name = Buffer.from(`sim-${number}`)
          socket.send(Buffer.concat([u16(AGENT_AUTH), u16(certificate.length), certificate, signature]))
          const info = [u32(1), u32(AGENT_TYPE), u32(0), u32(PLATFORM), group, u32(CAPABILITIES)]
          socket.send(Buffer.concat([u16(AGENT_INFO), ...info, u16(name.length), name]))
          break
        }
        case AUTH_CONFIRMED:
          isCounted = true
          counts.connected++
          settled()
          break
        case AGENT_HASH:
          socket.send(Buffer.concat([u16(AGENT_HASH), u16(0), program]))
          break
        case CORE_HASH:
          socket.send(Buffer.concat([u16(CORE_HASH), u16(0), Buffer.alloc(HASH_BYTES)]))
          break
        case CORE_IS_GOOD: {
          counts.ready++
          const core = { action: 'coreinfo', value: 'MeshCore v6', caps: 15, osdesc: 'Debian GNU/Linux 12', root: true }
          socket.send(JSON.stringify(core))
          break
        }
      }
    })
    socket.on('error', () => {
      counts.failed++
      settled()
    })
    socket.on('close', () => {
      sockets.delete(socket)
      if (isCounted) counts.connected--
      settled()
    })
  })
}

function command(socket, { action, sessionid, responseid }) {
  if (action !== 'runcommands') return
  counts.commands++
  socket.send(JSON.stringify({ action: 'msg', type: 'runcommands', result: 'hello\n', sessionid, responseid }))
}

process.stdin.on('end', () => process.exit(0)).resume()
setInterval(() => console.log(JSON.stringify(counts)), 1000)
setInterval(() => {
  for (const socket of sockets) {
    setTimeout(() => socket.readyState === WebSocket.OPEN && socket.send('{"action":"ping"}'), Math.random() * PING_MILLISECONDS)
  }
}, PING_MILLISECONDS)

let next = 0
const one = async () => {
  while (next < agents) await connect(next++)
}
await Promise.all(Array.from({ length: Number(options['at-once']) }, one))
