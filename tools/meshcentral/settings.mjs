// Prints the settings file with which MeshCentral's own agent for Linux finds a server on this machine.
//
//   node settings.mjs --url https://127.0.0.1:PORT --group ID

import { get } from 'node:https'
import { parseArgs } from 'node:util'

const { values: options } = parseArgs({ options: { url: { type: 'string' }, group: { type: 'string' } } })
const url = new URL('/meshsettings', options.url)
url.searchParams.set('id', options.group)
get(url, { rejectUnauthorized: false }, (response) => {
  let text = ''
  response.setEncoding('utf8')
  response.on('data', (part) => {
    text += part
  })
  response.on('end', () => {
    if (response.statusCode !== 200) process.exit(1)
    // It names the server by the host that its certificate is for.
    const socket = `wss://${url.host}/agent.ashx`
    process.stdout.write(text.replace(/^MeshServer=.*$/m, `MeshServer=${socket}`))
  })
})
