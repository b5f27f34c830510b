/* SPDX-License-Identifier: MIT */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "mbgate/model/bus_mail.h"
#include "mbgate/model/message.h"

/* ---- messages ---- */

static void message_copies_everything(void **state)
{
        char topic[] = "a/b", payload[] = { 'x', '\0', 'y' }, response[] = "r", correlation[] = { 1, 2, 3 };
        struct message *m;

        (void)state;
        assert_int_equal(message_new(
                                 &(struct message_init){
                                         .topic = topic,
                                         .payload = payload,
                                         .payload_bytes = sizeof(payload),
                                         .qos = 2,
                                         .retain = true,
                                         .is_live = true,
                                         .expiry_s = 7,
                                         .made_us = 42,
                                         .response_topic = response,
                                         .correlation = correlation,
                                         .correlation_bytes = sizeof(correlation),
                                 },
                                 &m),
                         0);
        memset(topic, 'z', sizeof(topic));
        memset(payload, 'z', sizeof(payload));
        memset(response, 'z', sizeof(response));
        memset(correlation, 'z', sizeof(correlation));
        assert_string_equal(m->topic, "a/b");
        assert_int_equal(m->topic_bytes, 3);
        assert_memory_equal(m->payload, "x\0y", 4); /* terminated */
        assert_int_equal(m->payload_bytes, 3);
        assert_string_equal(m->response_topic, "r");
        assert_memory_equal(m->correlation, "\1\2\3", 3);
        assert_int_equal(m->correlation_bytes, 3);
        assert_int_equal(m->qos, 2);
        assert_true(m->retain && m->is_live);
        assert_int_equal(m->expiry_s, 7);
        assert_int_equal(m->made_us, 42);
        message_unref(m);
}

static void message_without_payload_is_terminated(void **state)
{
        struct message *m;

        (void)state;
        assert_int_equal(message_new(&(struct message_init){ .topic = "t" }, &m), 0);
        assert_string_equal(m->payload, "");
        assert_int_equal(m->payload_bytes, 0);
        assert_null(m->response_topic);
        assert_null(m->correlation);
        assert_null(message_unref(m));
        assert_null(message_unref(NULL));
}

static void *hold_and_drop(void *user)
{
        for (unsigned i = 0; i < 10000; i++)
                message_unref(message_ref(user));
        message_unref(user);
        return NULL;
}

static void message_is_shared_by_threads(void **state)
{
        struct message *m;
        pthread_t threads[4];

        (void)state;
        assert_int_equal(message_new(&(struct message_init){ .topic = "t" }, &m), 0);
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(pthread_create(&threads[i], NULL, hold_and_drop, message_ref(m)), 0);
        for (unsigned i = 0; i < 4; i++)
                assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(atomic_load(&m->n_refs), 1);
        message_unref(m);
}

/* ---- mail of buses ---- */

static void every_mail_has_its_kind_and_key(void **state)
{
        struct bus_command *command;
        struct bus_result *result;
        struct bus_samples *samples;
        struct bus_device_state *device;
        struct bus_port_state *port;
        struct bus_stats_mail *stats;
        char *text;

        (void)state;
        assert_int_equal(bus_command_new(&command), 0);
        command->id = 77;
        assert_int_equal(bus_result_new(command, BUS_RESULT_EXPIRED, &result), 0);
        assert_int_equal(bus_samples_new(4, 3, 10, &samples, &text), 0);
        assert_int_equal(bus_device_state_new(5, &device), 0);
        assert_int_equal(bus_port_state_new(&port), 0);
        assert_int_equal(bus_stats_mail_new(&stats), 0);

        assert_int_equal(command->mail.kind, BUS_MAIL_COMMAND);
        assert_int_equal(command->mail.key, 0);
        assert_int_equal(result->mail.kind, BUS_MAIL_RESULT);
        assert_int_equal(result->mail.key, 0);
        assert_int_equal(result->id, 77);
        assert_int_equal(result->outcome, BUS_RESULT_EXPIRED);
        assert_int_equal(samples->mail.key, 5);
        assert_int_equal(samples->n_samples, 3);
        memset(text, 'x', 10); /* the room is there: ASan says otherwise */
        memset(samples->samples, 0, 3 * sizeof(samples->samples[0]));
        assert_int_equal(device->mail.key, BUS_KEY_DEVICE + 5);
        assert_int_equal(device->device, 5);
        assert_int_equal(port->mail.key, BUS_KEY_PORT);
        assert_int_equal(stats->mail.key, BUS_KEY_STATS);

        mail_free(&command->mail);
        mail_free(&result->mail);
        mail_free(&samples->mail);
        mail_free(&device->mail);
        mail_free(&port->mail);
        mail_free(&stats->mail);
}

static unsigned n_dropped;

static struct conf *drop(struct conf *conf)
{
        assert_non_null(conf);
        n_dropped++;
        return NULL;
}

static void reconf_drops_its_reference_unless_taken(void **state)
{
        struct bus_reconf *m;
        int thing = 0;
        struct conf *conf = (struct conf *)(void *)&thing;

        (void)state;
        n_dropped = 0;
        assert_int_equal(bus_reconf_new(conf, drop, 3, &m), 0);
        assert_int_equal(m->bus, 3);
        mail_free(&m->mail);
        assert_int_equal(n_dropped, 1);

        assert_int_equal(bus_reconf_new(conf, drop, 3, &m), 0);
        assert_ptr_equal(TAKE(m->conf), conf); /* the worker has it now */
        mail_free(&m->mail);
        assert_int_equal(n_dropped, 1);
}

static void names_are_for_persons(void **state)
{
        (void)state;
        for (int i = BUS_RESULT_OK; i <= BUS_RESULT_CROWDED; i++)
                assert_true(strlen(bus_outcome_text((enum bus_outcome)i)) > 1);
        assert_string_equal(quality_name(QUALITY_GOOD), "good");
        assert_string_equal(quality_name(QUALITY_BAD), "bad");
        assert_string_equal(quality_name(QUALITY_STALE), "stale");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(message_copies_everything),
                cmocka_unit_test(message_without_payload_is_terminated),
                cmocka_unit_test(message_is_shared_by_threads),
                cmocka_unit_test(every_mail_has_its_kind_and_key),
                cmocka_unit_test(reconf_drops_its_reference_unless_taken),
                cmocka_unit_test(names_are_for_persons),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
