/* SPDX-License-Identifier: MIT */
/*
 * The whole broker behind its streams: several clients, bytes in, time. The input is steps, a byte each and
 * what it needs; the low nibble is the client.
 *
 *   0x connect   1x LEN bytes   2x ends its side   3x takes nothing, or again   4x one byte a read, or all
 *   5x LEN: so many 100 ms pass   6x CONNECT that is well, version by the client's number   7x LEN: a random
 *   packet type with LEN bytes behind the right length
 */
#include "broker_private.h"
#include "broker_rig.h"

#include "fuzz.h"

#define STEPS_MAX 200

static struct conf *conf;

static void feed_connect(struct broker_rig *rig, int client, struct fuzz_input *in)
{
        uint8_t flags = fuzz_u8(in) & 0x02;
        const uint8_t v5[] = { 0x10, 0x17, 0, 4, 'M', 'Q',  'T', 'T', 5,    flags, 0, 9, 10,
                               0x11, 0,    0, 0, 60,  0x22, 0,   3,   0x21, 0,     2, 0 };
        const uint8_t v4[] = { 0x10, 0x0D, 0,   4, 'M',
                               'Q',  'T',  'T', 4, flags,
                               0,    5,    0,   1, (uint8_t)('a' + client) };
        uint8_t bytes[sizeof(v5) + 2];

        if (client % 2 == 0) {
                broker_rig_feed(rig, client, v4, sizeof(v4));
                return;
        }
        /* the client id: a length of two bytes and a letter */
        memcpy(bytes, v5, sizeof(v5) - 1);
        bytes[sizeof(v5) - 1] = 0;
        bytes[sizeof(v5)] = 1;
        bytes[sizeof(v5) + 1] = (uint8_t)('a' + client);
        bytes[1] = (uint8_t)(sizeof(bytes) - 2);
        bytes[12] = 11;
        broker_rig_feed(rig, client, bytes, sizeof(bytes));
}

/* A packet whose length is right, so that its content is reached. */
static void feed_packet(struct broker_rig *rig, int client, struct fuzz_input *in)
{
        uint8_t bytes[2 + 127], n;

        bytes[0] = fuzz_u8(in);
        n = fuzz_u8(in) & 0x7F;
        bytes[1] = n;
        fuzz_take(in, bytes + 2, n);
        broker_rig_feed(rig, client, bytes, 2u + n);
}

static void feed_bytes(struct broker_rig *rig, int client, struct fuzz_input *in)
{
        uint8_t bytes[255], n = fuzz_u8(in);

        fuzz_take(in, bytes, n);
        broker_rig_feed(rig, client, bytes, n);
}

static void step(struct broker_rig *rig, struct fuzz_input *in)
{
        uint8_t code = fuzz_u8(in);
        int client = code & 7;

        switch (code >> 4 & 7) {
        case 0: (void)broker_rig_connect(rig); break;
        case 1: feed_bytes(rig, client, in); break;
        case 2: broker_rig_close(rig, client); break;
        case 3: rig->clients[client].is_stuck = !rig->clients[client].is_stuck; break;
        case 4: rig->clients[client].piece = !rig->clients[client].piece; break;
        case 5: broker_rig_advance(rig, fuzz_u8(in) * UINT64_C(100000)); break;
        case 6: feed_connect(rig, client, in); break;
        case 7: feed_packet(rig, client, in); break;
        default: break;
        }
        broker_rig_clear(rig, client);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
        struct fuzz_input in = { data, n };
        struct broker_rig rig;

        if (!conf) {
                log_set_level(LOG_LEVEL_ERROR);
                broker_rig_init(
                        &rig,
                        "remember = true; sys_interval_s = 0; max_queued_messages = 8; max_topic_levels = 8;"
                        "stall_timeout_s = 5; max_clients = 8;");
                conf = conf_ref(rig.conf);
                broker_rig_done(&rig);
        }
        broker_rig_init_with(&rig, conf);
        for (unsigned i = 0; i < STEPS_MAX && in.n > 0; i++)
                step(&rig, &in);
        for (int i = 0; i < RIG_CLIENTS; i++)
                broker_rig_close(&rig, i);
        FUZZ_ASSERT(rig.broker->n_clients == 0);
        FUZZ_ASSERT(rig.broker->n_input_bytes == 0);
        broker_rig_done(&rig);
        return 0;
}
