/* SPDX-License-Identifier: MIT */
/* A link in the real event loop: connect, command, answer, stop, gone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <string.h>

#include "mbgate/base/clock.h"
#include "mbgate/client/link_mosquitto.h"
#include "mosquitto_broker.h"

#define DEADLINE_US (30 * USEC_PER_SEC)

static char empty[] = "", host[] = "127.0.0.1", name[] = "cloud";

struct scene {
        struct loop *loop;
        struct link *link;
        struct loop_timer *timer;
        unsigned n_messages, n_stopped;
};

static void say(struct scene *s)
{
        CLEANUP(message_unrefp)
        struct message *m = NULL;
        struct message_init init = { .topic = "a/b", .payload = "1", .payload_bytes = 1, .qos = 1 };

        assert_int_equal(message_new(&init, &m), 0);
        assert_int_equal(link_publish(s->link, m), 0);
}

static void on_event(void *user, struct link *link, const struct link_event *event)
{
        struct scene *s = user;

        switch (event->kind) {
        case LINK_ONLINE: say(s); break;
        case LINK_AWAY: fail_msg("away: %s", event->reason); break;
        case LINK_MESSAGE:
                if (++s->n_messages < 10)
                        say(s);
                else
                        link_stop(link, clock_monotonic_us() + 2 * USEC_PER_SEC);
                break;
        case LINK_ROOM:
        case LINK_LOST: break;
        case LINK_STOPPED:
                s->n_stopped++;
                s->link = link_free(link);
                loop_exit(s->loop, 0);
                break;
        }
}

static void on_timer(void *user, uint64_t now_us)
{
        struct scene *s = user;

        (void)now_us;
        loop_exit(s->loop, 1);
}

static void test_life(void **state)
{
        struct conf_link cl = { .name = name,
                                .host = host,
                                .protocol = 5,
                                .tls = { .ca_file = empty },
                                .username = empty,
                                .password = empty,
                                .client_id = name,
                                .keepalive_s = 30,
                                .clean_session = true,
                                .prefix = empty,
                                .qos = 1,
                                .connect_timeout_s = 10,
                                .reconnect_min_s = 1,
                                .reconnect_max_s = 60,
                                .queue_messages = 100,
                                .queue_bytes = 100000 };
        struct conf conf = { .links = &cl, .n_links = 1 };
        struct scene s = { .n_messages = 0 };
        struct link_mosquitto_init init = { .conf = &conf, .link = 0, .on_event = on_event, .user = &s };
        struct mosquitto_broker broker;

        (void)state;
        atomic_init(&conf.n_refs, 1);
        mosquitto_broker_init(&broker, "allow_anonymous true\n");
        mosquitto_broker_start(&broker);
        cl.port = broker.port;
        assert_int_equal(link_mosquitto_global_init(), 0);
        assert_int_equal(loop_new(&s.loop), 0);
        assert_int_equal(loop_add_timer(s.loop, on_timer, &s, &s.timer), 0);
        loop_timer_set(s.timer, clock_monotonic_us() + DEADLINE_US);
        assert_int_equal(link_mosquitto_new(s.loop, &init, &s.link), 0);
        assert_int_equal(link_subscribe(s.link, "a/+", 1), 0);
        assert_int_equal(link_start(s.link), 0);
        assert_int_equal(loop_run(s.loop), 0);
        assert_int_equal(s.n_messages, 10);
        assert_int_equal(s.n_stopped, 1);
        assert_int_equal(atomic_load(&conf.n_refs), 1);
        loop_timer_free(s.timer);
        loop_free(s.loop);
        link_mosquitto_global_done();
        mosquitto_broker_done(&broker);
}

int main(void)
{
        const struct CMUnitTest tests[] = { cmocka_unit_test(test_life) };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
