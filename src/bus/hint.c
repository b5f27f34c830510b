/* SPDX-License-Identifier: MIT */
#include "hint.h"

/* Of a reply, however broken, more is heard than the single bytes of a line without bias that is let go. */
#define REPLY_BYTES 5

#define DUPLICATE_PERCENT 25 /* broken replies of the one device */
#define FLAWLESS_PERCENT  2  /* and of all others */
#define DISTURBED_PERCENT 3  /* of all, where several have some */
#define LATE_PERCENT      10 /* of a device's requests */
#define OTHER_MASTER_MIN  10 /* frames in a window */
#define LISTEN_JUNK_MIN   200

struct sums {
        uint64_t n_answers, n_silent, n_broken, n_requests;
        size_t n_with_broken; /* devices */
        size_t most_broken, most_silent;
};

static uint64_t requests(const struct hint_device *d)
{
        return d->n_answers + d->n_silent + d->n_broken;
}

static struct sums sum_up(const struct hint_window *w)
{
        struct sums s = { .most_broken = HINT_NO_DEVICE, .most_silent = HINT_NO_DEVICE };

        for (size_t i = 0; i < w->n_devices; i++) {
                const struct hint_device *d = &w->devices[i];

                s.n_answers += d->n_answers;
                s.n_silent += d->n_silent;
                s.n_broken += d->n_broken;
                s.n_with_broken += d->n_broken > 0;
                if (d->n_broken > 0 &&
                    (s.most_broken == HINT_NO_DEVICE || d->n_broken > w->devices[s.most_broken].n_broken))
                        s.most_broken = i;
                if (d->n_silent > 0 &&
                    (s.most_silent == HINT_NO_DEVICE || d->n_silent > w->devices[s.most_silent].n_silent))
                        s.most_silent = i;
        }
        s.n_requests = s.n_answers + s.n_silent + s.n_broken;
        return s;
}

bool hint_window_is_full(const struct hint_window *w)
{
        struct sums s = sum_up(w);

        if (s.n_answers == 0 && s.n_requests >= HINT_PROBES_MIN)
                return true;
        return s.n_requests >= HINT_REQUESTS_MIN || (w->is_listening && w->n_junk_bytes >= LISTEN_JUNK_MIN);
}

static bool is_share(uint64_t part, uint64_t whole, unsigned percent)
{
        return whole > 0 && part * 100 >= whole * percent;
}

/* Bytes of whole replies come: what the driver says of them tells speed from parity. */
static enum hint judge_garbage(const struct hint_window *w)
{
        if (w->n_parity_errors > w->n_framing_errors)
                return HINT_PARITY;
        return w->n_framing_errors > 0 ? HINT_SPEED : HINT_GARBLED;
}

/* Nobody answers: what is heard instead tells why. */
static void judge_silence(const struct hint_window *w, const struct sums *s, bool ret[HINTS])
{
        if (s->n_broken > 0 || w->n_junk_bytes >= s->n_requests * REPLY_BYTES)
                ret[judge_garbage(w)] = true;
        else if (w->n_junk_bytes > 0 || w->n_breaks > 0)
                ret[HINT_SWAPPED] = true;
        else if (w->n_foreign == 0 && w->has_parity && w->may_lack_parity)
                ret[HINT_NO_PARITY] = true;
        else if (w->n_foreign == 0)
                ret[HINT_DEAD] = true;
}

/* One device is much worse than all others together: then it is not the line. */
static bool is_duplicate(const struct hint_window *w, const struct sums *s)
{
        const struct hint_device *d;
        uint64_t n_others;

        if (s->most_broken == HINT_NO_DEVICE)
                return false;
        d = &w->devices[s->most_broken];
        n_others = s->n_requests - requests(d);
        return is_share(d->n_broken, requests(d), DUPLICATE_PERCENT) && n_others >= HINT_REQUESTS_MIN / 2 &&
               !is_share(s->n_broken - d->n_broken, n_others, FLAWLESS_PERCENT);
}

static bool is_late(const struct hint_window *w, const struct sums *s)
{
        return s->most_silent != HINT_NO_DEVICE &&
               is_share(w->devices[s->most_silent].n_silent, requests(&w->devices[s->most_silent]),
                        LATE_PERCENT) &&
               w->n_foreign * 2 >= s->n_silent;
}

static void judge_answers(const struct hint_window *w, const struct sums *s, bool ret[HINTS])
{
        ret[HINT_DUPLICATE] = is_duplicate(w, s);
        ret[HINT_DISTURBED] = !ret[HINT_DUPLICATE] &&
                              is_share(s->n_broken, s->n_requests, DISTURBED_PERCENT) &&
                              (s->n_with_broken > 1 || w->n_devices == 1);
}

static void judge_window(const struct hint_window *w, const struct sums *s, bool ret[HINTS])
{
        for (unsigned i = 0; i < HINTS; i++)
                ret[i] = false;
        if (w->is_listening) {
                ret[judge_garbage(w)] = s->n_requests == 0 && w->n_junk_bytes >= LISTEN_JUNK_MIN;
                return;
        }
        if (s->n_answers == 0)
                judge_silence(w, s, ret);
        else
                judge_answers(w, s, ret);
        ret[HINT_LATE] = is_late(w, s);
        ret[HINT_OTHER_MASTER] =
                !ret[HINT_LATE] && w->n_foreign >= OTHER_MASTER_MIN && w->n_foreign >= 2 * s->n_silent;
}

size_t hints_judge(struct hints *h, const struct hint_window *w, enum hint ret[HINTS], size_t *ret_device)
{
        struct sums s = sum_up(w);
        bool shows[HINTS];
        size_t n = 0;

        *ret_device = HINT_NO_DEVICE;
        judge_window(w, &s, shows);
        for (unsigned i = 0; i < HINTS; i++) {
                if (shows[i] == h->is_there[i]) {
                        h->n_shown[i] = 0;
                        continue;
                }
                if (++h->n_shown[i] < (h->is_there[i] ? HINT_CLEAR : HINT_RAISE))
                        continue;
                h->n_shown[i] = 0;
                h->is_there[i] = shows[i];
                if (!shows[i])
                        continue;
                if (i == HINT_DUPLICATE)
                        *ret_device = s.most_broken;
                else if (i == HINT_LATE && *ret_device == HINT_NO_DEVICE)
                        *ret_device = s.most_silent;
                ret[n++] = (enum hint)i;
        }
        return n;
}

const char *hint_text(enum hint hint)
{
        switch (hint) {
        case HINT_DEAD:
                return "nobody answers and nothing is heard: look at the supply of the devices and "
                       "the wires (A and B swapped?), then at speed, format and unit ids, which "
                       "mbgated --scan finds";
        case HINT_NO_PARITY:
                return "nobody answers, and this adapter is a CH341, whose older chips send no parity "
                       "whatever they are told: try another adapter, or set devices and format to 8N1 "
                       "or 8N2";
        case HINT_SWAPPED:
                return "nobody answers, but single bytes come: A and B may be swapped, or the line "
                       "has no bias resistors";
        case HINT_PARITY: return "something is heard, but with parity errors: the parity in format is wrong";
        case HINT_SPEED:
                return "something is heard, but with framing errors: the speed is wrong, or the "
                       "devices send a parity that format does not have; mbgated --scan finds both";
        case HINT_GARBLED:
                return "something is heard, but no frame is right: speed or format (parity) may be "
                       "wrong; mbgated --scan finds them";
        case HINT_DUPLICATE:
                return "its replies are broken while those of other devices are not: two devices may "
                       "have this unit id, or its connection is bad";
        case HINT_DISTURBED:
                return "replies come broken: the line may lack its termination (120 ohm at both "
                       "ends), bias or ground, or be disturbed";
        case HINT_LATE: return "replies come after they were given up: raise response_timeout_ms";
        case HINT_OTHER_MASTER:
                return "there are frames that nobody here asked for: another master on the line (it "
                       "must go, or use mode = \"listen\"), or two devices that answer one after the "
                       "other";
        case HINTS: break;
        }
        return "?";
}
