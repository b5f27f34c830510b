/* SPDX-License-Identifier: MIT */
#include <string.h>

#include "mbgate/base/byteorder.h"
#include "mbgate/base/macros.h"
#include "serve.h"

#define FUNCTION_REPORT_ID  17
#define FUNCTION_READ_WRITE 23
#define FUNCTION_DEVICE_ID  43
#define MEI_DEVICE_ID       14
#define READ_WRITE_REGS_MAX 121

struct serve_call {
        struct map *map;
        uint8_t unit;
        uint64_t t_ns;
        const uint8_t *in;
        size_t n_in;
        struct serve_result *out;
};

void serve_exception(const struct pdu *request, uint8_t code, struct serve_result *ret)
{
        *ret = (struct serve_result){ .exception = code };
        ret->reply.bytes[0] = request->bytes[0] | PDU_EXCEPTION_FLAG;
        ret->reply.bytes[1] = code;
        ret->reply.n_bytes = 2;
}

static int serve_map_error(int r)
{
        return r == 0 ? 0 : r > 0 ? PDU_EXC_ADDRESS : PDU_EXC_FAILURE;
}

/* §6.1, §6.2. Handlers return an exception code, 0 for a reply. */
static int serve_read_bits(struct serve_call *c)
{
        enum map_area area = c->in[0] == PDU_READ_COILS ? MAP_COIL : MAP_DISCRETE;
        unsigned count = get_be16(c->in + 3);
        uint16_t bits[PDU_READ_BITS_MAX];
        uint8_t *out = c->out->reply.bytes;
        int r;

        if (c->n_in != 5 || count == 0 || count > PDU_READ_BITS_MAX)
                return PDU_EXC_VALUE;
        r = map_read(c->map, c->unit, area, get_be16(c->in + 1), count, c->t_ns, bits);
        if (r != 0)
                return serve_map_error(r);
        out[1] = (uint8_t)((count + 7) / 8);
        memset(out + 2, 0, out[1]);
        for (unsigned i = 0; i < count; i++) {
                if (bits[i])
                        out[2 + i / 8] |= (uint8_t)(1u << i % 8);
        }
        c->out->reply.n_bytes = 2u + out[1];
        c->out->n_read = count;
        return 0;
}

static int serve_registers(struct serve_call *c, enum map_area area, uint16_t address, unsigned count)
{
        uint16_t regs[PDU_READ_REGS_MAX];
        uint8_t *out = c->out->reply.bytes;
        int r;

        if (count == 0 || count > PDU_READ_REGS_MAX)
                return PDU_EXC_VALUE;
        r = map_read(c->map, c->unit, area, address, count, c->t_ns, regs);
        if (r != 0)
                return serve_map_error(r);
        out[1] = (uint8_t)(2 * count);
        for (unsigned i = 0; i < count; i++)
                put_be16(out + 2 + 2 * (size_t)i, regs[i]);
        c->out->reply.n_bytes = 2 + 2 * count;
        c->out->n_read = count;
        return 0;
}

static int serve_read_registers(struct serve_call *c)
{
        if (c->n_in != 5)
                return PDU_EXC_VALUE;
        return serve_registers(c, c->in[0] == PDU_READ_HOLDING ? MAP_HOLDING : MAP_INPUT, get_be16(c->in + 1),
                               get_be16(c->in + 3));
}

static void serve_echo(struct serve_call *c, size_t n_bytes, unsigned n_written)
{
        memcpy(c->out->reply.bytes, c->in, n_bytes);
        c->out->reply.n_bytes = n_bytes;
        c->out->n_written = n_written;
}

/* §6.5, §6.6 */
static int serve_write_one(struct serve_call *c)
{
        bool coil = c->in[0] == PDU_WRITE_COIL;
        uint16_t value;
        int r;

        if (c->n_in != 5)
                return PDU_EXC_VALUE;
        value = get_be16(c->in + 3);
        if (coil && value != 0xFF00 && value != 0)
                return PDU_EXC_VALUE;
        if (coil)
                value = value != 0;
        r = map_write(c->map, c->unit, coil ? MAP_COIL : MAP_HOLDING, get_be16(c->in + 1), 1, &value);
        if (r != 0)
                return serve_map_error(r);
        serve_echo(c, 5, 1);
        return 0;
}

static uint16_t serve_bit(const uint8_t *bytes, unsigned i)
{
        return (bytes[i / 8] & 1u << i % 8) != 0;
}

/* §6.11, §6.12 */
static int serve_write_many(struct serve_call *c)
{
        bool coils = c->in[0] == PDU_WRITE_COILS;
        uint16_t values[PDU_WRITE_BITS_MAX];
        unsigned count, n_data;
        int r;

        if (c->n_in < 6)
                return PDU_EXC_VALUE;
        count = get_be16(c->in + 3);
        n_data = coils ? (count + 7) / 8 : 2 * count;
        if (count == 0 || count > (coils ? PDU_WRITE_BITS_MAX : PDU_WRITE_REGS_MAX) || c->in[5] != n_data ||
            c->n_in != 6 + n_data)
                return PDU_EXC_VALUE;
        for (unsigned i = 0; i < count; i++)
                values[i] = coils ? serve_bit(c->in + 6, i) : get_be16(c->in + 6 + 2 * (size_t)i);
        r = map_write(c->map, c->unit, coils ? MAP_COIL : MAP_HOLDING, get_be16(c->in + 1), count, values);
        if (r != 0)
                return serve_map_error(r);
        serve_echo(c, 5, count);
        return 0;
}

/* §6.16 */
static int serve_mask_write(struct serve_call *c)
{
        uint16_t address, and_mask, or_mask, value;
        int r;

        if (c->n_in != 7)
                return PDU_EXC_VALUE;
        address = get_be16(c->in + 1);
        and_mask = get_be16(c->in + 3);
        or_mask = get_be16(c->in + 5);
        r = map_read(c->map, c->unit, MAP_HOLDING, address, 1, c->t_ns, &value);
        if (r != 0)
                return serve_map_error(r);
        value = (uint16_t)((value & and_mask) | (or_mask & ~and_mask));
        r = map_write(c->map, c->unit, MAP_HOLDING, address, 1, &value);
        if (r != 0)
                return serve_map_error(r);
        serve_echo(c, 7, 1);
        return 0;
}

/* §6.17: writes first. */
static int serve_read_write(struct serve_call *c)
{
        uint16_t values[READ_WRITE_REGS_MAX];
        unsigned count;
        int r;

        if (c->n_in < 10)
                return PDU_EXC_VALUE;
        count = get_be16(c->in + 7);
        if (count == 0 || count > READ_WRITE_REGS_MAX || c->in[9] != 2 * count || c->n_in != 10 + 2 * count)
                return PDU_EXC_VALUE;
        for (unsigned i = 0; i < count; i++)
                values[i] = get_be16(c->in + 10 + 2 * (size_t)i);
        r = map_write(c->map, c->unit, MAP_HOLDING, get_be16(c->in + 5), count, values);
        if (r != 0)
                return serve_map_error(r);
        c->out->n_written = count;
        return serve_registers(c, MAP_HOLDING, get_be16(c->in + 1), get_be16(c->in + 3));
}

/* §6.13: an identification of the maker's choice, and "running". */
static int serve_report_id(struct serve_call *c)
{
        static const char id[] = "mbsim";
        uint8_t *out = c->out->reply.bytes;

        out[1] = sizeof(id);
        memcpy(out + 2, id, sizeof(id) - 1);
        out[1 + sizeof(id)] = 0xFF;
        c->out->reply.n_bytes = 2 + sizeof(id);
        return 0;
}

/* §6.21: the basic objects, all in one reply. */
static int serve_device_id(struct serve_call *c)
{
        static const char *const objects[] = { "mbgate", "mbsim", MBSIM_VERSION };
        struct pdu *out = &c->out->reply;

        if (c->n_in != 4 || c->in[1] != MEI_DEVICE_ID)
                return PDU_EXC_FUNCTION;
        if (c->in[2] < 1 || c->in[2] > 4)
                return PDU_EXC_VALUE;
        memcpy(out->bytes, (const uint8_t[]){ FUNCTION_DEVICE_ID, MEI_DEVICE_ID, c->in[2], 0x01, 0, 0 }, 6);
        out->bytes[6] = ARRAY_SIZE(objects);
        out->n_bytes = 7;
        for (size_t i = 0; i < ARRAY_SIZE(objects); i++) {
                size_t n = strlen(objects[i]);

                out->bytes[out->n_bytes++] = (uint8_t)i;
                out->bytes[out->n_bytes++] = (uint8_t)n;
                memcpy(out->bytes + out->n_bytes, objects[i], n);
                out->n_bytes += n;
        }
        return 0;
}

static const struct {
        uint8_t function;
        int (*serve)(struct serve_call *c);
} serve_functions[] = {
        { PDU_READ_COILS, serve_read_bits },        { PDU_READ_DISCRETE, serve_read_bits },
        { PDU_READ_HOLDING, serve_read_registers }, { PDU_READ_INPUT, serve_read_registers },
        { PDU_WRITE_COIL, serve_write_one },        { PDU_WRITE_REGISTER, serve_write_one },
        { PDU_WRITE_COILS, serve_write_many },      { PDU_WRITE_REGISTERS, serve_write_many },
        { FUNCTION_REPORT_ID, serve_report_id },    { PDU_MASK_WRITE, serve_mask_write },
        { FUNCTION_READ_WRITE, serve_read_write },  { FUNCTION_DEVICE_ID, serve_device_id },
};

void serve_request(struct map *map, uint8_t unit, const struct pdu *request, uint64_t t_ns,
                   struct serve_result *ret)
{
        struct serve_result result = { .exception = 0 };
        struct serve_call call = { map, unit, t_ns, request->bytes, request->n_bytes, &result };
        int r = PDU_EXC_FUNCTION;

        result.reply.bytes[0] = request->bytes[0];
        for (size_t i = 0; i < ARRAY_SIZE(serve_functions); i++) {
                if (serve_functions[i].function == request->bytes[0])
                        r = serve_functions[i].serve(&call);
        }
        if (r != 0)
                serve_exception(request, (uint8_t)r, &result);
        *ret = result;
}

bool serve_address(const struct pdu *request, uint16_t *ret_address, uint16_t *ret_count)
{
        uint8_t function = request->bytes[0];
        bool one = function == PDU_WRITE_COIL || function == PDU_WRITE_REGISTER || function == PDU_MASK_WRITE;

        if (request->n_bytes < 5 || function == FUNCTION_REPORT_ID || function == FUNCTION_DEVICE_ID)
                return false;
        *ret_address = get_be16(request->bytes + 1);
        *ret_count = one ? 1 : get_be16(request->bytes + 3);
        return true;
}

bool serve_is_write(uint8_t function)
{
        return function == PDU_WRITE_COIL || function == PDU_WRITE_REGISTER || function == PDU_WRITE_COILS ||
               function == PDU_WRITE_REGISTERS || function == PDU_MASK_WRITE ||
               function == FUNCTION_READ_WRITE;
}
