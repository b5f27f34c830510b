/* SPDX-License-Identifier: MIT */
/* Without memory: each allocation of a busy life fails once. Nothing aborts, leaks or stays deaf. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "mbgate/base/log.h"

#include "rig.h"

void *__real_malloc(size_t n);           // NOLINT(bugprone-reserved-identifier): ld --wrap
void *__real_calloc(size_t n, size_t m); // NOLINT(bugprone-reserved-identifier)
void *__real_realloc(void *p, size_t n); // NOLINT(bugprone-reserved-identifier)
void *__wrap_malloc(size_t n);           // NOLINT(bugprone-reserved-identifier)
void *__wrap_calloc(size_t n, size_t m); // NOLINT(bugprone-reserved-identifier)
void *__wrap_realloc(void *p, size_t n); // NOLINT(bugprone-reserved-identifier)

static long fail_after = -1; /* allocations that still succeed; −1: all */

static bool is_refused(void)
{
        if (fail_after < 0)
                return false;
        return fail_after-- == 0;
}

void *__wrap_malloc(size_t n) // NOLINT(bugprone-reserved-identifier)
{
        return is_refused() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t m) // NOLINT(bugprone-reserved-identifier)
{
        return is_refused() ? NULL : __real_calloc(n, m);
}

void *__wrap_realloc(void *p, size_t n) // NOLINT(bugprone-reserved-identifier)
{
        return is_refused() ? NULL : __real_realloc(p, n);
}

#define CONF(points)                                                                                    \
        "gateway = { name = \"gw\"; };\n"                                                               \
        "buses = ( { name = \"b\"; port = \"/dev/ttyS0\"; devices = ( { name = \"dev\"; unit_id = 1;\n" \
        "  points = (" points "); } ); } );\n"                                                          \
        "links = ( { name = \"l\"; host = \"h\"; prefix = \"p/\"; on_change = true; } );\n"

#define LED  "{ name = \"led\"; holding = 2; write = true; }"
#define TEMP "{ name = \"temp\"; holding = 0; scale = 0.1; }"
#define HUM  "{ name = \"hum\"; holding = 1; payload = \"json\"; }"
#define BOTH "{ name = \"text\"; holding = 9; type = \"string\"; length = 40; payload = \"object\"; }"

/* Mail that is made beforehand: only the gateway's own allocations are to fail. */
struct life {
        struct loop *loop;
        struct conf *conf, *next;
        struct gateway *gateway;
        struct fake_link *link;
        struct mailbox *box;
        struct bus_samples *samples[2];
        struct bus_result *result;
        struct message *command;
};

static struct bus_samples *samples_new(const struct conf *conf, const char *text)
{
        struct bus_samples *mail;
        char *room;

        assert_int_equal(bus_samples_new(0, 4, 0, &mail, &room), 0);
        mail->generation = conf->generation;
        mail->began_us = FAKE_LOOP_START_US;
        for (uint32_t i = 0; i < 4; i++) {
                mail->samples[i].point = i;
                mail->samples[i].value = INT(i);
        }
        mail->samples[3].value = TEXT(text);
        return mail;
}

static void life_begin(struct life *l)
{
        *l = (struct life){ .conf = rig_conf(CONF(LED ", " TEMP ", " HUM ", " BOTH)),
                            .next = rig_conf(CONF(HUM ", " LED)) };
        assert_int_equal(loop_new(&l->loop), 0);
        assert_int_equal(mailbox_new(4, &l->box), 0);
        l->link = fake_link_new("l", gateway_on_link_event, NULL);
        l->samples[0] = samples_new(l->conf, "short");
        l->samples[1] = samples_new(l->conf, "a text that needs more room than that");
        assert_int_equal(bus_result_new(&(struct bus_command){ .id = 1 }, BUS_RESULT_OK, &l->result), 0);
        assert_int_equal(message_new(&(struct message_init){ .topic = "p/gw/dev/led/set",
                                                             .payload = "{\"value\":5,\"id\":1}",
                                                             .payload_bytes = 18,
                                                             .response_topic = "me" },
                                     &l->command),
                         0);
}

static void life_live(struct life *l)
{
        int r = gateway_new(l->loop, l->conf, &l->gateway);

        if (r < 0) {
                assert_int_equal(r, -ENOMEM);
                return;
        }
        gateway_set_bus(l->gateway, 0, l->box);
        l->link->link.user = l->gateway;
        if (gateway_add_link(l->gateway, &l->link->link, 0) < 0)
                return;
        fake_link_online(l->link);
        gateway_on_bus_mail(l->gateway, &TAKE(l->samples[0])->mail);
        fake_loop_turn(l->loop);
        gateway_on_bus_mail(l->gateway, &TAKE(l->samples[1])->mail);
        fake_loop_turn(l->loop);
        gateway_on_link_event(l->gateway, &l->link->link,
                              &(struct link_event){ .kind = LINK_MESSAGE, .message = l->command });
        gateway_on_bus_mail(l->gateway, &TAKE(l->result)->mail);
        r = gateway_reconfigure(l->gateway, l->next);
        if (r < 0)
                assert_int_equal(r, -ENOMEM);
        fake_loop_advance(l->loop, 100 * USEC_PER_SEC);
        gateway_stop(l->gateway);
}

static void life_end(struct life *l)
{
        if (l->gateway)
                gateway_remove_link(l->gateway, &l->link->link);
        gateway_free(l->gateway);
        fake_link_free(l->link);
        mailbox_free(l->box);
        for (size_t i = 0; i < 2; i++) {
                if (l->samples[i])
                        mail_free(&l->samples[i]->mail);
        }
        if (l->result)
                mail_free(&l->result->mail);
        message_unref(l->command);
        loop_free(l->loop);
        assert_int_equal(atomic_load(&l->conf->n_refs), 1);
        assert_int_equal(atomic_load(&l->next->n_refs), 1);
        conf_unref(l->conf);
        conf_unref(l->next);
}

static void ignore_line(void *user, enum log_level level, const struct log_fields *fields, const char *line)
{
        (void)user;
        (void)level;
        (void)fields;
        (void)line;
}

static void each_allocation_may_fail(void **state)
{
        long i = 0;
        bool was_needed = true;

        (void)state;
        log_set_sink(ignore_line, NULL);
        for (; was_needed; i++) {
                struct life l;

                life_begin(&l);
                fail_after = i;
                life_live(&l);
                was_needed = fail_after < 0;
                fail_after = -1;
                life_end(&l);
        }
        assert_true(i > 60);
        log_set_sink(NULL, NULL);
}

/* A sample that could not be kept is no value, and the next one is. */
static void value_without_memory_is_bad_not_wrong(void **state)
{
        struct rig *r = rig_new_points(
                "{ name = \"t\"; holding = 9; type = \"string\"; length = 40; payload = \"json\"; }");
        struct bus_samples *mail;
        char *room;

        (void)state;
        assert_int_equal(bus_samples_new(0, 1, 0, &mail, &room), 0);
        mail->generation = r->conf->generation;
        mail->began_us = FAKE_LOOP_START_US;
        mail->samples[0].value = TEXT("x");
        fake_link_clear(r->links[0]);
        rig_device(r, "dev", DEVICE_ONLINE);
        fake_link_clear(r->links[0]);
        fail_after = 0;
        gateway_on_bus_mail(r->gateway, &mail->mail);
        fail_after = -1;
        assert_non_null(strstr(r->links[0]->published[0]->payload, "{\"value\":null,\"quality\":\"bad\""));
        fake_link_clear(r->links[0]);
        rig_sample(r, "dev/t", TEXT("x"));
        assert_non_null(strstr(r->links[0]->published[0]->payload, "{\"value\":\"x\",\"quality\":\"good\""));
        rig_free(r);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(each_allocation_may_fail),
                cmocka_unit_test(value_without_memory_is_bad_not_wrong),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
