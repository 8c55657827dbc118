// Round trips of a command through MeshCentral, one after the other and to its connected agents in turns, over one socket
// of a person's. Prints an array of milliseconds.
//
//   MESHCENTRAL_PASSWORD=… node commands.mjs --dir FOLDER --url wss://127.0.0.1:PORT/control.ashx --user NAME --agents N --count N

import { createRequire } from 'node:module'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'

const { values: options } = parseArgs({
  options: {
    dir: { type: 'string' },
    url: { type: 'string' },
    user: { type: 'string' },
    agents: { type: 'string' },
    count: { type: 'string' },
  },
})
const WebSocket = createRequire(join(options.dir, 'node_modules/meshcentral/'))('ws')
const base64 = (text) => Buffer.from(text).toString('base64')
const credentials = `${base64(options.user)},${base64(process.env.MESHCENTRAL_PASSWORD)}`
const socket = new WebSocket(options.url, {
  rejectUnauthorized: false,
  headers: { 'x-meshauth': credentials },
})
const [agents, count] = [Number(options.agents), Number(options.count)]
const times = []
let nodes = []
let asked = 0
let number = 0

const die = (why) => {
  console.error(why)
  process.exit(1)
}
const list = () => socket.send(JSON.stringify({ action: 'nodes', responseid: 'list' }))
const ask = () => {
  asked = performance.now()
  const order = { action: 'runcommands', type: 0, cmds: 'true', runAsUser: 0, reply: true }
  socket.send(JSON.stringify({ ...order, nodeids: [nodes[number % nodes.length]], responseid: `command ${number}` }))
}

setTimeout(() => die(`${times.length} of ${count} commands came back`), 60_000 + 200 * count).unref()
socket.on('error', (error) => die(error.message))
socket.on('open', list)
socket.on('message', (data) => {
  const message = JSON.parse(data)
  if (message.action === 'nodes' && nodes.length === 0) {
    const connected = Object.values(message.nodes).flat().filter((node) => node.conn & 1)
    if (connected.length < agents) return setTimeout(list, 500)
    nodes = connected.map((node) => node._id)
    ask()
  } else if (message.type === 'runcommands' && message.responseid === `command ${number}`) {
    times.push(performance.now() - asked)
    number++
    if (number < count) return ask()
    console.log(JSON.stringify(times))
    process.exit(0)
  }
})
