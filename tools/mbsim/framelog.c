/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "framelog.h"
#include "mbgate/base/buf.h"
#include "simclock.h"

#define FRAME_TEXT_BYTES 2048 /* of 600 bytes in hexadecimal */

static int framelog_open_one(const char *path, FILE **ret)
{
        FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");

        if (!f)
                return -errno;
        *ret = f;
        return 0;
}

int framelog_open(struct framelog *log, const char *text_path, const char *csv_path, const char **ret_failed)
{
        int r = 0;

        *log = (struct framelog){ .text = NULL };
        if (text_path && (r = framelog_open_one(text_path, &log->text)) < 0) {
                *ret_failed = text_path;
                return r;
        }
        if (csv_path && (r = framelog_open_one(csv_path, &log->csv)) < 0) {
                *ret_failed = csv_path;
                return r;
        }
        if (log->csv)
                fputs("time_s,monotonic_us,bus,direction,n_bytes,bytes,note\n", log->csv);
        return 0;
}

static void framelog_close_one(FILE *f)
{
        if (f && f != stdout)
                fclose(f);
}

void framelog_close(struct framelog *log)
{
        framelog_close_one(log->text);
        framelog_close_one(log->csv);
        *log = (struct framelog){ .text = NULL };
}

void framelog_frame(struct framelog *log, const char *bus, const char *direction, uint64_t line_ns,
                    const uint8_t *bytes, size_t n_bytes, const char *note)
{
        char hex[FRAME_TEXT_BYTES];
        struct buf b = BUF_ON(hex);
        double t_s = (double)line_ns / 1e9;

        if (!log || (!log->text && !log->csv))
                return;
        for (size_t i = 0; i < n_bytes; i++)
                buf_printf(&b, "%s%02X", i ? " " : "", bytes[i]);
        if (log->text)
                fprintf(log->text, "%.6f %s %s %s%s%s\n", t_s, bus, direction, hex, note[0] ? "  # " : "",
                        note);
        if (log->csv)
                fprintf(log->csv, "%.6f,%" PRIu64 ",%s,%s,%zu,%s,\"%s\"\n", t_s,
                        simclock_to_real_ns(line_ns) / NS_PER_US, bus, direction, n_bytes, hex, note);
}

void framelog_event(struct framelog *log, const char *bus, uint64_t line_ns, const char *text)
{
        framelog_frame(log, bus, "--", line_ns, NULL, 0, text);
}

void framelog_flush(struct framelog *log)
{
        if (log->text)
                fflush(log->text);
        if (log->csv)
                fflush(log->csv);
}
