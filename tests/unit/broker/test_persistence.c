/* SPDX-License-Identifier: MIT */
/*
 * What outlives the program, with a real store in a temporary folder and the broker in virtual time. A crash
 * is a copy of the store's files, taken while nothing is being written: what a kill -9 would leave.
 */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/clock.h"
#include "mbgate/base/random.h"
#include "mbgate/config/load.h"
#include "mbgate/store/store.h"

#include "broker_private.h"
#include "broker_rig.h"
#include "fake_loop.h"
#include "persistence_private.h"

struct world {
        char directory[64]; /* store and copies are in it */
        char store[80];
        char options[256];
        struct broker_rig rig;
        bool is_up;
};

/* ---- start, stop, crash ---- */

static struct conf *conf_of(const struct world *w, const char *options)
{
        struct conf_report report = { .n_lines = 0 };
        struct conf *conf;
        char path[96];
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/conf", w->directory);
        f = fopen(path, "w");
        assert_non_null(f);
        fprintf(f, "broker = { store_directory = \"%s\"; sys_interval_s = 0; %s };\n", w->store, options);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(conf_load(path, &(struct conf_load_options){ .template_dir = NULL }, &report, &conf),
                         0);
        conf_report_done(&report);
        return conf;
}

static void up(struct world *w)
{
        struct conf *conf = conf_of(w, w->options);

        broker_rig_init_with(&w->rig, conf);
        (void)conf_unref(conf);
        w->is_up = true;
}

static void down(struct world *w)
{
        if (w->is_up)
                broker_rig_done(&w->rig);
        w->is_up = false;
}

static struct store *store_of(const struct world *w)
{
        return w->rig.broker->persistence->store;
}

/* Until the storage thread has nothing to do. */
static void settle(struct world *w)
{
        do {
                broker_rig_turn(&w->rig);
                if (store_is_busy(store_of(w)))
                        assert_true(fake_loop_poll(w->rig.loop, 60000));
        } while (store_is_busy(store_of(w)));
        broker_rig_turn(&w->rig);
}

/* All that has been said is on the disk. */
static void commit(struct world *w)
{
        for (int i = 0; i < 3; i++) {
                broker_rig_advance(&w->rig, 2 * USEC_PER_SEC);
                settle(w);
        }
        assert_int_equal(store_committed(store_of(w)), store_last(store_of(w)));
}

static void copy_file(const char *from, const char *to, const char *suffix)
{
        char a[128], b[128], bytes[4096];
        FILE *in, *out;
        size_t n;

        (void)snprintf(a, sizeof(a), "%s/broker.db%s", from, suffix);
        (void)snprintf(b, sizeof(b), "%s/broker.db%s", to, suffix);
        in = fopen(a, "rb");
        if (!in)
                return;
        out = fopen(b, "wb");
        assert_non_null(out);
        while ((n = fread(bytes, 1, sizeof(bytes), in)) > 0)
                assert_int_equal(fwrite(bytes, 1, n, out), n);
        assert_int_equal(fclose(in), 0);
        assert_int_equal(fclose(out), 0);
}

static void new_store(struct world *w)
{
        (void)snprintf(w->store, sizeof(w->store), "%s/XXXXXX", w->directory);
        assert_non_null(mkdtemp(w->store));
}

static void crash(struct world *w)
{
        char from[80];

        memcpy(from, w->store, sizeof(from));
        new_store(w);
        copy_file(from, w->store, "");
        copy_file(from, w->store, "-wal");
        down(w);
        up(w);
}

static void restart(struct world *w)
{
        down(w);
        up(w);
}

static void start(struct world *w, const char *options)
{
        log_set_level(LOG_LEVEL_ERROR);
        (void)snprintf(w->directory, sizeof(w->directory), "/tmp/mbgate-persist-XXXXXX");
        assert_non_null(mkdtemp(w->directory));
        (void)snprintf(w->options, sizeof(w->options), "%s", options);
        new_store(w);
        up(w);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        (void)st;
        (void)type;
        (void)ftw;
        return remove(path);
}

static void end(struct world *w)
{
        down(w);
        (void)nftw(w->directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* ---- rows ---- */

struct counts {
        unsigned n[RECORD_WILL + 1];
        unsigned n_all;
};

static void count_row(void *user, uint8_t table, const void *key, size_t n_key, const void *value,
                      size_t n_value)
{
        struct counts *counts = user;

        (void)key;
        (void)n_key;
        (void)value;
        (void)n_value;
        counts->n_all++;
        if (table < ARRAY_SIZE(counts->n))
                counts->n[table]++;
}

/* Of a broker that is down. */
static struct counts rows_of(const struct world *w)
{
        struct counts counts = { .n_all = 0 };
        struct store *s;

        assert_int_equal(store_new(&(struct store_init){ .directory = w->store,
                                                         .name = "broker.db",
                                                         .max_bytes = 1 << 28,
                                                         .free_bytes = 1 },
                                   count_row, &counts, &s),
                         0);
        (void)store_free(s);
        return counts;
}

/* ---- clients ---- */

struct packet {
        uint8_t bytes[4096];
        size_t n;
};

static void put(struct packet *p, const void *bytes, size_t n)
{
        assert_true(p->n + n <= sizeof(p->bytes));
        memcpy(p->bytes + p->n, bytes, n);
        p->n += n;
}

static void put_u8(struct packet *p, unsigned v)
{
        put(p, &(uint8_t){ (uint8_t)v }, 1);
}

static void put_u16(struct packet *p, unsigned v)
{
        put_u8(p, v >> 8);
        put_u8(p, v);
}

static void put_text(struct packet *p, const char *text)
{
        put_u16(p, (unsigned)strlen(text));
        put(p, text, strlen(text));
}

static void feed(struct world *w, int c, uint8_t first, const struct packet *body)
{
        struct packet p = { .n = 0 };

        put_u8(&p, first);
        if (body->n >= 128)
                put_u8(&p, (unsigned)(body->n % 128) | 0x80);
        put_u8(&p, (unsigned)(body->n >= 128 ? body->n / 128 : body->n));
        put(&p, body->bytes, body->n);
        broker_rig_feed(&w->rig, c, p.bytes, p.n);
}

/* Bytes of the first packet that came out, taken out. Its type and flags, or 0. */
static uint8_t take(struct world *w, int c, struct packet *body)
{
        struct rig_client *client = &w->rig.clients[c];
        size_t n_head = 2, n;
        uint8_t first;

        body->n = 0;
        if (client->n_out < 2)
                return 0;
        first = client->out[0];
        n = client->out[1];
        if (n & 0x80) {
                n = (n & 0x7F) + 128u * client->out[2];
                n_head = 3;
        }
        assert_true(client->n_out >= n_head + n);
        put(body, client->out + n_head, n);
        client->n_out -= n_head + n;
        memmove(client->out, client->out + n_head + n, client->n_out);
        return first;
}

/* Connects with MQTT 5.0. Whether the session was there. */
static bool client_connect(struct world *w, const char *id, bool clean, uint32_t expiry_s, int *ret_client)
{
        struct packet p = { .n = 0 };
        int c = broker_rig_connect(&w->rig);

        assert_true(c >= 0);
        put_text(&p, "MQTT");
        put_u8(&p, 5);
        put_u8(&p, clean ? 2 : 0);
        put_u16(&p, 0);
        put_u8(&p, 5);
        put_u8(&p, 0x11);
        put_u16(&p, expiry_s >> 16);
        put_u16(&p, expiry_s & 0xFFFF);
        put_text(&p, id);
        feed(w, c, 0x10, &p);
        assert_int_equal(take(w, c, &p), 0x20);
        assert_int_equal(p.bytes[1], 0);
        *ret_client = c;
        return p.bytes[0] & 1;
}

static void client_subscribe(struct world *w, int c, const char *filter, uint8_t options, uint8_t id)
{
        struct packet p = { .n = 0 };

        put_u16(&p, 77);
        put_u8(&p, id ? 2 : 0);
        if (id) {
                put_u8(&p, 0x0B);
                put_u8(&p, id);
        }
        put_text(&p, filter);
        put_u8(&p, options);
        feed(w, c, 0x82, &p);
        assert_int_equal(take(w, c, &p), 0x90);
        assert_int_equal(p.bytes[p.n - 1], options & 3);
}

/* With a content type, and an expiry if it has one. */
static void client_publish(struct world *w, int c, uint8_t flags, const char *topic, uint16_t packet_id,
                           uint32_t expiry_s, const char *payload)
{
        struct packet p = { .n = 0 };

        put_text(&p, topic);
        if (flags & 6)
                put_u16(&p, packet_id);
        put_u8(&p, expiry_s ? 9 : 4);
        if (expiry_s) {
                put_u8(&p, 0x02);
                put_u16(&p, expiry_s >> 16);
                put_u16(&p, expiry_s & 0xFFFF);
        }
        put_u8(&p, 0x03);
        put_text(&p, "t");
        put(&p, payload, strlen(payload));
        feed(w, c, 0x30 | flags, &p);
}

static void client_ack(struct world *w, int c, uint8_t first, uint16_t packet_id)
{
        struct packet p = { .n = 0 };

        put_u16(&p, packet_id);
        feed(w, c, first, &p);
}

static void expect_ack(struct world *w, int c, uint8_t first, uint16_t packet_id)
{
        struct packet p;

        assert_int_equal(take(w, c, &p), first);
        assert_int_equal(get_be16(p.bytes), packet_id);
}

static void expect_nothing(struct world *w, int c)
{
        assert_int_equal(w->rig.clients[c].n_out, 0);
}

/* A PUBLISH of QoS 1 or 2. Its packet id. */
static uint16_t expect_publish(struct world *w, int c, uint8_t flags, const char *topic, const char *payload)
{
        struct packet p;

        assert_int_equal(take(w, c, &p), 0x30 | flags);
        assert_int_equal(get_be16(p.bytes), strlen(topic));
        assert_memory_equal(p.bytes + 2, topic, strlen(topic));
        assert_memory_equal(p.bytes + p.n - strlen(payload), payload, strlen(payload));
        return get_be16(p.bytes + 2 + strlen(topic));
}

/* ---- what is acknowledged, and when ---- */

static void sync_answers_after_the_commit(void **state)
{
        struct world w;
        int c;

        (void)state;
        start(&w, "durability = \"sync\";");
        client_connect(&w, "c", true, 0, &c);
        commit(&w);
        client_publish(&w, c, 0x03, "kept", 5, 0, "1"); /* retained */
        expect_nothing(&w, c);
        assert_true(store_committed(store_of(&w)) < store_last(store_of(&w)));
        settle(&w);
        expect_ack(&w, c, 0x40, 5);
        client_publish(&w, c, 0x02, "not kept", 6, 0, "1"); /* nothing to store: at once */
        expect_ack(&w, c, 0x40, 6);
        client_publish(&w, c, 0x05, "kept", 7, 0, "2");
        expect_nothing(&w, c);
        settle(&w);
        expect_ack(&w, c, 0x50, 7);
        client_ack(&w, c, 0x62, 7);
        expect_ack(&w, c, 0x70, 7);
        end(&w);
}

/* Who does not wait for answers is not read any more until the disk has caught up. */
static void a_flood_waits_for_the_disk(void **state)
{
        static uint8_t flood[40000 * 8];
        static const uint8_t connect[] = { 0x10, 0x0D, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 1, 'c' };
        struct connection *c;
        struct world w;
        int client;

        (void)state;
        start(&w, "durability = \"sync\";");
        client = broker_rig_connect(&w.rig);
        broker_rig_feed(&w.rig, client, connect, sizeof(connect));
        broker_rig_clear(&w.rig, client);
        c = w.rig.broker->connections;
        for (size_t i = 0; i < sizeof(flood); i += 8)
                memcpy(flood + i, (const uint8_t[]){ 0x33, 6, 0, 1, 'r', 0, 1, 'x' }, 8);
        for (int i = 0; i < 3; i++) {
                broker_rig_feed(&w.rig, client, flood, sizeof(flood));
                assert_true(connection_is_held_up(c));
                assert_in_range(c->n_answers_held, 1024, 1024 + BROKER_READ_BYTES / 8);
                settle(&w);
                assert_int_equal(c->n_answers_held, 0);
                assert_int_equal(c->state, CONNECTION_OPEN);
                assert_true(w.rig.clients[client].n_out >= 4 * 1024);
                broker_rig_clear(&w.rig, client);
        }
        end(&w);
}

/* We do not read it, so its keepalive says nothing. */
static void who_waits_for_the_disk_is_not_silent(void **state)
{
        static uint8_t flood[2000 * 8];
        static const uint8_t connect[] = { 0x10, 0x0D, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 10, 0, 1, 'c' };
        struct world w;
        int client;

        (void)state;
        start(&w, "durability = \"sync\";");
        client = broker_rig_connect(&w.rig);
        broker_rig_feed(&w.rig, client, connect, sizeof(connect));
        for (size_t i = 0; i < sizeof(flood); i += 8)
                memcpy(flood + i, (const uint8_t[]){ 0x33, 6, 0, 1, 'r', 0, 1, 'x' }, 8);
        broker_rig_feed(&w.rig, client, flood, sizeof(flood));
        assert_true(connection_is_held_up(w.rig.broker->connections));
        broker_rig_advance(&w.rig, 20 * USEC_PER_SEC);
        assert_false(w.rig.clients[client].is_shut);
        settle(&w);
        broker_rig_advance(&w.rig, 14 * USEC_PER_SEC);
        assert_false(w.rig.clients[client].is_shut);
        broker_rig_advance(&w.rig, 2 * USEC_PER_SEC);
        assert_true(w.rig.clients[client].is_shut);
        end(&w);
}

static void interval_answers_at_once(void **state)
{
        struct world w;
        int c;

        (void)state;
        start(&w, "durability = \"interval\"; store_interval_ms = 1000;");
        client_connect(&w, "c", true, 0, &c);
        client_publish(&w, c, 0x03, "kept", 5, 0, "1");
        expect_ack(&w, c, 0x40, 5);
        broker_rig_advance(&w.rig, 999 * USEC_PER_MSEC);
        assert_false(store_is_busy(store_of(&w)));
        broker_rig_advance(&w.rig, 2 * USEC_PER_MSEC);
        assert_true(store_is_busy(store_of(&w)) || fake_loop_poll(w.rig.loop, 60000));
        commit(&w);
        crash(&w);
        assert_int_equal(retained_n_messages(w.rig.broker->retained), 1);
        end(&w);
}

static void none_writes_at_the_stop(void **state)
{
        struct world w;
        int c;

        (void)state;
        start(&w, "durability = \"none\";");
        client_connect(&w, "c", true, 0, &c);
        client_publish(&w, c, 0x03, "kept", 5, 0, "1");
        expect_ack(&w, c, 0x40, 5);
        broker_rig_advance(&w.rig, 3600 * USEC_PER_SEC);
        assert_false(store_is_busy(store_of(&w)));
        crash(&w);
        assert_int_equal(retained_n_messages(w.rig.broker->retained), 0);
        client_connect(&w, "c", true, 0, &c);
        client_publish(&w, c, 0x03, "kept", 5, 0, "1");
        restart(&w);
        assert_int_equal(retained_n_messages(w.rig.broker->retained), 1);
        end(&w);
}

/* SIGHUP with another durability: it holds for what comes, and for what waits. */
static void reload_with(struct world *w, const char *options)
{
        struct conf *conf = conf_of(w, options);

        assert_int_equal(broker_reconfigure(w->rig.broker, conf), 0);
        (void)conf_unref(conf);
        broker_rig_turn(&w->rig);
}

static void a_reload_changes_the_durability(void **state)
{
        struct world w;
        int c;

        (void)state;
        start(&w, "durability = \"none\";");
        client_connect(&w, "c", true, 0, &c);
        client_publish(&w, c, 0x03, "kept", 5, 0, "1");
        expect_ack(&w, c, 0x40, 5);
        broker_rig_advance(&w.rig, 3600 * USEC_PER_SEC);
        assert_false(store_is_busy(store_of(&w)));
        reload_with(&w, "durability = \"interval\"; store_interval_ms = 600000;");
        broker_rig_advance(&w.rig, 599 * USEC_PER_SEC);
        assert_false(store_is_busy(store_of(&w)));
        reload_with(&w, "durability = \"interval\"; store_interval_ms = 1000;");
        broker_rig_advance(&w.rig, 1001 * USEC_PER_MSEC); /* not the rest of the old one */
        settle(&w);
        assert_int_equal(store_committed(store_of(&w)), store_last(store_of(&w)));
        client_publish(&w, c, 0x03, "kept", 6, 0, "2");
        expect_ack(&w, c, 0x40, 6);
        reload_with(&w, "durability = \"sync\";");
        settle(&w);
        client_publish(&w, c, 0x03, "kept", 7, 0, "3");
        expect_nothing(&w, c);
        reload_with(&w, "durability = \"none\";"); /* who waits for the disk waits no more */
        expect_ack(&w, c, 0x40, 7);
        end(&w);
}

/* A full store: told (once), and nobody waits for it. */
static void a_full_store_stops_nobody(void **state)
{
        char payload[3000];
        struct world w;
        int c;

        (void)state;
        memset(payload, 'x', sizeof(payload) - 1);
        payload[sizeof(payload) - 1] = '\0';
        start(&w, "durability = \"sync\"; store_max_bytes = 1048576;");
        log_set_level((enum log_level)0);
        client_connect(&w, "c", true, 0, &c);
        for (unsigned i = 0; i < 500; i++) {
                char topic[16];

                (void)snprintf(topic, sizeof(topic), "t/%u", i);
                client_publish(&w, c, 0x03, topic, 5, 0, payload);
                settle(&w);
                expect_ack(&w, c, 0x40, 5);
        }
        assert_true(store_is_failing(store_of(&w)));
        assert_true(store_file_bytes(store_of(&w)) <= 1048576);
        /* Room again: written at the next try, without anybody saying anything. */
        for (unsigned i = 0; i < 400; i++) {
                char topic[16];

                (void)snprintf(topic, sizeof(topic), "t/%u", i);
                client_publish(&w, c, 0x03, topic, 5, 0, "");
                expect_ack(&w, c, 0x40, 5);
        }
        broker_rig_advance(&w.rig, STORE_RETRY_US);
        settle(&w);
        assert_false(store_is_failing(store_of(&w)));
        crash(&w);
        assert_int_equal(retained_n_messages(w.rig.broker->retained), 100);
        end(&w);
}

/* ---- everything comes back ---- */

static void again(struct world *w, bool is_crash)
{
        if (is_crash)
                crash(w);
        else
                restart(w);
}

static void queues_come_back(bool is_crash)
{
        uint16_t first, second, third;
        struct world w;
        int from, to;

        start(&w, "durability = \"interval\"; max_inflight = 3;");
        client_connect(&w, "from", true, 0, &from);
        assert_false(client_connect(&w, "to", true, 3600, &to));
        client_subscribe(&w, to, "q/+", 2, 9);
        client_publish(&w, from, 0x02, "q/1", 1, 0, "one");
        client_publish(&w, from, 0x04, "q/2", 2, 0, "two");
        client_publish(&w, from, 0x04, "q/3", 3, 0, "three");
        client_publish(&w, from, 0x02, "q/4", 4, 0, "four");
        first = expect_publish(&w, to, 0x02, "q/1", "one");
        second = expect_publish(&w, to, 0x04, "q/2", "two");
        third = expect_publish(&w, to, 0x04, "q/3", "three");
        expect_nothing(&w, to); /* the fourth waits for the receive maximum */
        client_ack(&w, to, 0x50, third);
        expect_ack(&w, to, 0x62, third);
        commit(&w);
        again(&w, is_crash);

        assert_true(client_connect(&w, "to", false, 3600, &to));
        assert_int_equal(expect_publish(&w, to, 0x0A, "q/1", "one"), first);
        assert_int_equal(expect_publish(&w, to, 0x0C, "q/2", "two"), second);
        expect_ack(&w, to, 0x62, third);
        expect_nothing(&w, to);
        client_ack(&w, to, 0x70, third);
        (void)expect_publish(&w, to, 0x02, "q/4", "four");
        client_ack(&w, to, 0x40, first);
        commit(&w);
        again(&w, is_crash);

        assert_true(client_connect(&w, "to", false, 3600, &to));
        assert_int_equal(expect_publish(&w, to, 0x0C, "q/2", "two"), second);
        (void)expect_publish(&w, to, 0x0A, "q/4", "four");
        expect_nothing(&w, to);
        /* The subscription is there with its identifier, and numbers go on. */
        client_connect(&w, "from", true, 0, &from);
        client_publish(&w, from, 0x02, "q/5", 5, 0, "five");
        (void)expect_publish(&w, to, 0x02, "q/5", "five");
        end(&w);
}

static void queues_survive_a_stop(void **state)
{
        (void)state;
        queues_come_back(false);
}

static void queues_survive_a_crash(void **state)
{
        (void)state;
        queues_come_back(true);
}

/* A QoS 2 message whose PUBREL has not come: after the crash the client sends it again, and nobody gets it
 * twice. */
static void qos_2_is_not_doubled(void **state)
{
        struct world w;
        int from, to;

        (void)state;
        start(&w, "durability = \"sync\";");
        client_connect(&w, "to", true, 3600, &to);
        client_subscribe(&w, to, "q", 2, 0);
        client_connect(&w, "from", true, 3600, &from);
        client_publish(&w, from, 0x04, "q", 11, 0, "once");
        client_publish(&w, from, 0x04, "q", 12, 0, "twice");
        settle(&w);
        settle(&w);
        expect_ack(&w, from, 0x50, 11);
        expect_ack(&w, from, 0x50, 12);
        client_ack(&w, from, 0x62, 12);
        settle(&w);
        expect_ack(&w, from, 0x70, 12);
        crash(&w);
        assert_true(client_connect(&w, "from", false, 3600, &from));
        client_publish(&w, from, 0x0C, "q", 11, 0, "once"); /* a duplicate */
        settle(&w);
        expect_ack(&w, from, 0x50, 11);
        client_publish(&w, from, 0x04, "q", 12, 0, "again"); /* a new one: that id was released */
        settle(&w);
        expect_ack(&w, from, 0x50, 12);
        assert_true(client_connect(&w, "to", false, 3600, &to));
        settle(&w);
        (void)expect_publish(&w, to, 0x0C, "q", "once");
        (void)expect_publish(&w, to, 0x0C, "q", "twice");
        (void)expect_publish(&w, to, 0x04, "q", "again");
        expect_nothing(&w, to);
        end(&w);
}

static void retained_messages_come_back_whole(void **state)
{
        struct message *m;
        struct world w;
        int c;

        (void)state;
        start(&w, "durability = \"interval\";");
        client_connect(&w, "c", true, 0, &c);
        client_publish(&w, c, 0x05, "a/b", 1, 0, "payload");
        client_publish(&w, c, 0x01, "gone", 0, 0, "1");
        client_publish(&w, c, 0x01, "late", 0, 5000, "1");
        commit(&w);
        client_publish(&w, c, 0x01, "gone", 0, 0, "");
        commit(&w);
        crash(&w);
        assert_int_equal(retained_n_messages(w.rig.broker->retained), 2);
        m = retained_get(w.rig.broker->retained, "a/b", 3, loop_now_us(w.rig.loop));
        assert_non_null(m);
        assert_int_equal(m->qos, 2);
        assert_true(m->retain);
        assert_int_equal(m->properties_bytes, 4);
        assert_memory_equal(m->properties, "\x03\0\1t", 4);
        assert_int_equal(m->payload_bytes, 7);
        m = retained_get(w.rig.broker->retained, "late", 4, loop_now_us(w.rig.loop));
        assert_in_range(m->expiry_s, 4900, 5000);
        end(&w);
}

/* What begins with '$' is like any other topic, but for the broker's own words. */
static void topics_with_a_dollar_come_back(void **state)
{
        struct world w;
        int c;

        (void)state;
        start(&w, "durability = \"interval\";");
        client_connect(&w, "c", true, 0, &c);
        client_publish(&w, c, 0x01, "$own/a", 0, 0, "1");
        client_publish(&w, c, 0x01, "$SYSTEM", 0, 0, "1");
        commit(&w);
        crash(&w);
        assert_int_equal(retained_n_messages(w.rig.broker->retained), 2);
        end(&w);
}

static void options_of_subscriptions_come_back(void **state)
{
        struct world w;
        int c;

        (void)state;
        start(&w, "durability = \"interval\";");
        client_connect(&w, "c", true, 3600, &c);
        client_subscribe(&w, c, "own/#", 1 | 4, 0);  /* no local */
        client_subscribe(&w, c, "flag", 1 | 8, 0);   /* retain as published */
        client_subscribe(&w, c, "$share/g/s", 1, 0); /* shared */
        client_subscribe(&w, c, "replaced", 1, 0);
        client_subscribe(&w, c, "replaced", 0, 0);
        commit(&w);
        crash(&w);
        assert_int_equal(subscriptions_total(w.rig.broker->subscriptions), 4);
        assert_int_equal(subscriptions_total_shared(w.rig.broker->subscriptions), 1);
        client_connect(&w, "c", false, 3600, &c);
        client_publish(&w, c, 0x00, "own/x", 0, 0, "1");
        expect_nothing(&w, c);
        client_publish(&w, c, 0x03, "flag", 1, 0, "1");
        expect_ack(&w, c, 0x40, 1);
        (void)expect_publish(&w, c, 0x03, "flag", "1");
        end(&w);
}

static void who_has_published_comes_back(void **state)
{
        const struct acl_client source = { .user = NULL, .id = "c" }, other = { .user = NULL, .id = "d" };
        struct world w;
        int c;

        (void)state;
        start(&w, "durability = \"interval\";");
        client_connect(&w, "c", true, 0, &c);
        client_publish(&w, c, 0x01, "a/b", 0, 0, "payload");
        commit(&w);
        crash(&w);
        assert_true(retained_is_from(w.rig.broker->retained, "a/b", 3, &source));
        assert_false(retained_is_from(w.rig.broker->retained, "a/b", 3, &other));
        assert_false(retained_is_from(w.rig.broker->retained, "a/b", 3, NULL));
        end(&w);
}

/* ---- wills: MQTT 5.0 §4.1 ---- */

/* On "w", so many seconds after it has gone; the session never ends. */
static int client_with_will(struct world *w, uint8_t delay_s)
{
        struct packet p = { .n = 0 };
        int c = broker_rig_connect(&w->rig);

        put_text(&p, "MQTT");
        put_u8(&p, 5);
        put_u8(&p, 0x04 | 0x08);
        put_u16(&p, 0);
        put(&p, (const uint8_t[]){ 5, 0x11, 0xFF, 0xFF, 0xFF, 0xFF }, 6);
        put_text(&p, "will");
        put(&p, (const uint8_t[]){ 5, 0x18, 0, 0, 0, delay_s }, 6);
        put_text(&p, "w");
        put_text(&p, "gone");
        feed(w, c, 0x10, &p);
        assert_int_equal(take(w, c, &p), 0x20);
        assert_int_equal(p.bytes[1], 0);
        return c;
}

static void a_will_comes_back(bool is_crash)
{
        struct world w;
        int c, to;

        start(&w, "durability = \"interval\";");
        c = client_with_will(&w, 60);
        broker_rig_close(&w.rig, c);
        commit(&w); /* some seconds */
        again(&w, is_crash);
        client_connect(&w, "to", true, 0, &to);
        client_subscribe(&w, to, "w", 1, 0);
        broker_rig_advance(&w.rig, 50 * USEC_PER_SEC);
        expect_nothing(&w, to);
        broker_rig_advance(&w.rig, 11 * USEC_PER_SEC);
        (void)expect_publish(&w, to, 0x02, "w", "gone");
        expect_nothing(&w, to);
        commit(&w);
        crash(&w); /* it is not sent a second time */
        client_connect(&w, "to", true, 0, &to);
        client_subscribe(&w, to, "w", 1, 0);
        broker_rig_advance(&w.rig, 120 * USEC_PER_SEC);
        expect_nothing(&w, to);
        down(&w);
        assert_int_equal(rows_of(&w).n[RECORD_WILL], 0);
        end(&w);
}

static void a_will_survives_a_stop(void **state)
{
        (void)state;
        a_will_comes_back(false);
}

static void a_will_survives_a_crash(void **state)
{
        (void)state;
        a_will_comes_back(true);
}

/* A crash ends the connections of all who are there. */
static void a_crash_makes_wills_due(void **state)
{
        struct world w;
        int to;

        (void)state;
        start(&w, "durability = \"interval\";");
        (void)client_with_will(&w, 10);
        commit(&w);
        crash(&w);
        client_connect(&w, "to", true, 0, &to);
        client_subscribe(&w, to, "w", 1, 0);
        broker_rig_advance(&w.rig, 9 * USEC_PER_SEC);
        expect_nothing(&w, to);
        broker_rig_advance(&w.rig, 2 * USEC_PER_SEC);
        (void)expect_publish(&w, to, 0x02, "w", "gone");
        end(&w);
}

static void a_will_that_is_withdrawn_leaves_the_store(void **state)
{
        struct packet none = { .n = 0 };
        struct world w;
        int c;

        (void)state;
        start(&w, "durability = \"interval\";");
        c = client_with_will(&w, 60);
        commit(&w);
        feed(&w, c, 0xE0, &none);
        commit(&w);
        down(&w);
        assert_int_equal(rows_of(&w).n[RECORD_SESSION], 1);
        assert_int_equal(rows_of(&w).n[RECORD_WILL], 0);
        up(&w);
        c = client_with_will(&w, 60);
        broker_rig_close(&w.rig, c);
        commit(&w);
        client_connect(&w, "will", false, 3600, &c); /* it is back, without a will */
        commit(&w);
        down(&w);
        assert_int_equal(rows_of(&w).n[RECORD_WILL], 0);
        end(&w);
}

/* ---- what is forgotten ---- */

static void nothing_is_left_of_who_has_gone(void **state)
{
        struct world w;
        int from, to, other;

        (void)state;
        start(&w, "durability = \"interval\";");
        client_connect(&w, "from", true, 60, &from);
        client_connect(&w, "to", true, 60, &to);
        client_connect(&w, "other", true, 60, &other);
        client_subscribe(&w, to, "q", 2, 0);
        client_subscribe(&w, other, "q", 1, 0);
        for (uint16_t i = 1; i <= 5; i++)
                client_publish(&w, from, 0x04, "q", i, 0, "message");
        commit(&w);
        down(&w);
        assert_int_equal(rows_of(&w).n[RECORD_SESSION], 3);
        assert_int_equal(rows_of(&w).n[RECORD_MESSAGE], 5); /* shared by two */
        assert_int_equal(rows_of(&w).n[RECORD_QUEUED], 10);
        assert_int_equal(rows_of(&w).n[RECORD_UNRELEASED], 5);
        up(&w);
        client_connect(&w, "to", true, 0, &to); /* a clean start */
        commit(&w);
        broker_rig_advance(&w.rig, 61 * USEC_PER_SEC); /* the others' time is over */
        commit(&w);
        crash(&w);
        down(&w);
        assert_int_equal(rows_of(&w).n_all, 0);
        end(&w);
}

static void what_expires_leaves_the_store(void **state)
{
        struct world w;
        int c, to, timer;

        (void)state;
        start(&w, "durability = \"interval\";");
        client_connect(&w, "to", true, 3600, &to);
        client_subscribe(&w, to, "q", 1, 0);
        broker_rig_close(&w.rig, to);
        client_connect(&w, "c", true, 0, &c);
        client_publish(&w, c, 0x03, "r", 1, 30, "short");
        client_publish(&w, c, 0x02, "q", 2, 30, "short");
        commit(&w);
        client_connect(&w, "timer", true, 50, &timer);
        broker_rig_close(&w.rig, timer); /* the broker looks around when somebody's time is over */
        broker_rig_advance(&w.rig, 100 * USEC_PER_SEC);
        client_connect(&w, "to", false, 3600, &to);
        expect_nothing(&w, to);
        commit(&w);
        crash(&w);
        down(&w);
        assert_int_equal(rows_of(&w).n[RECORD_RETAINED], 0);
        assert_int_equal(rows_of(&w).n[RECORD_MESSAGE], 0);
        assert_int_equal(rows_of(&w).n[RECORD_QUEUED], 0);
        end(&w);
}

/* A message that comes and is acknowledged between two commits is not written. */
static void what_is_acknowledged_soon_is_not_written(void **state)
{
        struct world w;
        uint64_t committed;
        int from, to;

        (void)state;
        start(&w, "durability = \"interval\";");
        client_connect(&w, "from", true, 0, &from);
        client_connect(&w, "to", true, 3600, &to);
        client_subscribe(&w, to, "q", 2, 0);
        commit(&w);
        committed = store_committed(store_of(&w));
        for (uint16_t i = 1; i <= 200; i++) {
                uint16_t id;

                client_publish(&w, from, i % 2 ? 0x02 : 0x04, "q", i, 0, "message");
                id = expect_publish(&w, to, i % 2 ? 0x02 : 0x04, "q", "message");
                client_ack(&w, to, i % 2 ? 0x40 : 0x50, id);
                if (i % 2)
                        continue;
                expect_ack(&w, to, 0x62, id);
                client_ack(&w, to, 0x70, id);
                client_ack(&w, from, 0x62, i);
        }
        assert_int_equal(store_gathered_bytes(store_of(&w)), 0);
        assert_true(store_last(store_of(&w)) > committed + 200);
        end(&w);
}

/* What the gateway publishes itself all the time: written when the program stops, and not before. */
static void live_values_are_written_at_the_stop(void **state)
{
        struct message *m;
        uint64_t stored;
        struct publication p;
        struct world w;

        (void)state;
        start(&w, "durability = \"interval\";");
        for (unsigned i = 0; i < 2; i++) {
                assert_int_equal(message_new(&(struct message_init){ .topic = "mbgate/x/temp",
                                                                     .payload = "21.5",
                                                                     .payload_bytes = 4,
                                                                     .retain = true,
                                                                     .is_live = true,
                                                                     .made_us = loop_now_us(w.rig.loop) },
                                             &m),
                                 0);
                p = publication_of(m);
                (void)!router_publish(w.rig.broker, &p, NULL, &stored);
                publication_done(&p);
                (void)message_unref(m);
                commit(&w);
                if (i == 0) {
                        crash(&w);
                        assert_int_equal(retained_n_messages(w.rig.broker->retained), 0);
                }
        }
        restart(&w);
        assert_int_equal(retained_n_messages(w.rig.broker->retained), 1);
        end(&w);
}

static void time_away_counts(void **state)
{
        struct session *s;
        struct world w;
        int c;

        (void)state;
        start(&w, "durability = \"interval\";");
        client_connect(&w, "c", true, 1000, &c);
        broker_rig_close(&w.rig, c);
        broker_rig_advance(&w.rig, 400 * USEC_PER_SEC);
        restart(&w);
        s = session_find(w.rig.broker, "c");
        assert_non_null(s);
        assert_in_range(s->ends_us, FAKE_LOOP_START_US + 590 * USEC_PER_SEC,
                        FAKE_LOOP_START_US + 601 * USEC_PER_SEC);
        broker_rig_advance(&w.rig, 602 * USEC_PER_SEC);
        assert_null(session_find(w.rig.broker, "c"));
        commit(&w);
        down(&w);
        assert_int_equal(rows_of(&w).n_all, 0);
        end(&w);
}

/* ---- rows that nobody has written ---- */

struct row {
        uint8_t table;
        uint8_t key[64], value[64];
        size_t n_key, n_value;
};

struct rows {
        struct row rows[64];
        size_t n;
};

static void keep_row(void *user, uint8_t table, const void *key, size_t n_key, const void *value,
                     size_t n_value)
{
        struct rows *rows = user;
        struct row *row = &rows->rows[rows->n];

        if (rows->n == ARRAY_SIZE(rows->rows) || n_key > sizeof(row->key) || n_value > sizeof(row->value))
                return;
        *row = (struct row){ .table = table, .n_key = n_key, .n_value = n_value };
        memcpy(row->key, key, n_key);
        memcpy(row->value, value, n_value);
        rows->n++;
}

static void change(struct random *r, uint8_t *bytes, size_t *n)
{
        switch (random_below(r, 4)) {
        case 0:
                if (*n > 0)
                        bytes[random_below(r, *n)] = (uint8_t)random_next(r);
                break;
        case 1: *n = (size_t)random_below(r, *n + 1); break;
        case 2:
                if (*n < 64)
                        bytes[(*n)++] = (uint8_t)random_next(r);
                break;
        default: break;
        }
}

/* Rows with a right checksum and wrong contents: the broker starts, serves, stops, and what it then has
 * stored it reads without a complaint. */
static void wrong_rows_do_no_harm(void **state)
{
        static struct rows rows;
        struct random r = { .state = 20261123 };
        struct store *s;
        struct world w;
        int from, to;

        (void)state;
        start(&w, "durability = \"interval\";");
        client_connect(&w, "from", true, 3600, &from);
        client_connect(&w, "to", true, 3600, &to);
        client_subscribe(&w, to, "q/#", 2, 3);
        client_publish(&w, from, 0x05, "q/r", 1, 900, "retained");
        for (uint16_t i = 2; i < 8; i++)
                client_publish(&w, from, 0x04, "q/x", i, i * 100u, "message");
        client_ack(&w, to, 0x50, 1);
        down(&w);
        for (unsigned round = 0; round < 60; round++) {
                struct store_init init = {
                        .directory = w.store, .name = "broker.db", .max_bytes = 1 << 28, .free_bytes = 1
                };

                assert_int_equal(store_new(&init, keep_row, &rows, &s), 0);
                for (unsigned i = 0; i < 50; i++) {
                        struct row row = rows.rows[random_below(&r, rows.n)];

                        change(&r, row.key, &row.n_key);
                        change(&r, row.value, &row.n_value);
                        if (random_below(&r, 8) == 0)
                                row.table = (uint8_t)random_below(&r, 10);
                        assert_true(store_put(s, row.table, row.key, row.n_key, row.value, row.n_value,
                                              false) > 0);
                }
                s = store_free(s);
                up(&w);
                client_connect(&w, "from", false, 3600, &from);
                client_connect(&w, "to", false, 3600, &to);
                client_publish(&w, from, 0x02, "q/x", 99, 0, "goes on");
                broker_rig_clear(&w.rig, to);
                commit(&w);
                down(&w);
        }
        end(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(sync_answers_after_the_commit),
                cmocka_unit_test(a_flood_waits_for_the_disk),
                cmocka_unit_test(who_waits_for_the_disk_is_not_silent),
                cmocka_unit_test(interval_answers_at_once),
                cmocka_unit_test(none_writes_at_the_stop),
                cmocka_unit_test(a_reload_changes_the_durability),
                cmocka_unit_test(a_full_store_stops_nobody),
                cmocka_unit_test(queues_survive_a_stop),
                cmocka_unit_test(queues_survive_a_crash),
                cmocka_unit_test(qos_2_is_not_doubled),
                cmocka_unit_test(retained_messages_come_back_whole),
                cmocka_unit_test(topics_with_a_dollar_come_back),
                cmocka_unit_test(who_has_published_comes_back),
                cmocka_unit_test(a_will_survives_a_stop),
                cmocka_unit_test(a_will_survives_a_crash),
                cmocka_unit_test(a_crash_makes_wills_due),
                cmocka_unit_test(a_will_that_is_withdrawn_leaves_the_store),
                cmocka_unit_test(options_of_subscriptions_come_back),
                cmocka_unit_test(nothing_is_left_of_who_has_gone),
                cmocka_unit_test(what_expires_leaves_the_store),
                cmocka_unit_test(what_is_acknowledged_soon_is_not_written),
                cmocka_unit_test(live_values_are_written_at_the_stop),
                cmocka_unit_test(time_away_counts),
                cmocka_unit_test(wrong_rows_do_no_harm),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
