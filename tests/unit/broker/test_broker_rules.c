/* SPDX-License-Identifier: MIT */
/* The broker as a whole, in virtual time: who may do what, also after the rules and the users have changed,
 * and whose sessions are whose. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mbgate/base/clock.h"

#include "broker_private.h"
#include "broker_rig.h"
#include "fake_loop.h"

struct world {
        char folder[48];
        struct broker_rig rig;
};

/* ---- files ---- */

static void write_file(const struct world *w, const char *name, const char *text)
{
        char path[80];
        FILE *f;

        (void)snprintf(path, sizeof(path), "%s/%s", w->folder, name);
        f = fopen(path, "w");
        assert_non_null(f);
        assert_true(fputs(text, f) >= 0);
        assert_int_equal(fclose(f), 0);
        assert_int_equal(chmod(path, 0600), 0);
}

/* NULL: without such a file. */
static void start(struct world *w, const char *passwd, const char *acl, const char *options)
{
        char all[512];
        int n = 0;

        log_set_level((enum log_level)0);
        (void)snprintf(w->folder, sizeof(w->folder), "/tmp/mbgate-rules-XXXXXX");
        assert_non_null(mkdtemp(w->folder));
        if (passwd) {
                write_file(w, "passwd", passwd);
                n += snprintf(all + n, sizeof(all) - (size_t)n, "password_file = \"%s/passwd\"; ", w->folder);
        }
        if (acl) {
                write_file(w, "acl", acl);
                n += snprintf(all + n, sizeof(all) - (size_t)n, "acl_file = \"%s/acl\"; ", w->folder);
        }
        (void)snprintf(all + n, sizeof(all) - (size_t)n, "%s", options);
        broker_rig_init(&w->rig, all);
}

static int remove_one(const char *path, const struct stat *st UNUSED, int type UNUSED, struct FTW *ftw UNUSED)
{
        return remove(path);
}

static void end(struct world *w)
{
        broker_rig_done(&w->rig);
        (void)nftw(w->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static void reload(struct world *w)
{
        assert_int_equal(broker_reconfigure(w->rig.broker, w->rig.conf), 0);
        broker_rig_turn(&w->rig);
}

/* ---- clients, MQTT 5.0, with packets of less than 128 bytes ---- */

struct packet {
        uint8_t bytes[128];
        size_t n;
};

static void put(struct packet *p, const void *bytes, size_t n)
{
        assert_true(p->n + n <= sizeof(p->bytes));
        memcpy(p->bytes + p->n, bytes, n);
        p->n += n;
}

static void put_text(struct packet *p, const char *text)
{
        put(p, (const uint8_t[]){ 0, (uint8_t)strlen(text) }, 2);
        put(p, text, strlen(text));
}

static void feed(struct world *w, int c, uint8_t first, const struct packet *body)
{
        struct packet p = { .bytes = { first, (uint8_t)body->n }, .n = 2 };

        put(&p, body->bytes, body->n);
        broker_rig_feed(&w->rig, c, p.bytes, p.n);
}

/* The first packet that came out, taken out. Its type and flags, or 0. */
static uint8_t take(struct world *w, int c, struct packet *body)
{
        struct rig_client *client = &w->rig.clients[c];
        uint8_t first;

        body->n = 0;
        if (client->n_out < 2)
                return 0;
        first = client->out[0];
        put(body, client->out + 2, client->out[1]);
        client->n_out -= 2 + body->n;
        memmove(client->out, client->out + 2 + body->n, client->n_out);
        return first;
}

/* Logs in with an empty password. The reason; *ret_present: whether the session was there. */
static uint8_t login_from(struct world *w, const char *address, const char *id, const char *user,
                          uint16_t expiry_s, int *ret_client, bool *ret_present)
{
        struct packet p = { .n = 0 };
        int c = broker_rig_connect_from(&w->rig, address);
        uint8_t first;

        assert_true(c >= 0);
        put_text(&p, "MQTT");
        put(&p,
            (const uint8_t[]){ 5, user ? 0x80 : 0, 0, 0, 5, 0x11, 0, 0, (uint8_t)(expiry_s >> 8),
                               (uint8_t)expiry_s },
            10);
        put_text(&p, id);
        if (user)
                put_text(&p, user);
        feed(w, c, 0x10, &p);
        while (w->rig.clients[c].n_out == 0 && !w->rig.clients[c].is_closed) {
                assert_true(fake_loop_poll(w->rig.loop, 60000));
                broker_rig_turn(&w->rig);
        }
        first = take(w, c, &p);
        assert_int_equal(first, 0x20);
        *ret_client = c;
        if (ret_present)
                *ret_present = p.bytes[0] & 1;
        return p.bytes[1];
}

static int login(struct world *w, const char *id, const char *user, uint16_t expiry_s)
{
        int c;

        assert_int_equal(login_from(w, "127.0.0.1", id, user, expiry_s, &c, NULL), 0);
        return c;
}

static void subscribe(struct world *w, int c, const char *filter, uint8_t qos)
{
        struct packet p = { .n = 0 };

        put(&p, (const uint8_t[]){ 0, 7, 0 }, 3);
        put_text(&p, filter);
        put(&p, &qos, 1);
        feed(w, c, 0x82, &p);
        assert_int_equal(take(w, c, &p), 0x90);
        assert_int_equal(p.bytes[p.n - 1], qos);
}

/* With QoS 1. The reason of its PUBACK. */
static uint8_t publish(struct world *w, int c, const char *topic, const char *payload, bool retain)
{
        struct packet p = { .n = 0 };

        put_text(&p, topic);
        put(&p, (const uint8_t[]){ 0, 9, 0 }, 3);
        put(&p, payload, strlen(payload));
        feed(w, c, retain ? 0x33 : 0x32, &p);
        assert_int_equal(take(w, c, &p), 0x40);
        return p.n > 2 ? p.bytes[2] : 0;
}

static void expect_publish(struct world *w, int c, const char *topic)
{
        struct packet p;

        assert_int_equal(take(w, c, &p) >> 4, 3);
        assert_int_equal(p.bytes[1], strlen(topic));
        assert_memory_equal(p.bytes + 2, topic, strlen(topic));
}

static void expect_nothing(struct world *w, int c)
{
        assert_int_equal(w->rig.clients[c].n_out, 0);
}

static void expect_disconnect(struct world *w, int c, uint8_t reason)
{
        struct packet p;

        assert_int_equal(take(w, c, &p), 0xE0);
        assert_int_equal(p.bytes[0], reason);
}

/* ---- rules ---- */

#define USERS "pub:\nal:\nbo:\n"
#define RULES                 \
        "user pub\ntopic #\n" \
        "user al\ntopic read s/#\ntopic read t/#\n"

static void a_group_passes_over_who_may_not_read(void **state)
{
        struct world w;
        int pub, may, may_not;

        (void)state;
        start(&w, USERS, RULES "user bo\ntopic read t/#\n", "");
        pub = login(&w, "pub", "pub", 0);
        may = login(&w, "may", "al", 0);
        may_not = login(&w, "may_not", "bo", 0);
        subscribe(&w, may_not, "$share/g/+/x", 1);
        subscribe(&w, may, "$share/g/+/x", 1);
        for (unsigned i = 0; i < 6; i++) {
                assert_int_equal(publish(&w, pub, "s/x", "1", false), 0);
                expect_publish(&w, may, "s/x");
        }
        expect_nothing(&w, may_not);
        broker_rig_close(&w.rig, may);
        assert_int_equal(publish(&w, pub, "s/x", "1", false), 0x10); /* nobody */
        end(&w);
}

static void a_group_passes_over_who_wants_changes_only(void **state)
{
        struct world w;
        int pub, to;

        (void)state;
        start(&w, NULL, NULL, "on_change = true;");
        pub = login(&w, "pub", NULL, 0);
        to = login(&w, "to", NULL, 0);
        subscribe(&w, to, "$share/g/x", 1);
        assert_int_equal(publish(&w, pub, "x", "1", false), 0);
        assert_int_equal(publish(&w, pub, "x", "1", false), 0x10);
        assert_int_equal(publish(&w, pub, "x", "2", false), 0);
        end(&w);
}

static void what_waits_is_asked_about_again(void **state)
{
        struct world w;
        int pub, al;

        (void)state;
        start(&w, USERS, RULES, "");
        pub = login(&w, "pub", "pub", 0);
        al = login(&w, "al", "al", 600);
        subscribe(&w, al, "#", 1);
        assert_int_equal(publish(&w, pub, "s/sent", "1", false), 0);
        expect_publish(&w, al, "s/sent"); /* and not acknowledged */
        broker_rig_close(&w.rig, al);
        assert_int_equal(publish(&w, pub, "s/x", "1", false), 0);
        assert_int_equal(publish(&w, pub, "t/x", "1", false), 0);
        write_file(&w, "acl", "user pub\ntopic #\nuser al\ntopic read t/#\n");
        reload(&w);
        al = login(&w, "al", "al", 600);
        expect_publish(&w, al, "t/x");
        expect_nothing(&w, al);
        assert_int_equal(queue_n_waiting(session_find(w.rig.broker, "al")->queue), 0);
        assert_int_equal(queue_n_inflight(session_find(w.rig.broker, "al")->queue), 1);
        end(&w);
}

/* CVE-2018-12546 of another broker. */
static void what_is_retained_goes_with_its_writers_rights(void **state)
{
        struct world w;
        int pub, al;

        (void)state;
        start(&w, USERS, RULES "user bo\ntopic s/#\npattern t/%c\n", "remember = true;");
        pub = login(&w, "bo", "bo", 0);
        assert_int_equal(publish(&w, pub, "s/x", "1", true), 0x10);
        assert_int_equal(publish(&w, pub, "s/y", "1", true), 0x10);
        assert_int_equal(publish(&w, pub, "t/bo", "1", true), 0x10); /* by its client id */
        broker_rig_close(&w.rig, pub);
        pub = login(&w, "pub", "pub", 0);
        assert_int_equal(publish(&w, pub, "s/y", "1", true), 0x10); /* the same, from another */
        write_file(&w, "acl", RULES "user bo\ntopic read s/#\npattern t/%c\n");
        reload(&w);
        al = login(&w, "al", "al", 0);
        subscribe(&w, al, "s/#", 0);
        broker_rig_turn(&w.rig);
        expect_publish(&w, al, "s/y");
        expect_nothing(&w, al);
        subscribe(&w, al, "t/#", 0);
        broker_rig_turn(&w.rig);
        expect_publish(&w, al, "t/bo");
        expect_nothing(&w, al);
        end(&w);
}

/* ---- sessions and their users ---- */

static void a_session_is_its_users(void **state)
{
        struct world w;
        bool is_present;
        int pub, al, other;

        (void)state;
        start(&w, "al:\nvic:\n", NULL, "anonymous = true;");
        pub = login(&w, "pub", "vic", 0);
        al = login(&w, "bo", "al", 600);
        subscribe(&w, al, "x", 1);
        assert_int_equal(login_from(&w, "127.0.0.1", "bo", "vic", 0, &other, NULL), 0x87);
        broker_rig_close(&w.rig, al);
        assert_int_equal(publish(&w, pub, "x", "1", false), 0);
        assert_int_equal(login_from(&w, "127.0.0.1", "bo", "vic", 600, &other, NULL), 0x87);
        assert_int_equal(login_from(&w, "127.0.0.1", "bo", NULL, 600, &other, NULL), 0x87);
        assert_int_equal(login_from(&w, "127.0.0.1", "bo", "al", 600, &al, &is_present), 0);
        assert_true(is_present);
        expect_publish(&w, al, "x");
        end(&w);
}

/* MQTT-3.1.4-3. */
static void a_name_that_is_not_proven_binds_nobody(void **state)
{
        struct world w;
        bool is_present;
        int first, second;

        (void)state;
        start(&w, NULL, NULL, "");
        first = login(&w, "bo", "al", 600);
        assert_int_equal(login_from(&w, "127.0.0.1", "bo", "vic", 600, &second, &is_present), 0);
        assert_true(is_present);
        expect_disconnect(&w, first, 0x8E);
        assert_string_equal(session_find(w.rig.broker, "bo")->user, "vic");
        end(&w);
}

static void nobody_pushes_out_the_sessions_of_others(void **state)
{
        static const char *const ids[] = { "a", "b", "c", "d", "e", "f" };
        struct world w;
        bool is_present;
        int c;

        (void)state;
        start(&w, NULL, NULL, "max_sessions = 4; max_clients = 4;");
        assert_int_equal(login_from(&w, "192.0.2.1", "mine", NULL, 60, &c, NULL), 0); /* ends first */
        broker_rig_close(&w.rig, c);
        for (size_t i = 0; i < ARRAY_SIZE(ids); i++) {
                assert_int_equal(login_from(&w, "192.0.2.66", ids[i], NULL, 600, &c, NULL), 0);
                broker_rig_close(&w.rig, c);
        }
        assert_int_equal(HASH_COUNT(w.rig.broker->sessions), 4);
        assert_int_equal(login_from(&w, "192.0.2.1", "mine", NULL, 60, &c, &is_present), 0);
        assert_true(is_present);
        end(&w);
}

/* ---- users who change ---- */

#define SALT "AAAAAAAAAAAAAAAA"
#define HASH "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=="

static void another_password_has_to_be_shown(void **state)
{
        struct world w;
        int al, vic, pub;

        (void)state;
        start(&w, "al:\nvic:\npub:\n", NULL, "");
        al = login(&w, "al", "al", 0);
        vic = login(&w, "vic", "vic", 0);
        pub = login(&w, "pub", "pub", 0);
        write_file(&w, "passwd", "# others\nal:$6$" SALT "$" HASH "\npub:\n");
        reload(&w);
        expect_disconnect(&w, al, 0x98);
        expect_disconnect(&w, vic, 0x87);
        expect_nothing(&w, pub);
        assert_false(w.rig.clients[pub].is_closed);
        end(&w);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(a_group_passes_over_who_may_not_read),
                cmocka_unit_test(a_group_passes_over_who_wants_changes_only),
                cmocka_unit_test(what_waits_is_asked_about_again),
                cmocka_unit_test(what_is_retained_goes_with_its_writers_rights),
                cmocka_unit_test(a_session_is_its_users),
                cmocka_unit_test(a_name_that_is_not_proven_binds_nobody),
                cmocka_unit_test(nobody_pushes_out_the_sessions_of_others),
                cmocka_unit_test(another_password_has_to_be_shown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
