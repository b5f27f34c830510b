/* SPDX-License-Identifier: MIT */
#include <ctype.h>
#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "scan_conf.h"

#define POINTS_MAX 16 /* of an area, of a device that no template fits */
#define NAME_BYTES 24

/* A response time-out that such a device keeps: five times what was seen, in steps of 100 ms. */
#define TIMEOUT_LEAST_MS 500
#define TIMEOUT_FACTOR   5
#define TIMEOUT_STEP_MS  100

static const char *const area_keys[] = {
        [CONF_HOLDING] = "holding",
        [CONF_INPUT] = "input",
        [CONF_COIL] = "coil",
        [CONF_DISCRETE] = "discrete",
};

/* A text in a comment or between quotes: what could end either is left out. */
static void print_text(const char *text, FILE *out)
{
        for (; *text; text++) {
                if (*text >= ' ' && *text <= '~' && *text != '"' && *text != '\\')
                        (void)fputc(*text, out);
        }
}

static void print_said(const char *what, const char *text, FILE *out)
{
        if (!*text)
                return;
        (void)fprintf(out, ", %s \"", what);
        print_text(text, out);
        (void)fputc('"', out);
}

static void print_about(const struct scan_device *d, FILE *out)
{
        if (!d->answers) {
                (void)fprintf(
                        out,
                        "      # unit %u: something answers, but never whole: two devices with this unit "
                        "id, or a disturbed line\n",
                        d->unit);
                return;
        }
        (void)fprintf(out, "      # unit %u: answers after %.0f ms", d->unit,
                      (double)d->turnaround_us / 1000);
        print_said("vendor", d->id.vendor, out);
        print_said("product", d->id.product, out);
        print_said("version", d->id.version, out);
        print_said("server id", d->id.server, out);
        if (d->n_broken > 0)
                (void)fprintf(out, ", %u broken replies", d->n_broken);
        (void)fputc('\n', out);
}

/* "unit17", or what it says it is: "sdm120-17". */
static void device_name(const struct scan_device *d, char ret[2 * NAME_BYTES])
{
        size_t n = 0;

        for (const char *p = d->id.product; *p && n + 1 < NAME_BYTES; p++) {
                if (isalnum((unsigned char)*p))
                        ret[n++] = (char)tolower((unsigned char)*p);
                else if (n > 0 && ret[n - 1] != '-')
                        ret[n++] = '-';
        }
        while (n > 0 && ret[n - 1] == '-')
                n--;
        if (n == 0)
                (void)snprintf(ret, 2 * NAME_BYTES, "unit%u", d->unit);
        else
                (void)snprintf(ret + n, 2 * NAME_BYTES - n, "-%u", d->unit);
}

static void print_run(const struct scan_run *run, unsigned area, FILE *out)
{
        bool is_bit = area == CONF_COIL || area == CONF_DISCRETE;

        for (unsigned i = 0; i < run->count && i < POINTS_MAX; i++) {
                unsigned address = run->address + i;

                (void)fprintf(out, "          { name = \"%s%u\"; %s = %u;%s },   # ", area_keys[area],
                              address, area_keys[area], address, is_bit ? "" : " type = \"uint16\";");
                if (is_bit)
                        (void)fprintf(out, "%u\n", run->regs[i] ? 1 : 0);
                else
                        (void)fprintf(out, "0x%04X\n", run->regs[i]);
        }
        if (run->count > POINTS_MAX)
                (void)fprintf(out, "          # %s %u to %u can be read as well\n", area_keys[area],
                              (unsigned)run->address + POINTS_MAX, (unsigned)run->address + run->count - 1);
}

static void print_points(const struct scan_device *d, FILE *out)
{
        bool any = false;

        for (unsigned area = 0; area < SCAN_AREAS; area++)
                any |= d->runs[area].count > 0;
        if (!any) {
                (void)fputs("        # nothing was found that can be read: its manual has the addresses\n",
                            out);
                return;
        }
        (void)fputs("        points = (\n", out);
        for (unsigned area = 0; area < SCAN_AREAS; area++)
                print_run(&d->runs[area], area, out);
        (void)fputs("        );\n", out);
}

static void print_device(const struct scan_device *d, FILE *out)
{
        uint64_t timeout_ms = d->turnaround_us * TIMEOUT_FACTOR / 1000;
        char name[2 * NAME_BYTES];

        print_about(d, out);
        if (!d->answers)
                return;
        device_name(d, name);
        (void)fprintf(out, "      { name = \"%s\";  unit_id = %u;", name, d->unit);
        if (timeout_ms > TIMEOUT_LEAST_MS)
                (void)fprintf(out, "  response_timeout_ms = %llu;",
                              (unsigned long long)((timeout_ms / TIMEOUT_STEP_MS + 1) * TIMEOUT_STEP_MS));
        if (*d->template)
                (void)fprintf(out, "  template = \"%s\"; },\n", d->template);
        else {
                (void)fputc('\n', out);
                print_points(d, out);
                (void)fputs("      },\n", out);
        }
}

static void print_bus(const char *port, enum conf_direction direction, unsigned number,
                      const struct scan_setting *s, unsigned setting, const struct scan_device *devices,
                      size_t n, FILE *out)
{
        (void)fprintf(out, "  { name = \"bus%u\";%s\n    port = \"", number,
                      number > 1 ? "  enabled = false;   # the same line at another setting" : "");
        print_text(port, out);
        (void)fputs("\";\n", out);
        if (s->speed > 0)
                (void)fprintf(out, "    baud = %lu;  format = \"8%c%u\";\n", (unsigned long)s->speed,
                              s->parity, (unsigned)s->stop_bits);
        if (direction != CONF_DIRECTION_AUTO)
                (void)fprintf(out, "    direction = \"%s\";\n", scan_direction_name(direction));
        (void)fputs("    devices = (\n", out);
        for (size_t i = 0; i < n; i++) {
                if (devices[i].setting == setting)
                        print_device(&devices[i], out);
        }
        (void)fputs("    );\n  },\n", out);
}

void scan_conf_print(const char *port, enum conf_direction direction, const struct scan_plan *plan,
                     const struct scan_device *devices, size_t n, FILE *out)
{
        unsigned number = 0;

        (void)fputs("# Found by mbgated --scan. Where no template fitted, the points are guesses:\n"
                    "# mbgated --dump shows what the registers may be.\n"
                    "buses = (\n",
                    out);
        for (unsigned s = 0; s < plan->n_settings; s++) {
                bool any = false;

                for (size_t i = 0; i < n; i++)
                        any |= devices[i].setting == s;
                if (any)
                        print_bus(port, direction, ++number, &plan->settings[s], s, devices, n, out);
        }
        (void)fputs(");\n\n"
                    "# A broker, for this machine only until it has users; links = ( … ) for others.\n"
                    "broker = { listeners = ( { port = 1883; } ); };\n",
                    out);
}

/* The entry of a folder that leads to the same device. */
static bool find_alias(const char *folder, const char *kind, dev_t device, char *ret, size_t size)
{
        char path[512];
        struct dirent *entry;
        bool found = false;
        DIR *dir;

        (void)snprintf(path, sizeof(path), "%s/%s", folder, kind);
        dir = opendir(path);
        while (dir && !found && (entry = readdir(dir))) {
                struct stat st;
                int n;

                if (*entry->d_name == '.' || fstatat(dirfd(dir), entry->d_name, &st, 0) < 0 ||
                    st.st_rdev != device)
                        continue;
                n = snprintf(ret, size, "%s/%s", path, entry->d_name);
                found = n > 0 && (size_t)n < size;
        }
        if (dir)
                (void)closedir(dir);
        return found;
}

void scan_conf_stable_port(const char *port, const char *folder, char *ret, size_t size)
{
        struct stat st;

        if (stat(port, &st) == 0 && S_ISCHR(st.st_mode) && strncmp(port, folder, strlen(folder)) != 0) {
                /* CH340 and its like have no serial number: two of them share one name by id. */
                if (find_alias(folder, "by-id", st.st_rdev, ret, size) && !strstr(ret, "/usb-1a86_"))
                        return;
                if (find_alias(folder, "by-path", st.st_rdev, ret, size))
                        return;
        }
        (void)snprintf(ret, size, "%s", port);
}
