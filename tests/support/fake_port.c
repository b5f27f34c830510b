/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/clock.h"

#include "fake_port.h"

static struct fake_port *fake_port(const struct port *p)
{
        return CONTAINER_OF((uintptr_t)p, struct fake_port, port);
}

static int fake_open(struct port *p)
{
        struct fake_port *f = fake_port(p);
        int r;

        pthread_mutex_lock(&f->mutex);
        r = f->open_error;
        f->n_opens++;
        f->is_open = r == 0;
        if (f->hung_up)
                (void)eventfd_read(f->fd, &(eventfd_t){ 0 });
        f->hung_up = false;
        pthread_mutex_unlock(&f->mutex);
        return r;
}

static void fake_close(struct port *p)
{
        struct fake_port *f = fake_port(p);

        pthread_mutex_lock(&f->mutex);
        f->n_closes += f->is_open;
        f->is_open = false;
        pthread_mutex_unlock(&f->mutex);
}

static bool fake_has(const struct fake_unit *u, size_t address, size_t count)
{
        if (address + count > FAKE_PORT_REGS)
                return false;
        for (size_t i = 0; i < count; i++) {
                if (u->missing[address + i])
                        return false;
        }
        return true;
}

static bool fake_is_silent(const struct fake_unit *u, size_t address, size_t count)
{
        for (size_t i = address; i < address + count && i < FAKE_PORT_REGS; i++) {
                if (u->silent[i])
                        return true;
        }
        return false;
}

static void fake_read(const struct fake_unit *u, const struct pdu *request, struct pdu *reply)
{
        uint16_t address = get_be16(request->bytes + 1), count = get_be16(request->bytes + 3);
        bool is_bits = request->bytes[0] <= PDU_READ_DISCRETE;

        memset(reply->bytes, 0, sizeof(reply->bytes));
        reply->bytes[0] = request->bytes[0];
        reply->n_bytes = pdu_reply_bytes(request);
        reply->bytes[1] = (uint8_t)(reply->n_bytes - 2);
        for (size_t i = 0; i < count; i++) {
                if (!is_bits && 4 + 2 * i <= sizeof(reply->bytes)) /* always, but gcc cannot know */
                        put_be16(reply->bytes + 2 + 2 * i, u->regs[address + i]);
                else if (!is_bits)
                        abort();
                else if (u->regs[address + i])
                        reply->bytes[2 + i / 8] |= (uint8_t)(1u << i % 8);
        }
}

static void fake_write(struct fake_unit *u, const struct pdu *request, struct pdu *reply)
{
        const uint8_t *b = request->bytes;
        uint16_t address = get_be16(b + 1), word = get_be16(b + 3);

        *reply = *request;
        switch (b[0]) {
        case PDU_WRITE_COIL: u->regs[address] = word != 0; break;
        case PDU_WRITE_REGISTER: u->regs[address] = word; break;
        case PDU_MASK_WRITE:
                u->regs[address] = (uint16_t)((u->regs[address] & word) | (get_be16(b + 5) & ~word));
                break;
        case PDU_WRITE_REGISTERS:
                for (size_t i = 0; i < word; i++)
                        u->regs[address + i] = get_be16(b + 6 + 2 * i);
                reply->n_bytes = 5;
                break;
        default: break;
        }
}

/* false: it takes longer than the request waits. */
static bool fake_is_soon(struct fake_port *f, const struct port_request *request, struct port_reply *reply)
{
        if (request->timeout_us < FAKE_SLOW_US) {
                f->late_unit = request->unit;
                return false;
        }
        reply->began_us -= FAKE_SLOW_US;
        reply->sent_us -= FAKE_SLOW_US;
        return true;
}

static int fake_answer(struct fake_unit *u, const struct pdu *request, struct port_reply *reply)
{
        bool is_read = request->bytes[0] <= PDU_READ_INPUT;
        size_t count = is_read || request->bytes[0] == PDU_WRITE_REGISTERS ? get_be16(request->bytes + 3) : 1;

        switch (u->state) {
        case FAKE_ANSWERS: break;
        case FAKE_SILENT: return PORT_TIMEOUT;
        case FAKE_BROKEN: reply->counts.n_crc = 1; return PORT_BROKEN;
        case FAKE_REFUSES: reply->exception = u->exception; return PORT_EXCEPTION;
        case FAKE_DEAF:
                if (request->bytes[0] > 23)
                        return PORT_TIMEOUT;
                break;
        case FAKE_SLOW: break;
        }
        if (fake_is_silent(u, get_be16(request->bytes + 1), count))
                return PORT_TIMEOUT;
        if (!fake_has(u, get_be16(request->bytes + 1), count)) {
                reply->exception = PDU_EXC_ADDRESS;
                return PORT_EXCEPTION;
        }
        if (is_read)
                fake_read(u, request, &reply->pdu);
        else
                fake_write(u, request, &reply->pdu);
        return PORT_OK;
}

static int fake_transact(struct port *p, const struct port_request *request, struct port_reply *ret_reply)
{
        struct fake_port *f = fake_port(p);
        struct port_reply reply = { .began_us = clock_monotonic_us() };
        uint64_t turnaround_us;
        int r;

        pthread_mutex_lock(&f->mutex);
        turnaround_us = f->turnaround_us;
        if (f->n_log < FAKE_PORT_LOG)
                f->log[f->n_log] = (struct fake_request){ request->unit, request->pdu, request->timeout_us,
                                                          reply.began_us };
        f->n_log++;
        while (f->blocks && !f->is_cancelled)
                pthread_cond_wait(&f->changed, &f->mutex);
        reply.sent_us = reply.began_us;
        reply.deadline_us = reply.sent_us + request->timeout_us;
        reply.gap_us = UINT64_MAX;
        if (f->is_cancelled) {
                r = PORT_CANCELLED;
        } else if (f->hung_up) {
                reply.began_us = 0;
                r = -ECONNRESET;
        } else if (f->lost_error < 0 || !f->is_open) {
                r = f->lost_error < 0 ? f->lost_error : -EBADF;
                f->lost_error = 0;
        } else if (f->units[request->unit].state == FAKE_SLOW && !fake_is_soon(f, request, &reply)) {
                r = PORT_TIMEOUT;
        } else {
                r = fake_answer(&f->units[request->unit], &request->pdu, &reply);
        }
        pthread_mutex_unlock(&f->mutex);
        reply.done_us = clock_monotonic_us() + turnaround_us;
        *ret_reply = reply;
        return r;
}

static int fake_await(struct port *p, uint64_t silence_us, int wake_fd)
{
        struct fake_port *f = fake_port(p);
        struct pollfd fd = { .fd = wake_fd, .events = POLLIN };
        bool is_busy;

        pthread_mutex_lock(&f->mutex);
        f->n_awaits++;
        f->await_us = silence_us;
        is_busy = f->is_busy;
        pthread_mutex_unlock(&f->mutex);
        while (is_busy) {
                if (poll(&fd, 1, 1) > 0)
                        return 1;
                pthread_mutex_lock(&f->mutex);
                is_busy = f->is_busy && !f->is_cancelled;
                pthread_mutex_unlock(&f->mutex);
        }
        return 0;
}

static int fake_drain(struct port *p, uint64_t until_us, struct rtu_counts *ret_counts)
{
        struct fake_port *f = fake_port(p);
        int r;

        (void)until_us;
        pthread_mutex_lock(&f->mutex);
        f->n_drains++;
        *ret_counts = (struct rtu_counts){ .n_foreign = f->late_unit != 0, .foreign_unit = f->late_unit };
        f->late_unit = 0;
        r = f->hung_up ? -ECONNRESET : 0;
        pthread_mutex_unlock(&f->mutex);
        return r;
}

static void fake_cancel(struct port *p)
{
        struct fake_port *f = fake_port(p);

        pthread_mutex_lock(&f->mutex);
        f->is_cancelled = true;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->mutex);
}

static int fake_fd(const struct port *p)
{
        struct fake_port *f = fake_port(p);
        int fd;

        pthread_mutex_lock(&f->mutex);
        fd = f->is_open ? f->fd : -1;
        pthread_mutex_unlock(&f->mutex);
        return fd;
}

static const char *fake_describe(const struct port *p)
{
        return fake_port(p)->about;
}

static void fake_free(struct port *p)
{
        struct fake_port *f = fake_port(p);

        (void)close(f->fd);
        (void)pthread_cond_destroy(&f->changed);
        (void)pthread_mutex_destroy(&f->mutex);
        free(f);
}

static const struct port_ops fake_ops = {
        .open = fake_open,
        .close = fake_close,
        .transact = fake_transact,
        .await = fake_await,
        .drain = fake_drain,
        .cancel = fake_cancel,
        .fd = fake_fd,
        .describe = fake_describe,
        .free = fake_free,
};

int fake_port_new(struct fake_port **ret)
{
        struct fake_port *f = calloc(1, sizeof(*f));

        if (!f)
                return -ENOMEM;
        f->port.ops = &fake_ops;
        f->about = "fake";
        f->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (f->fd < 0) {
                free(f);
                return -EMFILE;
        }
        (void)pthread_mutex_init(&f->mutex, NULL);
        (void)pthread_cond_init(&f->changed, NULL);
        for (unsigned u = 0; u < ARRAY_SIZE(f->units); u++) {
                for (unsigned i = 0; i < FAKE_PORT_REGS; i++)
                        f->units[u].regs[i] = (uint16_t)(u * 256 + i);
        }
        *ret = f;
        return 0;
}

void fake_port_set(struct fake_port *f, uint8_t unit, enum fake_device state, uint8_t exception)
{
        pthread_mutex_lock(&f->mutex);
        f->units[unit].state = state;
        f->units[unit].exception = exception;
        pthread_mutex_unlock(&f->mutex);
}

void fake_port_set_register(struct fake_port *f, uint8_t unit, uint16_t address, uint16_t value)
{
        pthread_mutex_lock(&f->mutex);
        f->units[unit].regs[address] = value;
        pthread_mutex_unlock(&f->mutex);
}

uint16_t fake_port_register(struct fake_port *f, uint8_t unit, uint16_t address)
{
        uint16_t value;

        pthread_mutex_lock(&f->mutex);
        value = f->units[unit].regs[address];
        pthread_mutex_unlock(&f->mutex);
        return value;
}

void fake_port_set_missing(struct fake_port *f, uint8_t unit, uint16_t address, bool missing)
{
        pthread_mutex_lock(&f->mutex);
        f->units[unit].missing[address] = missing;
        pthread_mutex_unlock(&f->mutex);
}

void fake_port_set_silent(struct fake_port *f, uint8_t unit, uint16_t address, bool silent)
{
        pthread_mutex_lock(&f->mutex);
        f->units[unit].silent[address] = silent;
        pthread_mutex_unlock(&f->mutex);
}

void fake_port_set_turnaround(struct fake_port *f, uint64_t turnaround_us)
{
        pthread_mutex_lock(&f->mutex);
        f->turnaround_us = turnaround_us;
        pthread_mutex_unlock(&f->mutex);
}

void fake_port_set_open_error(struct fake_port *f, int error)
{
        pthread_mutex_lock(&f->mutex);
        f->open_error = error;
        pthread_mutex_unlock(&f->mutex);
}

void fake_port_lose(struct fake_port *f, int error)
{
        pthread_mutex_lock(&f->mutex);
        f->lost_error = error;
        pthread_mutex_unlock(&f->mutex);
}

void fake_port_hang_up(struct fake_port *f)
{
        pthread_mutex_lock(&f->mutex);
        f->hung_up = true;
        (void)eventfd_write(f->fd, 1);
        pthread_mutex_unlock(&f->mutex);
}

void fake_port_block(struct fake_port *f, bool blocks)
{
        pthread_mutex_lock(&f->mutex);
        f->blocks = blocks;
        pthread_cond_broadcast(&f->changed);
        pthread_mutex_unlock(&f->mutex);
}

void fake_port_keep_busy(struct fake_port *f, bool is_busy)
{
        pthread_mutex_lock(&f->mutex);
        f->is_busy = is_busy;
        pthread_mutex_unlock(&f->mutex);
}

unsigned fake_port_n_awaits(struct fake_port *f, uint64_t *ret_silence_us)
{
        unsigned n;

        pthread_mutex_lock(&f->mutex);
        n = f->n_awaits;
        *ret_silence_us = f->await_us;
        pthread_mutex_unlock(&f->mutex);
        return n;
}

bool fake_port_is_cancelled(struct fake_port *f)
{
        bool is_cancelled;

        pthread_mutex_lock(&f->mutex);
        is_cancelled = f->is_cancelled;
        pthread_mutex_unlock(&f->mutex);
        return is_cancelled;
}

unsigned fake_port_n_opens(struct fake_port *f)
{
        unsigned n;

        pthread_mutex_lock(&f->mutex);
        n = f->n_opens;
        pthread_mutex_unlock(&f->mutex);
        return n;
}

size_t fake_port_n_requests(struct fake_port *f)
{
        size_t n;

        pthread_mutex_lock(&f->mutex);
        n = f->n_log;
        pthread_mutex_unlock(&f->mutex);
        return n;
}

bool fake_port_request(struct fake_port *f, size_t i, struct fake_request *ret)
{
        bool found;

        pthread_mutex_lock(&f->mutex);
        found = i < f->n_log && i < FAKE_PORT_LOG;
        if (found)
                *ret = f->log[i];
        pthread_mutex_unlock(&f->mutex);
        return found;
}
