/* SPDX-License-Identifier: MIT */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "support.h"

static void every_line_of_the_manual_is_understood(void **state)
{
        struct map *map = map_of("# a comment\n"
                                 "unit 1\n"
                                 "\n"
                                 "holding 0 = 215\n"
                                 "holding 10..109 = address   # many\n"
                                 "holding 200 ro = raw 0x8000\n"
                                 "input 3 float32 CDAB = sine 0..100 period 60\n"
                                 "input 5 int16 scale 0.1 = -12.5\n"
                                 "holding 300 string 16 = \"hello # you\"\n"
                                 "coil 2 = on\n"
                                 "discrete 0..7 = toggle period 10\n",
                                 false);
        uint16_t v[128];

        (void)state;
        assert_int_equal(map_read(map, 1, MAP_HOLDING, 0, 1, 0, v), 0);
        assert_int_equal(v[0], 215);
        assert_int_equal(map_read(map, 1, MAP_HOLDING, 10, 100, 0, v), 0);
        for (unsigned i = 0; i < 100; i++)
                assert_int_equal(v[i], 10 + i);
        assert_int_equal(map_read(map, 1, MAP_HOLDING, 200, 1, 0, v), 0);
        assert_int_equal(v[0], 0x8000);
        assert_int_equal(map_read(map, 1, MAP_INPUT, 3, 3, 0, v), 0);
        assert_int_equal(v[1], 0x4248); /* 50.0 = 0x42480000, low word first */
        assert_int_equal(v[0], 0);
        assert_int_equal(v[2], 0x10000 - 125);
        assert_int_equal(map_read(map, 1, MAP_HOLDING, 300, 8, 0, v), 0);
        assert_int_equal(v[0], 'h' << 8 | 'e');
        assert_int_equal(v[5], 'u' << 8);
        assert_int_equal(map_read(map, 1, MAP_COIL, 2, 1, 0, v), 0);
        assert_int_equal(v[0], 1);
        assert_int_equal(map_write(map, 1, MAP_HOLDING, 200, 1, v), MAP_E_ADDRESS);
        assert_int_equal(map_write(map, 1, MAP_HOLDING, 0, 1, v), 0);
        map_free(map);
}

static void the_reference_sensor_is_one(void **state)
{
        struct map *map = map_of(regfile_reference, false);
        uint16_t v[4] = { 0 }, led = 512;

        (void)state;
        assert_int_equal(map_read(map, 10, MAP_HOLDING, 0, 4, 0, v), 0);
        assert_in_range(v[0], 205, 225);
        assert_in_range(v[1], 400, 500);
        assert_int_equal(v[2], 0);
        assert_int_equal((int16_t)v[3], -157);
        assert_int_equal(map_write(map, 10, MAP_HOLDING, 2, 1, &led), 0);
        assert_int_equal(map_read(map, 10, MAP_HOLDING, 2, 1, 0, v), 0);
        assert_int_equal(v[0], 512);
        assert_int_equal(map_write(map, 10, MAP_HOLDING, 3, 1, &led), MAP_E_ADDRESS);
        map_free(map);
}

static void bad_lines_are_named(void **state)
{
        static const struct {
                const char *text;
                const char *error;
        } bad[] = {
                { "holding 0 = 1\n", "t:1: error: a line \"unit 1\" must come before" },
                { "unit\n", "t:1: error: \"unit\" needs a number" },
                { "unit 256\n", "t:1: error: \"unit\" needs a number" },
                { "unit 1\n\nregister 0 = 1\n", "t:3: error: a line begins with" },
                { "unit 1\nholding 0\n", "t:2: error: \"= VALUE\" is missing" },
                { "unit 1\nholding = 3\n", "t:2: error: \"\": an address" },
                { "unit 1\nholding 65536 = 3\n", "t:2: error: \"65536\": an address" },
                { "unit 1\nholding 9..3 = 3\n", "t:2: error: \"9..3\": an address" },
                { "unit 1\nholding 0 int17 = 3\n", "t:2: error: \"int17\" is no type" },
                { "unit 1\nholding 0 scale = 3\n", "t:2: error: \"scale\" needs a number" },
                { "unit 1\nholding 0 = 65536\n", "t:2: error: the value does not fit into type uint16" },
                { "unit 1\nholding 0 = -32769\n", "t:2: error: the value does not fit into type int16" },
                { "unit 1\nholding 0..2 float32 = 3\n", "t:2: error: the range holds 3 registers" },
                { "unit 1\nholding 65535 float32 = 3\n", "t:2: error: the value does not end before" },
                { "unit 1\nholding 0 = \"text\"\n", "t:2: error: the value does not fit" },
                { "unit 1\nholding 0 = bogus\n", "t:2: error: \"bogus\" is no number" },
        };

        (void)state;
        for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
                char reason[400] = "";
                struct buf error = BUF_ON(reason);
                struct map *map = NULL;

                if (load_text(bad[i].text, false, &error, &map) == 0)
                        fail_msg("taken: %s", bad[i].text);
                if (strncmp(reason, bad[i].error, strlen(bad[i].error)) != 0)
                        fail_msg("%s instead of %s", reason, bad[i].error);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(every_line_of_the_manual_is_understood),
                cmocka_unit_test(the_reference_sensor_is_one),
                cmocka_unit_test(bad_lines_are_named),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}
