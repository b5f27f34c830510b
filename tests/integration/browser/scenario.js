// SPDX-License-Identifier: MIT
// What mqtt.js is put through, in Node and in a browser alike: throws, or returns a line that says what was done.
'use strict'

const LIMIT_MS = 60000
const MEBIBYTE = 1024 * 1024

function check (condition, what) {
  if (!condition) throw new Error(what)
}

// A client, connected once, that keeps what comes.
function open (mqtt, url, options) {
  return new Promise((resolve, reject) => {
    const client = mqtt.connect(url, Object.assign({ reconnectPeriod: 0, connectTimeout: LIMIT_MS }, options))
    client.got = []
    client.waiting = []
    client.on('message', (topic, payload, packet) => {
      client.got.push({ topic, payload, packet })
      client.waiting = client.waiting.filter(look => !look())
    })
    client.on('error', reject)
    client.on('close', () => reject(new Error('closed')))
    client.on('connect', connack => {
      client.connack = connack
      resolve(client)
    })
  })
}

function wait (client, condition, what) {
  return new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no ${what}; ${client.got.length} messages came`)), LIMIT_MS)
    const look = () => {
      if (!condition()) return false
      clearTimeout(late)
      resolve()
      return true
    }
    if (!look()) client.waiting.push(look)
  })
}

function call (client, method, ...args) {
  return new Promise((resolve, reject) => client[method](...args, (e, r) => e ? reject(e) : resolve(r)))
}

const publish = (client, topic, payload, options) => call(client, 'publish', topic, payload, options || {})
const subscribe = (client, topic, options) => call(client, 'subscribe', topic, options || {})
const end = client => new Promise(resolve => client.end(false, {}, resolve))

module.exports = async function scenario (mqtt, url, version, more) {
  const name = 'js' + version + '-' + Math.random().toString(16).slice(2)
  const common = Object.assign({ protocolVersion: version, protocolId: version === 3 ? 'MQIsdp' : 'MQTT' }, more)
  const kept = Object.assign({ clean: false, clientId: name.slice(0, 20) }, common)
  if (version === 5) kept.properties = { sessionExpiryInterval: 600 }
  const a = await open(mqtt, url, Object.assign({
    will: { topic: name + '/will', payload: 'gone', qos: 1, retain: false }
  }, common))
  const b = await open(mqtt, url, kept)
  check(!b.connack.sessionPresent, 'a session was there')

  // Each QoS, wildcards, order, and neither loss nor doubles.
  await subscribe(b, name + '/+/x', { qos: 2 })
  await subscribe(b, name + '/will', { qos: 1 })
  // mqtt.js 4 does not heed the server's receive maximum: twelve at a time stay below it.
  for (let first = 0; first < 600; first += 12) {
    const some = []
    for (let i = first; i < first + 12; i++) {
      some.push(publish(a, `${name}/${i % 3}/x`, String(i), { qos: i % 3 }))
      some.push(publish(a, `${name}/${i % 3}/other`, 'no'))
    }
    await Promise.all(some)
  }
  await wait(b, () => b.got.length >= 600, '600 messages')
  for (let qos = 0; qos < 3; qos++) {
    const values = b.got.filter(m => m.packet.qos === qos).map(m => Number(m.payload.toString()))
    check(values.length === 200, `QoS ${qos}: ${values.length} messages of 200`)
    check(values.every((v, i) => v === 3 * i + qos), `QoS ${qos}: not in order`)
  }

  // Retained: kept, marked, and cleared by an empty one.
  await publish(a, name + '/r', 'kept', { qos: 1, retain: true })
  await subscribe(b, name + '/r', { qos: 1 })
  await wait(b, () => b.got.some(m => m.topic === name + '/r'), 'retained message')
  check(b.got.find(m => m.topic === name + '/r').packet.retain, 'it is not marked as retained')
  await publish(a, name + '/r', '', { qos: 1, retain: true })

  // A large payload, with and from bytes of every value.
  const large = Buffer.alloc(MEBIBYTE)
  for (let i = 0; i < MEBIBYTE; i++) large[i] = i * 7 + (i >> 8)
  b.got = []
  await publish(a, name + '/0/x', large, { qos: 1 })
  await wait(b, () => b.got.some(m => m.topic === name + '/0/x'), 'large message')
  check(Buffer.compare(b.got.find(m => m.topic === name + '/0/x').payload, large) === 0, 'the large message differs')

  if (version === 5) {
    b.got = []
    const user = { one: '1', two: ['2', 'zwei'] }
    await publish(a, name + '/1/x', 'q', {
      qos: 1,
      properties: { responseTopic: name + '/a', correlationData: Buffer.from('c'), userProperties: user, contentType: 't' }
    })
    await wait(b, () => b.got.length > 0, 'message with properties')
    const p = b.got[0].packet.properties
    check(p.responseTopic === name + '/a' && p.correlationData.toString() === 'c' && p.contentType === 't', 'properties')
    check(JSON.stringify(p.userProperties) === JSON.stringify(user), 'user properties')
  }

  // What comes while we are away waits, and the will is heard of.
  await end(b)
  await publish(a, name + '/2/x', 'while away', { qos: 2 })
  await publish(a, name + '/1/x', 'while away', { qos: 1 })
  a.stream.destroy()
  const again = await open(mqtt, url, kept)
  check(again.connack.sessionPresent || version === 3, 'the session is lost')
  await wait(again, () => again.got.length >= 3, 'messages that waited, and the will')
  check(again.got.some(m => m.topic === name + '/will' && m.payload.toString() === 'gone'), 'no will')
  await call(again, 'unsubscribe', name + '/+/x')
  await end(again)

  // Leave nothing behind.
  const last = await open(mqtt, url, Object.assign({}, kept, { clean: true, properties: undefined }))
  check(!last.connack.sessionPresent, 'a clean start found a session')
  await end(last)
  return `MQTT ${version}: ok`
}
