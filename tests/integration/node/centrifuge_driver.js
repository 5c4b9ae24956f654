// The SDK `centrifuge`, driven by a test: the part that Node and pages have in common.
//
// A command is an object: {id, act, client, ...}; it is answered by {id, done: result} or {id, failed: {code, message}}.
// What happens otherwise is an event: {event, client, ...}. `client` is a name the test gives; tests/integration/sdk.py
// describes acts and events. Payloads are JSON values here, whatever the transport makes of them.

'use strict';

(() => {
  // `makers` makes an SDK client: by transport, (base address, options) => Centrifuge. `tell` takes answers and events.
  const centrifugeDriver = (makers, tell) => {
    const clients = new Map();

    const plain = (value) => {
      if (value instanceof Uint8Array) return value.length ? JSON.parse(new TextDecoder().decode(value)) : null;
      return value === undefined ? null : value;
    };
    const info = (one) =>
      one && { client: one.client, user: one.user, connInfo: plain(one.connInfo), chanInfo: plain(one.chanInfo) };
    const publication = (one) => ({
      data: plain(one.data),
      offset: Number(one.offset || 0),
      tags: one.tags || {},
      info: info(one.info) || null,
    });
    const position = (one) => (one ? { offset: Number(one.offset || 0), epoch: one.epoch } : null);
    const problem = (error) => ({
      code: (error && error.code) || 0,
      message: String((error && (error.message || error.type)) || error),
    });

    const shapes = {
      connected: (ctx) => ({ session: ctx.client, data: plain(ctx.data) }),
      connecting: (ctx) => ({ code: ctx.code, reason: ctx.reason }),
      disconnected: (ctx) => ({ code: ctx.code, reason: ctx.reason }),
      error: (ctx) => problem(ctx.error),
      message: (ctx) => ({ data: plain(ctx.data) }),
      publication: (ctx) => publication(ctx),
      join: (ctx) => ({ info: info(ctx.info) }),
      leave: (ctx) => ({ info: info(ctx.info) }),
      subscribing: (ctx) => ({ code: ctx.code || 0, reason: ctx.reason || '' }),
      unsubscribed: (ctx) => ({ code: ctx.code || 0, reason: ctx.reason || '' }),
      subscribed: (ctx) => ({
        recoverable: ctx.recoverable,
        positioned: ctx.positioned,
        position: position(ctx.streamPosition),
        wasRecovering: ctx.wasRecovering,
        recovered: ctx.recovered,
        data: plain(ctx.data),
      }),
    };
    const ofClients = Object.keys(shapes);
    const ofSubscriptions = ['publication', 'join', 'leave', 'subscribing', 'unsubscribed', 'subscribed', 'error'];

    class Client {
      constructor(name, transport, base, options) {
        this.name = name;
        this.wanted = new Map(); // channel ('' for the connection) -> those who wait for a token
        const { fetchesToken, data, bytes, ...rest } = options;
        if (fetchesToken) rest.getToken = () => this.fetchToken('');
        this.bytes = bytes;
        this.binary = transport.endsWith('protobuf');
        if (data !== undefined) rest.data = this.payload(data);
        this.sdk = makers[transport](base, { minReconnectDelay: 20, maxReconnectDelay: 200, ...rest });
        for (const event of ofClients) {
          this.sdk.on(event, (ctx) => this.tell(event, ctx.channel ? { channel: ctx.channel, server: true } : {}, ctx));
        }
        this.sdk.connect();
      }

      tell(event, more, ctx) {
        const inBase64 = this.bytes && event === 'publication';
        const said = inBase64
          ? { data: btoa(String.fromCharCode(...(ctx.data || []))), offset: Number(ctx.offset || 0) }
          : shapes[event](ctx);
        tell({ event, client: this.name, ...more, ...said });
      }

      payload(value) {
        if (this.bytes) return Uint8Array.from(atob(value), (character) => character.charCodeAt(0));
        return this.binary ? new TextEncoder().encode(JSON.stringify(value)) : value;
      }

      fetchToken(channel) {
        return new Promise((resolve) => {
          this.wanted.set(channel, [...(this.wanted.get(channel) || []), resolve]);
          tell({ event: 'token', client: this.name, channel });
        });
      }

      token({ channel, token }) {
        this.wanted.get(channel).shift()(token);
      }

      subscribe({ channel, options }) {
        const { fetchesToken, data, ...rest } = options;
        if (fetchesToken) rest.getToken = () => this.fetchToken(channel);
        if (data !== undefined) rest.data = this.payload(data);
        let subscription = this.sdk.getSubscription(channel);
        if (!subscription) {
          subscription = this.sdk.newSubscription(channel, {
            minResubscribeDelay: 20,
            maxResubscribeDelay: 200,
            ...rest,
          });
          for (const event of ofSubscriptions) {
            subscription.on(event, (ctx) => this.tell(event, { channel, server: false }, ctx));
          }
        }
        subscription.subscribe();
      }

      unsubscribe({ channel }) {
        this.sdk.getSubscription(channel).unsubscribe();
      }

      disconnect() {
        this.sdk.disconnect();
      }

      async publish({ channel, data }) {
        await this.sdk.publish(channel, this.payload(data));
      }

      async presence({ channel }) {
        const { clients: found } = await this.sdk.presence(channel);
        return Object.values(found).map(info);
      }

      async presenceStats({ channel }) {
        const { numClients, numUsers } = await this.sdk.presenceStats(channel);
        return { clients: numClients, users: numUsers };
      }

      async history({ channel, options }) {
        const { publications, offset, epoch } = await this.sdk.history(channel, options);
        return { publications: publications.map(publication), ...position({ offset, epoch }) };
      }

      deltas({ channel }) {
        return this.sdk.getSubscription(channel).deltaStats().numDeltaPayloads;
      }

      async call({ method, data }) {
        return plain((await this.sdk.rpc(method, this.payload(data))).data);
      }

      async send({ data }) {
        await this.sdk.send(this.payload(data));
      }
    }

    return async ({ id, act, client, ...arguments_ }) => {
      try {
        if (act === 'open') {
          const { transport, base, options } = arguments_;
          clients.set(client, new Client(client, transport, base, options));
          tell({ id, done: null });
        } else {
          const result = await clients.get(client)[act](arguments_);
          tell({ id, done: result === undefined ? null : result });
        }
      } catch (error) {
        tell({ id, failed: problem(error) });
      }
    };
  };

  if (typeof module === 'object') module.exports = centrifugeDriver;
  else globalThis.centrifugeDriver = centrifugeDriver;
})();
