/* SPDX-License-Identifier: MIT */
/* The table. A row is all that anybody knows of a key. */
#include <stdlib.h>

#include "mbgate/base/text.h"

#include "schema.h"

#define MEMBER(kind, member) \
        .offset = offsetof(struct conf_##kind, member), .size = sizeof(((struct conf_##kind *)0)->member)
#define MEMBER_2(kind, member) .offset_2 = offsetof(struct conf_##kind, member)
#define RANGE(low, high)       .min = (low), .max = (high)

#define GATEWAY  SCHEMA_GATEWAY
#define BUS      SCHEMA_BUS
#define DEVICE   SCHEMA_DEVICE
#define POINT    SCHEMA_POINT
#define LINK     SCHEMA_LINK
#define TLS      SCHEMA_TLS
#define BROKER   SCHEMA_BROKER
#define LISTENER SCHEMA_LISTENER
#define SERVER   SCHEMA_SERVER
#define SHARE    SCHEMA_SHARE
#define ALLOW    SCHEMA_ALLOW

/* Where defaults of devices, of points and of listeners may stand. */
#define ABOVE_DEVICE (SCHEMA_IN(GATEWAY) | SCHEMA_IN(BUS))
#define ON_BROKER    SCHEMA_IN(BROKER)
#define ABOVE_POINT  (SCHEMA_IN(GATEWAY) | SCHEMA_IN(BUS) | SCHEMA_IN(DEVICE))

#define TEXT    &schema_text
#define PATH    &schema_path
#define INT     &schema_int
#define REAL    &schema_real
#define BOOL    &schema_bool
#define WORD    &schema_word
#define ADJUST  CONF_ADJUST
#define REPLACE CONF_REPLACE

#define NAME_HELP "Letters, digits, '.', '_', '-' and all beyond ASCII; it becomes a level of topics."

static const struct schema_word log_levels[] = { { "error", 3 }, { "warning", 4 }, { "notice", 5 },
                                                 { "info", 6 },  { "debug", 7 },   { 0 } };
static const struct schema_word clocks[] = { { "ntp", CONF_CLOCK_NTP },
                                             { "always", CONF_CLOCK_ALWAYS },
                                             { 0 } };
static const struct schema_word modes[] = { { "poll", CONF_MODE_POLL },
                                            { "listen", CONF_MODE_LISTEN },
                                            { 0 } };
static const struct schema_word directions[] = { { "auto", CONF_DIRECTION_AUTO },
                                                 { "kernel", CONF_DIRECTION_KERNEL },
                                                 { "rts", CONF_DIRECTION_RTS },
                                                 { "none", CONF_DIRECTION_NONE },
                                                 { 0 } };
static const struct schema_word echoes[] = {
        { "auto", RTU_ECHO_AUTO }, { "on", RTU_ECHO_ON }, { "off", RTU_ECHO_OFF }, { 0 }
};
static const struct schema_word types[] = { { "bool", VALUE_TYPE_BOOL },
                                            { "int16", VALUE_TYPE_INT16 },
                                            { "uint16", VALUE_TYPE_UINT16 },
                                            { "int32", VALUE_TYPE_INT32 },
                                            { "uint32", VALUE_TYPE_UINT32 },
                                            { "int64", VALUE_TYPE_INT64 },
                                            { "uint64", VALUE_TYPE_UINT64 },
                                            { "float32", VALUE_TYPE_FLOAT32 },
                                            { "float64", VALUE_TYPE_FLOAT64 },
                                            { "bcd16", VALUE_TYPE_BCD16 },
                                            { "bcd32", VALUE_TYPE_BCD32 },
                                            { "string", VALUE_TYPE_STRING },
                                            { 0 } };
static const struct schema_word orders[] = { { "ABCD", VALUE_ORDER_ABCD },
                                             { "CDAB", VALUE_ORDER_CDAB },
                                             { "BADC", VALUE_ORDER_BADC },
                                             { "DCBA", VALUE_ORDER_DCBA },
                                             { 0 } };
static const struct schema_word publishes[] = { { "change", CONF_PUBLISH_CHANGE },
                                                { "always", CONF_PUBLISH_ALWAYS },
                                                { 0 } };
static const struct schema_word polls[] = {
        { "interval", CONF_POLL_INTERVAL }, { "once", CONF_POLL_ONCE }, { "demand", CONF_POLL_DEMAND }, { 0 }
};
static const struct schema_word writes[] = { { "all", CONF_WRITES_ALL },
                                             { "newest", CONF_WRITES_NEWEST },
                                             { 0 } };
static const struct schema_word payloads[] = { { "plain", CONF_PAYLOAD_PLAIN },
                                               { "json", CONF_PAYLOAD_JSON },
                                               { "object", CONF_PAYLOAD_OBJECT },
                                               { 0 } };
static const struct schema_word tls_versions[] = { { "tlsv1.2", 0 }, { "tlsv1.3", 0 }, { 0 } };
static const struct schema_word listener_protocols[] = { { "mqtt", 0 }, { "websocket", 1 }, { 0 } };
static const struct schema_word sessions[] = { { "client", CONF_SESSION_CLIENT },
                                               { "clean", CONF_SESSION_CLEAN },
                                               { "keep", CONF_SESSION_KEEP },
                                               { 0 } };
static const struct schema_word durabilities[] = { { "none", CONF_DURABILITY_NONE },
                                                   { "interval", CONF_DURABILITY_INTERVAL },
                                                   { "sync", CONF_DURABILITY_SYNC },
                                                   { 0 } };
static const struct schema_word never[] = { { "never", 0 }, { 0 } };

const struct schema_key schema_keys[] = {
        /* ---- the file ---- */
        { SCHEMA_TOP, 0, "gateway", &schema_group, .arg = SCHEMA_GATEWAY, .flags = SCHEMA_STRUCTURE,
          .help = "The gateway itself, and defaults of all it holds." },
        { SCHEMA_TOP, 0, "buses", &schema_list, .arg = SCHEMA_BUS, .flags = SCHEMA_STRUCTURE,
          .help = "The buses, one group each." },
        { SCHEMA_TOP, 0, "links", &schema_list, .arg = SCHEMA_LINK, .flags = SCHEMA_STRUCTURE,
          .help = "The brokers to talk to, one group each." },
        { SCHEMA_TOP, 0, "broker", &schema_group, .arg = SCHEMA_BROKER, .flags = SCHEMA_STRUCTURE,
          .help = "The embedded broker. It runs when this group is there." },

        /* ---- gateway ---- */
        { GATEWAY, 0, "name", TEXT, MEMBER(gateway, name), .deflt = "\"mbgate\"", .change = REPLACE,
          .help = "First level of every default topic, and the client id of the links. " NAME_HELP },
        { GATEWAY, 0, "status_topic", TEXT, MEMBER(gateway, status_topic), .deflt = "<gateway>/status",
          .flags = SCHEMA_COMPUTED, .change = REPLACE, .example = "\"mbgate/status\"",
          .help = "Says online or offline, retained; also the will of every link." },
        { GATEWAY, 0, "log_level", TEXT, MEMBER(gateway, log_level), .words = log_levels, .deflt = "\"info\"",
          .change = ADJUST, .help = "The least important lines that are logged." },
        { GATEWAY, 0, "command_max_bytes", INT, MEMBER(gateway, command_max_bytes), RANGE(1, 1048576),
          .deflt = "4096", .change = ADJUST, .help = "Longer commands are refused." },
        { GATEWAY, 0, "command_timeout_ms", INT, MEMBER(gateway, command_timeout_ms), RANGE(100, 3600000),
          .deflt = "10000", .change = ADJUST,
          .help = "A command whose turn has not come until then is refused, and nothing is written." },
        { GATEWAY, 0, "clock", WORD, MEMBER(gateway, clock), .words = clocks, .deflt = "\"ntp\"",
          .change = ADJUST,
          .help = "Whose word is taken that the clock is right, for \"time\" in JSON payloads. ntp: that of "
                  "the "
                  "kernel, once chrony, ntpd or systemd-timesyncd have set it; until then \"time\" is null. "
                  "always: it is right, as with a battery-backed clock without NTP, or in a container." },
        { GATEWAY, 0, "state_directory", &schema_folder, MEMBER(gateway, state_directory),
          .deflt = "$STATE_DIRECTORY, else nowhere", .flags = SCHEMA_COMPUTED, .change = REPLACE,
          .example = "\"/var/lib/mbgate\"",
          .help = "Where the file \"learned\" keeps over a restart which registers devices refuse. Empty: "
                  "nowhere. Taken over at the next start." },

        /* ---- buses ---- */
        { BUS, 0, "name", TEXT, MEMBER(bus, name), .flags = SCHEMA_REQUIRED, .change = ADJUST,
          .example = "\"rs485\"", .help = NAME_HELP },
        { BUS, 0, "enabled", BOOL, .deflt = "true", .flags = SCHEMA_STRUCTURE,
          .help = "false: as if this bus were not written here." },
        { BUS, 0, "port", TEXT, MEMBER(bus, port), .flags = SCHEMA_REQUIRED, .change = REPLACE,
          .example = "\"/dev/serial/by-id/usb-FTDI_FT232R-if00-port0\"",
          .help = "A serial device, best by a stable name such as /dev/serial/by-id/…; tcp://host:port for "
                  "Modbus "
                  "TCP; rtu+tcp://host:port for RTU frames in a TCP stream. Without a port, 502." },
        { BUS, 0, "mode", WORD, MEMBER(bus, mode), .words = modes, .deflt = "\"poll\"", .change = REPLACE,
          .help = "poll: ask the devices. listen: another master asks them, nothing is ever sent, and what "
                  "it "
                  "reads of the points is published; a device that is not asked for three times its longest "
                  "interval_ms, at least 10 s, is offline." },
        { BUS, 0, "baud", INT, MEMBER(bus, baud), RANGE(300, 4000000), .deflt = "9600", .flags = SCHEMA_PACED,
          .change = REPLACE, .help = "Bits a second. Any rate that the adapter can do." },
        { BUS, 0, "format", &schema_format, MEMBER(bus, parity), .deflt = "\"8N1\"", .flags = SCHEMA_PACED,
          .change = REPLACE, .help = "Data bits (8), parity (N, E, O) and stop bits (1, 2) of a character." },
        { BUS, 0, "direction", WORD, MEMBER(bus, direction), .words = directions, .deflt = "\"auto\"",
          .flags = SCHEMA_SERIAL, .change = REPLACE,
          .help = "Who turns the RS-485 driver round: the kernel (TIOCSRS485), this program by RTS, or "
                  "nobody, as the adapter does it. auto: the kernel where the device tree has told it to, "
                  "else nobody." },
        { BUS, 0, "rts_on_send", BOOL, MEMBER(bus, rts_on_send), .deflt = "true", .flags = SCHEMA_SERIAL,
          .change = REPLACE, .help = "Level of RTS while sending, with direction kernel or rts." },
        { BUS, 0, "rts_delay_before_ms", INT, MEMBER(bus, rts_delay_before_ms), RANGE(0, 1000), .deflt = "0",
          .flags = SCHEMA_SERIAL, .change = REPLACE,
          .help = "From turning the driver on to the first character." },
        { BUS, 0, "rts_delay_after_ms", INT, MEMBER(bus, rts_delay_after_ms), RANGE(0, 1000), .deflt = "0",
          .flags = SCHEMA_SERIAL, .change = REPLACE,
          .help = "From the last character to turning the driver off." },
        { BUS, 0, "echo", WORD, MEMBER(bus, echo), .words = echoes, .deflt = "\"auto\"",
          .flags = SCHEMA_SERIAL, .change = REPLACE,
          .help = "Whether the adapter hears what it sends. auto finds out." },
        { BUS, 0, "low_latency", BOOL, MEMBER(bus, low_latency), .deflt = "true", .flags = SCHEMA_SERIAL,
          .change = REPLACE, .help = "Ask the driver to hand over characters at once." },
        { BUS, 0, "broadcast_delay_ms", INT, MEMBER(bus, broadcast_delay_ms), RANGE(0, 10000), .deflt = "100",
          .change = REPLACE, .help = "Silence after a broadcast." },
        { BUS, 0, "connect_timeout_ms", INT, MEMBER(bus, connect_timeout_ms), RANGE(100, 60000),
          .deflt = "5000", .change = REPLACE, .help = "To connect to a TCP port." },
        { BUS, 0, "write_expected_block_ms", INT, MEMBER(bus, write_expected_block_ms), RANGE(0, 10000),
          .deflt = "0", .change = ADJUST,
          .help = "From one write until a minute later others are expected, and no reading of several points "
                  "takes longer than this on the line, so that a write waits less; it costs throughput. 0: "
                  "readings are as long as it is cheapest." },
        { BUS, 0, "stats_interval_s", INT, MEMBER(bus, stats_interval_s), RANGE(0, 86400), .deflt = "60",
          .change = ADJUST, .help = "Between two publications of the counters of this bus; 0: never." },
        { BUS, 0, "topic", TEXT, MEMBER(bus, topic), .deflt = "<gateway>/bus/<bus>", .flags = SCHEMA_COMPUTED,
          .change = ADJUST, .example = "\"mbgate/bus/rs485\"", .help = "Where its counters are published." },
        { BUS, 0, "raw", BOOL, MEMBER(bus, raw), .deflt = "false", .change = ADJUST,
          .help = "Take requests of any kind at <bus topic>/raw/set, as bytes or as fields, and answer them "
                  "at "
                  "<bus topic>/raw/result: whoever may publish there can do everything to every device." },
        { BUS, 0, "share", &schema_group, .arg = SCHEMA_SHARE, .flags = SCHEMA_STRUCTURE,
          .help = "A Modbus TCP server for other masters, which use the line beside this program. It runs "
                  "when "
                  "this group is there." },
        { BUS, 0, "devices", &schema_list, .arg = SCHEMA_DEVICE, .flags = SCHEMA_STRUCTURE,
          .help = "The devices, one group each." },

        /* ---- devices ---- */
        { DEVICE, 0, "name", TEXT, MEMBER(device, name), .flags = SCHEMA_REQUIRED | SCHEMA_PLACEHOLDERS,
          .change = ADJUST, .example = "\"meter1\"", .help = NAME_HELP },
        { DEVICE, 0, "enabled", BOOL, .deflt = "true", .flags = SCHEMA_STRUCTURE,
          .help = "false: as if this device were not written here." },
        { DEVICE, 0, "unit_id", INT, MEMBER(device, unit_id), RANGE(0, 255), .change = ADJUST, .example = "1",
          .help = "Its address on the bus, 1 to 247; on tcp:// ports 0 to 255. Required, or else unit_ids." },
        { DEVICE, 0, "unit_ids", TEXT, .flags = SCHEMA_STRUCTURE, .example = "\"1,2,5-18\"",
          .help = "Several equal devices in one group, as in \"1,2,5-18\"; ${unit_id} in names and topics "
                  "stands for "
                  "the address of each." },
        { DEVICE, 0, "template", TEXT, .flags = SCHEMA_STRUCTURE, .example = "\"eastron-sdm120\"",
          .help = "NAME: the file NAME.conf with the keys of a device, looked for in templates/ beside the "
                  "configuration file and then in the installed folder. What stands in the device itself, or "
                  "in "
                  "a point of the same name, goes before the template." },
        { DEVICE, 0, "topic", TEXT, MEMBER(device, topic), .deflt = "<gateway>/<device>",
          .flags = SCHEMA_COMPUTED | SCHEMA_PLACEHOLDERS, .change = ADJUST, .example = "\"mbgate/meter1\"",
          .help = "What the topics of the device and its points begin with." },
        { DEVICE, 0, "availability_topic", TEXT, MEMBER(device, availability_topic),
          .deflt = "<device topic>/availability", .flags = SCHEMA_COMPUTED | SCHEMA_PLACEHOLDERS,
          .change = ADJUST, .example = "\"mbgate/meter1/availability\"",
          .help = "Says online or offline, retained." },
        { DEVICE, 0, "send_interval_topic", &schema_interval_topic, MEMBER(device, send_interval_topic),
          MEMBER_2(device, send_interval_topic_short),
          .deflt = "<device topic>/send_interval/set and "
                   "<device topic>/send_interval",
          .flags = SCHEMA_COMPUTED | SCHEMA_PLACEHOLDERS, .change = ADJUST,
          .example = "\"mbgate/meter1/send_interval/set\"",
          .help = "Takes the whole seconds between publications; 0 or unreadable text means "
                  "send_interval_s, or 10 where that is 0." },
        { DEVICE, ABOVE_DEVICE, "send_interval_s", INT, MEMBER(device, send_interval_s), RANGE(0, 86400),
          .deflt = "0", .change = ADJUST,
          .help = "All points are published this often, whether changed or not; 0: by their own policy." },
        { DEVICE, ABOVE_DEVICE, "response_timeout_ms", INT, MEMBER(device, response_timeout_ms),
          RANGE(10, 60000), .deflt = "500", .change = ADJUST,
          .help = "From the last character of a request to the first of its reply; the time that the reply "
                  "itself takes on the line is added." },
        { DEVICE, ABOVE_DEVICE, "response_timeout_min_ms", INT, MEMBER(device, response_timeout_min_ms),
          RANGE(0, 60000), .deflt = "0", .change = ADJUST,
          .help = "While others want the line, a device that was always quick is given up sooner than "
                  "response_timeout_ms says, but never before this; as long as that one: nothing is "
                  "learned." },
        { DEVICE, ABOVE_DEVICE, "retries", INT, MEMBER(device, retries), RANGE(0, 10), .deflt = "1",
          .change = ADJUST,
          .help = "How often a read that nobody answered is repeated before its next turn." },
        { DEVICE, ABOVE_DEVICE, "gap_ms", INT, MEMBER(device, gap_ms), RANGE(0, 10000), .deflt = "0",
          .change = ADJUST,
          .help = "Silence before each request to it, for devices that need more than the 3.5 characters of "
                  "the "
                  "specification; 0: those." },
        { DEVICE, ABOVE_DEVICE, "gap_max_ms", INT, MEMBER(device, gap_max_ms), RANGE(0, 10000), .deflt = "50",
          .change = ADJUST,
          .help = "A device that loses requests which come soon after others is found out by itself and "
                  "given "
                  "a longer silence, up to this; 0: only what gap_ms says." },
        { DEVICE, ABOVE_DEVICE, "max_registers", INT, MEMBER(device, max_registers), RANGE(1, 125),
          .deflt = "125", .change = ADJUST, .help = "Registers that it can give in one reply." },
        { DEVICE, ABOVE_DEVICE, "max_bits", INT, MEMBER(device, max_bits), RANGE(1, 2000), .deflt = "2000",
          .change = ADJUST, .help = "Coils or discrete inputs that it can give in one reply." },
        { DEVICE, ABOVE_DEVICE, "join_gaps", BOOL, MEMBER(device, join_gaps), .deflt = "true",
          .change = ADJUST,
          .help = "Read registers that nobody asked for when that is cheaper than another request." },
        { DEVICE, ABOVE_DEVICE, "join_points", BOOL, MEMBER(device, join_points), .deflt = "true",
          .change = ADJUST, .help = "false: one request for each point." },
        { DEVICE, ABOVE_DEVICE, "even_addresses", BOOL, MEMBER(device, even_addresses), .deflt = "false",
          .change = ADJUST,
          .help = "Read registers only from even addresses and in even numbers; what is too much is not "
                  "looked at." },
        { DEVICE, 0, "points", &schema_list, .arg = SCHEMA_POINT, .flags = SCHEMA_STRUCTURE,
          .help = "The points, one group each." },

        /* ---- points ---- */
        { POINT, 0, "name", TEXT, MEMBER(point, name),
          .flags = SCHEMA_REQUIRED | SCHEMA_PLACEHOLDERS | SCHEMA_SHARED, .change = ADJUST,
          .example = "\"temp\"", .help = NAME_HELP },
        { POINT, 0, "enabled", BOOL, .deflt = "true", .flags = SCHEMA_STRUCTURE,
          .help = "false: leave this point out, as one of a template that is not wanted." },
        { POINT, 0, "holding", &schema_area, MEMBER(point, area), MEMBER_2(point, address),
          .arg = CONF_HOLDING, RANGE(0, 65535), .change = ADJUST, .example = "0",
          .help = "Its first holding register, counted from 0, as on the wire. One of holding, input, coil "
                  "and "
                  "discrete is required." },
        { POINT, 0, "input", &schema_area, MEMBER(point, area), MEMBER_2(point, address), .arg = CONF_INPUT,
          RANGE(0, 65535), .change = ADJUST, .example = "0",
          .help = "Its first input register, counted from 0." },
        { POINT, 0, "coil", &schema_area, MEMBER(point, area), MEMBER_2(point, address), .arg = CONF_COIL,
          RANGE(0, 65535), .change = ADJUST, .example = "0", .help = "Its coil, counted from 0." },
        { POINT, 0, "discrete", &schema_area, MEMBER(point, area), MEMBER_2(point, address),
          .arg = CONF_DISCRETE, RANGE(0, 65535), .change = ADJUST, .example = "0",
          .help = "Its discrete input, counted from 0." },
        { POINT, ABOVE_POINT, "type", WORD, MEMBER(point, format.type), .words = types,
          .deflt = "\"uint16\"; \"bool\" for coil, discrete and bit", .flags = SCHEMA_COMPUTED,
          .change = ADJUST, .example = "\"int16\"", .help = "What the registers hold." },
        { POINT, ABOVE_POINT, "order", WORD, MEMBER(point, format.order), .words = orders,
          .deflt = "\"ABCD\"", .change = ADJUST,
          .help = "How the bytes of 0xAABBCCDD are sent. Of 64 bits likewise: CDAB reverses words, BADC the "
                  "bytes "
                  "in each word, DCBA both." },
        { POINT, 0, "length", INT, MEMBER(point, format.length_bytes), RANGE(1, 250), .change = ADJUST,
          .example = "16",
          .help = "Characters of a string, two in a register; 246 at most with write. Required "
                  "for strings." },
        { POINT, 0, "bit", &schema_bit, MEMBER(point, format.bit_lo), .change = ADJUST, .example = "3",
          .help = "Take one bit of the number; 0 is the least significant." },
        { POINT, 0, "bits", &schema_bits, MEMBER(point, format.bit_lo), .change = ADJUST,
          .example = "[ 4, 7 ]", .help = "[ low, high ]: take these bits of the number." },
        { POINT, ABOVE_POINT, "scale", REAL, MEMBER(point, format.scale), RANGE(-1e12, 1e12), .deflt = "1.0",
          .change = ADJUST, .help = "value = number in the registers * scale + offset." },
        { POINT, ABOVE_POINT, "offset", REAL, MEMBER(point, format.offset), RANGE(-1e15, 1e15),
          .deflt = "0.0", .change = ADJUST, .help = "See scale." },
        { POINT, ABOVE_POINT, "decimals", INT, MEMBER(point, format.decimals), RANGE(0, VALUE_DECIMALS_MAX),
          .deflt = "as many as scale and offset have; at least 3 for float32 and float64",
          .flags = SCHEMA_COMPUTED, .change = ADJUST, .example = "1",
          .help = "Digits after the point in texts." },
        { POINT, ABOVE_POINT, "unit", TEXT, MEMBER(point, unit), .deflt = "\"\"", .flags = SCHEMA_SHARED,
          .change = ADJUST, .help = "Of the value, such as °C; for people and for discovery." },
        { POINT, 0, "map", &schema_list, .arg = SCHEMA_LABEL, .flags = SCHEMA_STRUCTURE, .change = ADJUST,
          .help = "( { value = 0; label = \"off\"; }, … ): names for values, in both directions." },
        { POINT, ABOVE_POINT, "invalid", &schema_ints, MEMBER(point, format.invalid),
          MEMBER_2(point, format.n_invalid), .change = ADJUST, .example = "[ 0x8000, 0xFFFF ]",
          .help = "Numbers in the registers that mean that there is no value, such as 0x8000." },
        { POINT, ABOVE_POINT, "interval_ms", INT, MEMBER(point, interval_ms), RANGE(10, 86400000),
          .deflt = "1000", .change = ADJUST, .help = "How often it is read." },
        { POINT, ABOVE_POINT, "poll", WORD, MEMBER(point, poll), .words = polls, .deflt = "\"interval\"",
          .change = ADJUST,
          .help = "interval: every interval_ms. once: when the device is first heard, and each time it comes "
                  "back. demand: only when its get_topic asks, and after a write." },
        { POINT, 0, "block", INT, MEMBER(point, block), RANGE(0, 65535), .deflt = "0", .change = ADJUST,
          .help = "Points of the device with the same number are read by one request, and nothing else with "
                  "them; 0: as it is cheapest." },
        { POINT, ABOVE_POINT, "publish", WORD, MEMBER(point, publish), .words = publishes,
          .deflt = "\"change\"", .change = ADJUST, .help = "Whether an unchanged value is published." },
        { POINT, ABOVE_POINT, "deadband", REAL, MEMBER(point, deadband), RANGE(0, 1e15), .deflt = "0.0",
          .flags = SCHEMA_ON_CHANGE | SCHEMA_BETWEEN, .change = ADJUST,
          .help = "A smaller difference from the last published value is no change; 0: off." },
        { POINT, ABOVE_POINT, "deadband_percent", REAL, MEMBER(point, deadband_percent), RANGE(0, 100),
          .deflt = "0.0", .flags = SCHEMA_ON_CHANGE | SCHEMA_BETWEEN, .change = ADJUST,
          .help = "The same in percent of the last published value; 0: off." },
        { POINT, ABOVE_POINT, "min_interval_s", REAL, MEMBER(point, min_interval_s), RANGE(0, 86400),
          .deflt = "0.0", .flags = SCHEMA_BETWEEN, .change = ADJUST,
          .help = "Changes are published at most this often; 0: all." },
        { POINT, ABOVE_POINT, "max_interval_s", REAL, MEMBER(point, max_interval_s), RANGE(0, 604800),
          .deflt = "0.0", .flags = SCHEMA_BETWEEN, .change = ADJUST,
          .help = "An unchanged value is published again after this time; 0: never." },
        { POINT, ABOVE_POINT, "payload", WORD, MEMBER(point, payload), .words = payloads,
          .deflt = "\"plain\"", .change = ADJUST,
          .help = "plain: the value as text. json: {\"value\", \"quality\", \"time\"}, see clock. object: "
                  "all such "
                  "points of the "
                  "device in one JSON object on the topic of the device." },
        { POINT, ABOVE_POINT, "retain", BOOL, MEMBER(point, retain), .deflt = "true", .change = ADJUST,
          .help = "Whether brokers keep the last value for who comes later." },
        { POINT, ABOVE_POINT, "qos", INT, MEMBER(point, qos), RANGE(0, 2), .deflt = "1", .change = ADJUST,
          .help = "MQTT quality of service of its messages." },
        { POINT, 0, "topic", TEXT, MEMBER(point, topic), .deflt = "<device topic>/<point>",
          .flags = SCHEMA_COMPUTED | SCHEMA_PLACEHOLDERS, .change = ADJUST,
          .example = "\"mbgate/meter1/temp\"", .help = "Where its value is published." },
        { POINT, 0, "command_topic", TEXT, MEMBER(point, command_topic),
          .deflt = "<device topic>/<point>/set", .flags = SCHEMA_COMPUTED | SCHEMA_PLACEHOLDERS,
          .change = ADJUST, .example = "\"mbgate/meter1/temp/set\"", .help = "Takes values to write." },
        { POINT, 0, "get_topic", TEXT, MEMBER(point, get_topic), .deflt = "<device topic>/<point>/get",
          .flags = SCHEMA_COMPUTED | SCHEMA_PLACEHOLDERS, .change = ADJUST,
          .example = "\"mbgate/meter1/temp/get\"",
          .help = "Any message there has the point read and published at once." },
        { POINT, 0, "result_topic", TEXT, MEMBER(point, result_topic),
          .deflt = "<device topic>/<point>/result", .flags = SCHEMA_COMPUTED | SCHEMA_PLACEHOLDERS,
          .change = ADJUST, .example = "\"mbgate/meter1/temp/result\"",
          .help = "What became of each command." },
        { POINT, 0, "write", BOOL, MEMBER(point, writable), .deflt = "false", .change = ADJUST,
          .help = "Whether it takes commands." },
        { POINT, ABOVE_POINT, "write_function", INT, MEMBER(point, write_function), RANGE(5, 22),
          .deflt = "5 for a coil, 6 for one register, 16 for several", .flags = SCHEMA_COMPUTED,
          .change = ADJUST, .example = "6",
          .help = "Function code of writes: 5 or 15 for coils; 6 (one register), 16, or 22 (mask write, one "
                  "register) for holding registers." },
        { POINT, 0, "min", &schema_limit, MEMBER(point, format.min), MEMBER_2(point, format.has_min),
          RANGE(-1e300, 1e300), .change = ADJUST, .example = "0",
          .help = "The least value that a command may ask for." },
        { POINT, 0, "max", &schema_limit, MEMBER(point, format.max), MEMBER_2(point, format.has_max),
          RANGE(-1e300, 1e300), .change = ADJUST, .example = "1023",
          .help = "The greatest value that a command may ask for." },
        { POINT, ABOVE_POINT, "read_back", BOOL, MEMBER(point, read_back), .deflt = "true", .change = ADJUST,
          .help = "Read it after a write, and publish what the device says." },
        { POINT, ABOVE_POINT, "accept_retained", BOOL, MEMBER(point, accept_retained), .deflt = "false",
          .change = ADJUST,
          .help = "Carry out retained commands too: they come again with each connection." },
        { POINT, ABOVE_POINT, "writes", WORD, MEMBER(point, writes), .words = writes, .deflt = "\"all\"",
          .change = ADJUST,
          .help = "Of commands that wait for the bus: all are carried out, in order, or only the newest; the "
                  "result of the others says so." },
        { POINT, ABOVE_POINT, "write_pause_ms", INT, MEMBER(point, write_pause_ms), RANGE(0, 86400000),
          .deflt = "0", .change = ADJUST,
          .help = "At least so long between two writes, for memories that wear out. A command that would "
                  "have to wait beyond command_timeout_ms of the gateway is refused; another master's write "
                  "(share) is answered with exception 6. Raw requests are not held back, but counted." },
        { POINT, ABOVE_POINT, "write_unchanged", BOOL, MEMBER(point, write_unchanged), .deflt = "true",
          .change = ADJUST,
          .help = "false: what the device is known to hold already is not written; the result is ok." },
        { POINT, ABOVE_POINT, "write_repeat_s", INT, MEMBER(point, write_repeat_s), RANGE(0, 86400),
          .deflt = "0", .change = ADJUST,
          .help = "What was written last is written again so often, for devices that fall back without; 0: "
                  "never." },

        /* ---- labels of a map ---- */
        { SCHEMA_LABEL, 0, "value", INT, .offset = offsetof(struct value_label, value),
          .size = sizeof(int64_t), .arg = 1, RANGE(-9007199254740992.0, 9007199254740992.0),
          .flags = SCHEMA_REQUIRED, .change = ADJUST, .example = "0",
          .help = "The value, after scale and offset." },
        { SCHEMA_LABEL, 0, "label", TEXT, .offset = offsetof(struct value_label, label),
          .size = sizeof(char *), .flags = SCHEMA_REQUIRED | SCHEMA_SHARED, .change = ADJUST,
          .example = "\"off\"", .help = "Its name." },

        /* ---- links ---- */
        { LINK, 0, "name", TEXT, MEMBER(link, name), .flags = SCHEMA_REQUIRED, .change = REPLACE,
          .example = "\"cloud\"",
          .help = "What the log calls it. Letters, digits, '.', '_', '-' and all beyond ASCII." },
        { LINK, 0, "enabled", BOOL, .deflt = "true", .flags = SCHEMA_STRUCTURE,
          .help = "false: as if this link were not written here." },
        { LINK, 0, "host", TEXT, MEMBER(link, host), .flags = SCHEMA_REQUIRED, .change = REPLACE,
          .example = "\"broker.example.com\"", .help = "Name or address of the broker." },
        { LINK, 0, "port", INT, MEMBER(link, port), RANGE(1, 65535), .deflt = "1883; 8883 with tls",
          .flags = SCHEMA_COMPUTED, .change = REPLACE, .example = "1883", .help = "Its TCP port." },
        { LINK, 0, "protocol", INT, MEMBER(link, protocol), RANGE(4, 5), .deflt = "5", .change = REPLACE,
          .help = "5: MQTT 5.0. 4: MQTT 3.1.1." },
        { LINK, 0, "tls", &schema_group, .arg = SCHEMA_TLS, .flags = SCHEMA_STRUCTURE,
          .help = "TLS. It is used when this group is there." },
        { LINK, 0, "username", TEXT, MEMBER(link, username), .change = REPLACE, .example = "\"gateway\"",
          .help = "None: anonymous." },
        { LINK, 0, "password_file", PATH, MEMBER(link, password_file), .change = REPLACE,
          .example = "\"/etc/mbgate/cloud.password\"",
          .help = "A file whose first line is the password, which others must not be able to read." },
        { LINK, 0, "client_id", TEXT, MEMBER(link, client_id), .deflt = "<gateway>", .flags = SCHEMA_COMPUTED,
          .change = REPLACE, .example = "\"mbgate\"",
          .help = "How the broker knows this link. No two of its clients may have the same." },
        { LINK, 0, "keepalive_s", INT, MEMBER(link, keepalive_s), RANGE(5, 65535), .deflt = "60",
          .change = REPLACE, .help = "The connection is tested after this long without traffic." },
        { LINK, 0, "clean_session", BOOL, MEMBER(link, clean_session), .deflt = "true", .change = REPLACE,
          .help = "Whether the broker forgets us when we are away. With false, commands given meanwhile "
                  "arrive later." },
        { LINK, 0, "session_expiry_s", INT, MEMBER(link, session_expiry_s), RANGE(0, 4294967295.0),
          .deflt = "86400", .change = REPLACE,
          .help = "How long it remembers, with clean_session = false and MQTT 5." },
        { LINK, 0, "publish", &schema_texts, MEMBER(link, publish), MEMBER_2(link, n_publish),
          .deflt = "[ \"#\" ]", .flags = SCHEMA_COMPUTED, .change = ADJUST, .example = "[ \"mbgate/#\" ]",
          .help = "Topic filters: what goes out here; the prefix is no part of it. The status topic and "
                  "answers to commands from here go out in any case: with [ ] nothing else does." },
        { LINK, 0, "subscribe", &schema_texts, MEMBER(link, subscribe), MEMBER_2(link, n_subscribe),
          .deflt = "[ ]", .flags = SCHEMA_COMPUTED, .change = ADJUST, .example = "[ \"remote/#\" ]",
          .help = "Further topic filters whose messages are taken as commands. With \"remote/#\", a message "
                  "to remote/mbgate/meter1/led/set does what one to mbgate/meter1/led/set does." },
        { LINK, 0, "prefix", TEXT, MEMBER(link, prefix), .deflt = "\"\"", .change = REPLACE,
          .help = "Stands before every topic at this broker." },
        { LINK, 0, "qos", INT, MEMBER(link, qos), RANGE(0, 2), .deflt = "1", .change = REPLACE,
          .help = "The highest quality of service used here." },
        { LINK, 0, "retain", BOOL, MEMBER(link, retain), .deflt = "true", .change = REPLACE,
          .help = "false: nothing is retained at this broker." },
        { LINK, 0, "on_change", BOOL, MEMBER(link, on_change), .deflt = "false", .change = ADJUST,
          .help = "A message that says the same as the last one of its topic does not go out." },
        { LINK, 0, "publish_on_connect", BOOL, MEMBER(link, publish_on_connect), .deflt = "true",
          .change = ADJUST, .help = "All known values go out after each connection." },
        { LINK, 0, "connect_timeout_s", INT, MEMBER(link, connect_timeout_s), RANGE(1, 300), .deflt = "10",
          .change = REPLACE, .help = "For TCP, TLS and the broker's answer together." },
        { LINK, 0, "reconnect_min_s", INT, MEMBER(link, reconnect_min_s), RANGE(1, 3600), .deflt = "1",
          .change = REPLACE, .help = "First pause before another attempt; it doubles each time." },
        { LINK, 0, "reconnect_max_s", INT, MEMBER(link, reconnect_max_s), RANGE(1, 86400), .deflt = "60",
          .change = REPLACE, .help = "Longest pause." },
        { LINK, 0, "queue_messages", INT, MEMBER(link, queue_messages), RANGE(1, 1000000), .deflt = "1000",
          .change = REPLACE,
          .help = "Messages that wait at most while the broker is away: results and past values. The newest "
                  "value "
                  "of each topic waits in any case." },
        { LINK, 0, "queue_bytes", INT, MEMBER(link, queue_bytes), RANGE(1024, 1073741824), .deflt = "1048576",
          .change = REPLACE, .help = "Memory that they take at most." },

        /* ---- tls ---- */
        { TLS, 0, "ca_file", PATH, MEMBER(tls, ca_file), .change = REPLACE,
          .example = "\"/etc/ssl/certs/ca-certificates.crt\"",
          .help = "Certificates of the authorities that are believed." },
        { TLS, 0, "ca_path", PATH, MEMBER(tls, ca_path), .deflt = "\"/etc/ssl/certs\" without ca_file",
          .flags = SCHEMA_COMPUTED, .change = REPLACE, .example = "\"/etc/ssl/certs\"",
          .help = "A folder of them." },
        { TLS, 0, "cert_file", PATH, MEMBER(tls, cert_file), .change = REPLACE,
          .example = "\"/etc/mbgate/client.crt\"",
          .help = "Our own certificate, for brokers that ask for one." },
        { TLS, 0, "key_file", PATH, MEMBER(tls, key_file), .change = REPLACE,
          .example = "\"/etc/mbgate/client.key\"",
          .help = "Its key, which others must not be able to read." },
        { TLS, 0, "version", TEXT, MEMBER(tls, version), .words = tls_versions, .deflt = "\"tlsv1.2\"",
          .change = REPLACE, .help = "The oldest version that is spoken." },
        { TLS, 0, "ciphers", TEXT, MEMBER(tls, ciphers), .change = REPLACE, .example = "\"HIGH\"",
          .help = "As for openssl-ciphers(1); none: OpenSSL's choice." },
        { TLS, 0, "alpn", TEXT, MEMBER(tls, alpn), .change = REPLACE, .example = "\"mqtt\"",
          .help = "Application protocol to ask for." },
        { TLS, 0, "insecure", BOOL, MEMBER(tls, insecure), .deflt = "false", .change = REPLACE,
          .help = "Do not check the host name in the certificate. For tests." },

        /* ---- broker ---- */
        { BROKER, 0, "listeners", &schema_list, .arg = SCHEMA_LISTENER, .flags = SCHEMA_STRUCTURE,
          .help = "Where it listens, one group each. Without this list, one listener with every default." },
        { BROKER, 0, "password_file", PATH, MEMBER(broker, password_file), .change = ADJUST,
          .example = "\"/etc/mbgate/passwd\"",
          .help = "Users: lines made by mbgated --hash-password or mosquitto_passwd(1). Others must not be "
                  "able to read it: run chmod o-rwx on it. A line with nothing behind the colon is a user "
                  "without a password. None: anybody, from this machine only unless anonymous = true says "
                  "otherwise." },
        { BROKER, 0, "acl_file", PATH, MEMBER(broker, acl_file), .change = ADJUST,
          .example = "\"/etc/mbgate/acl\"",
          .help = "Who may do what, in the format of mosquitto's acl_file. None: everything, but for writing "
                  "to $SYS." },
        { BROKER, 0, "prefix", TEXT, MEMBER(broker, prefix), .deflt = "\"\"", .change = ADJUST,
          .help = "Stands before every topic of the gateway at this broker." },
        { BROKER, 0, "max_clients", INT, MEMBER(broker, max_clients), RANGE(1, 100000), .deflt = "4096",
          .change = ADJUST, .help = "More are not let in." },
        { BROKER, 0, "max_clients_per_address", INT, MEMBER(broker, max_clients_per_address),
          RANGE(0, 100000), .deflt = "0", .change = ADJUST,
          .help = "More from one address are not let in; 0: no limit." },
        { BROKER, 0, "max_sessions", INT, MEMBER(broker, max_sessions), RANGE(1, 1000000), .deflt = "10000",
          .change = ADJUST,
          .help = "Sessions, whether their client is there or not. For one more that of a client that is "
                  "away ends: of the user (or, without a proven name, the address) with the most sessions "
                  "the one that would end first." },
        { BROKER, 0, "max_packet_bytes", INT, MEMBER(broker, max_packet_bytes), RANGE(256, 268435455),
          .deflt = "4194304", .change = ADJUST,
          .help = "A longer packet ends the connection that it comes on. Told to MQTT 5 clients." },
        { BROKER, 0, "max_topic_bytes", INT, MEMBER(broker, max_topic_bytes), RANGE(1, 65535),
          .deflt = "65535", .change = ADJUST, .help = "Longer topics and filters are refused." },
        { BROKER, 0, "max_topic_levels", INT, MEMBER(broker, max_topic_levels), RANGE(1, 200), .deflt = "200",
          .change = ADJUST, .help = "Topics and filters with more levels are refused." },
        { BROKER, 0, "max_subscriptions", INT, MEMBER(broker, max_subscriptions), RANGE(1, 10000000),
          .deflt = "100000", .change = ADJUST, .help = "Subscriptions of all clients together." },
        { BROKER, 0, "max_subscriptions_per_client", INT, MEMBER(broker, max_subscriptions_per_client),
          RANGE(1, 1000000), .deflt = "1000", .change = ADJUST, .help = "Subscriptions of one client." },
        { BROKER, 0, "max_client_bytes", INT, MEMBER(broker, max_client_bytes), RANGE(1024, 1073741824),
          .deflt = "1048576", .change = ADJUST,
          .help = "Memory that the texts of one client take at most: its id and user name, topic filters, "
                  "topic "
                  "aliases and will. What is more is refused." },
        { BROKER, 0, "max_client_bytes_total", INT, MEMBER(broker, max_client_bytes_total),
          RANGE(65536, 2147483647), .deflt = "67108864", .change = ADJUST,
          .help = "Memory that the texts of all clients take at most; 4096 bytes each may have in any "
                  "case." },
        { BROKER, 0, "max_inflight", INT, MEMBER(broker, max_inflight), RANGE(1, 1024), .deflt = "20",
          .change = ADJUST,
          .help = "Messages of QoS 1 and 2 that are on their way to a client, or from it, at a time." },
        { BROKER, 0, "max_queued_messages", INT, MEMBER(broker, max_queued_messages), RANGE(1, 1000000),
          .deflt = "1000", .change = ADJUST,
          .help = "Messages that wait for one client; further ones are dropped and counted." },
        { BROKER, 0, "max_queued_bytes", INT, MEMBER(broker, max_queued_bytes), RANGE(1024, 1073741824),
          .deflt = "4194304", .change = ADJUST, .help = "Memory that they take at most." },
        { BROKER, 0, "max_queued_bytes_total", INT, MEMBER(broker, max_queued_bytes_total),
          RANGE(65536, 2147483647), .deflt = "67108864", .change = ADJUST,
          .help = "Memory that the waiting messages of all clients take at most." },
        { BROKER, 0, "max_retained_messages", INT, MEMBER(broker, max_retained_messages), RANGE(0, 10000000),
          .deflt = "20000", .change = ADJUST,
          .help = "Retained messages; further topics are not retained. 0: none is." },
        { BROKER, 0, "max_retained_bytes", INT, MEMBER(broker, max_retained_bytes), RANGE(0, 2147483647),
          .deflt = "33554432", .change = ADJUST, .help = "Memory that they take at most." },
        { BROKER, 0, "max_topic_alias", INT, MEMBER(broker, max_topic_alias), RANGE(0, 16), .deflt = "10",
          .change = ADJUST, .help = "Topic aliases of a connection, each way." },
        { BROKER, 0, "max_keepalive_s", INT, MEMBER(broker, max_keepalive_s), RANGE(1, 65535),
          .deflt = "65535", .change = ADJUST,
          .help = "MQTT 5 clients that ask for a longer one, or none, are given this." },
        { BROKER, 0, "max_session_expiry_s", &schema_expiry, MEMBER(broker, max_session_expiry_s),
          RANGE(0, 4294967295.0), .words = never, .deflt = "\"never\"", .change = ADJUST,
          .help = "How long a session outlives its connection at most, also when its client never ends it." },
        { BROKER, 0, "connect_timeout_s", INT, MEMBER(broker, connect_timeout_s), RANGE(1, 300),
          .deflt = "10", .change = ADJUST, .help = "A connection that has sent no CONNECT until then ends." },
        { BROKER, 0, "stall_timeout_s", INT, MEMBER(broker, stall_timeout_s), RANGE(1, 86400), .deflt = "60",
          .change = ADJUST,
          .help = "A client that takes nothing of what waits for it so long is disconnected." },
        { BROKER, 0, "packet_timeout_s", INT, MEMBER(broker, packet_timeout_s), RANGE(1, 86400),
          .deflt = "60", .change = ADJUST,
          .help = "A packet that has begun and of which nothing more comes so long ends the connection." },
        { BROKER, 0, "sys_interval_s", INT, MEMBER(broker, sys_interval_s), RANGE(0, 86400), .deflt = "10",
          .change = ADJUST, .help = "Between two publications of $SYS/broker/…; 0: never." },
        { BROKER, 0, "durability", WORD, MEMBER(broker, durability), .words = durabilities,
          .deflt = "\"interval\"", .change = ADJUST,
          .help = "When retained messages, sessions and what waits for them are on the disk. sync: before "
                  "they "
                  "are acknowledged; interval: once in store_interval_ms; none: at an orderly stop only." },
        { BROKER, 0, "store_interval_ms", INT, MEMBER(broker, store_interval_ms), RANGE(10, 3600000),
          .deflt = "1000", .change = ADJUST, .help = "What a power cut costs at most, with interval." },
        { BROKER, 0, "store_directory", &schema_folder, MEMBER(broker, store_directory),
          .deflt = "$STATE_DIRECTORY, else \"/var/lib/mbgate\"", .flags = SCHEMA_COMPUTED, .change = REPLACE,
          .example = "\"/var/lib/mbgate\"", .help = "Where that is kept. Empty: nowhere." },
        { BROKER, 0, "store_max_bytes", INT, MEMBER(broker, store_max_bytes), RANGE(1048576, 4294967295.0),
          .deflt = "268435456", .change = REPLACE, .help = "How large it grows at most." },

        /* ---- listeners ---- */
        { LISTENER, 0, "address", TEXT, MEMBER(listener, address), .deflt = "\"\"", .change = REPLACE,
          .help = "An IPv4 or IPv6 address of this machine, \"0.0.0.0\" and \"::\" for all; the path of a "
                  "Unix socket; or systemd:NAME for a socket that a unit mbgated.socket opens. Empty: all "
                  "addresses, but only 127.0.0.1 and ::1 while there is neither a user nor anonymous = "
                  "true." },
        { LISTENER, 0, "port", INT, MEMBER(listener, port), RANGE(1, 65535),
          .deflt = "1883; 1884 with websocket; 8883 and 8884 with tls", .flags = SCHEMA_COMPUTED,
          .change = REPLACE, .example = "1883", .help = "TCP port." },
        { LISTENER, 0, "protocol", WORD, MEMBER(listener, websocket), .words = listener_protocols,
          .deflt = "\"mqtt\"", .change = REPLACE, .help = "MQTT in TCP, or in WebSocket." },
        { LISTENER, 0, "tls", &schema_group, .arg = SCHEMA_SERVER, .flags = SCHEMA_STRUCTURE,
          .help = "TLS. It is used when this group is there." },
        { LISTENER, 0, "max_clients", INT, MEMBER(listener, max_clients), RANGE(0, 100000), .deflt = "0",
          .change = ADJUST, .help = "More are not let in here; 0: as many as the broker takes." },
        { LISTENER, ON_BROKER, "anonymous", &schema_said, MEMBER(listener, options.anonymous),
          MEMBER_2(listener, options.anonymous_is_said), .deflt = "false with users, else true",
          .flags = SCHEMA_COMPUTED, .change = ADJUST, .example = "true",
          .help = "Clients without a user name are let in. Where this does not stand and there are no users, "
                  "they are, but from this machine only." },
        { LISTENER, ON_BROKER, "session", WORD, MEMBER(listener, options.session), .words = sessions,
          .deflt = "\"client\"", .change = ADJUST,
          .help = "Whether sessions outlive their connection: as the client asks, none (clean), or every one "
                  "(keep)." },
        { LISTENER, ON_BROKER, "on_change", BOOL, MEMBER(listener, options.on_change), .deflt = "false",
          .change = ADJUST, .help = "A payload that its topic has already is not sent on again." },
        { LISTENER, ON_BROKER, "remember", BOOL, MEMBER(listener, options.remember), .deflt = "false",
          .change = ADJUST,
          .help = "The last payload of every topic is kept, retained or not, and given to who subscribes, "
                  "beside what else is retained." },
        { LISTENER, ON_BROKER, "strip_retain", BOOL, MEMBER(listener, options.strip_retain), .deflt = "false",
          .change = ADJUST, .help = "Nothing goes out with the retain flag." },
        { LISTENER, ON_BROKER, "publish_on_connect", &schema_texts,
          MEMBER(listener, options.publish_on_connect), MEMBER_2(listener, options.n_publish_on_connect),
          .deflt = "[ ]", .flags = SCHEMA_COMPUTED, .change = ADJUST, .example = "[ \"#\" ]",
          .help = "Topic filters: what is known of these goes to each client that connects, subscribed or "
                  "not." },
        { LISTENER, ON_BROKER, "publish_delay_ms", INT, MEMBER(listener, options.publish_delay_ms),
          RANGE(0, 3600000), .deflt = "2000", .change = ADJUST, .help = "So long after the connection." },
        { LISTENER, ON_BROKER, "publish_pause_ms", INT, MEMBER(listener, options.publish_pause_ms),
          RANGE(0, 60000), .deflt = "10", .change = ADJUST, .help = "And so long between two messages." },
        { LISTENER, ON_BROKER, "ignore", &schema_texts, MEMBER(listener, options.ignore),
          MEMBER_2(listener, options.n_ignore), .deflt = "[ ]", .flags = SCHEMA_COMPUTED, .change = ADJUST,
          .example = "[ \"debug/#\" ]",
          .help = "Topic filters: what clients publish to these goes nowhere." },
        { LISTENER, ON_BROKER, "trace", BOOL, MEMBER(listener, options.trace), .deflt = "false",
          .change = ADJUST, .help = "Each message of its clients is logged, without the payload." },

        /* ---- tls of a listener ---- */
        { SERVER, 0, "cert_file", PATH, MEMBER(listener, cert_file), .flags = SCHEMA_REQUIRED,
          .change = ADJUST, .example = "\"/etc/mbgate/server.crt\"",
          .help = "Our certificate, and behind it those up to the authority. Read again at a reload." },
        { SERVER, 0, "key_file", PATH, MEMBER(listener, key_file), .flags = SCHEMA_REQUIRED, .change = ADJUST,
          .example = "\"/etc/mbgate/server.key\"",
          .help = "Its key, which others must not be able to read." },
        { SERVER, 0, "ca_file", PATH, MEMBER(listener, ca_file), .change = ADJUST,
          .example = "\"/etc/mbgate/ca.crt\"",
          .help = "Authorities that sign certificates of clients. None: clients are not asked for one." },
        { SERVER, 0, "version", TEXT, MEMBER(listener, tls_version), .words = tls_versions,
          .deflt = "\"tlsv1.2\"", .change = ADJUST, .help = "The oldest version that is spoken." },
        { SERVER, 0, "ciphers", TEXT, MEMBER(listener, ciphers), .change = ADJUST, .example = "\"HIGH\"",
          .help = "Of TLS 1.2, as for openssl-ciphers(1); none: OpenSSL's choice." },
        { SERVER, 0, "require_certificate", BOOL, MEMBER(listener, require_certificate), .deflt = "false",
          .change = ADJUST, .help = "Clients without a certificate signed by ca_file are not let in." },
        { SERVER, 0, "certificate_is_user", BOOL, MEMBER(listener, certificate_is_user), .deflt = "false",
          .change = ADJUST, .help = "The common name in it is the user name, and no password is asked for." },

        /* ---- share of a bus ---- */
        { SHARE, 0, "listen", TEXT, MEMBER(share, listen), .flags = SCHEMA_REQUIRED, .change = ADJUST,
          .example = "\"127.0.0.1:1502\"",
          .help = "An IPv4 or IPv6 address of this machine, and a port, 502 without one: \"127.0.0.1:1502\", "
                  "\"[::1]:1502\"; \"0.0.0.0:1502\" and \"[::]:1502\" are all addresses. Where others than "
                  "this machine can reach it, the list allow is required." },
        { SHARE, 0, "max_age_ms", INT, MEMBER(share, max_age_ms), RANGE(0, 3600000), .deflt = "0",
          .change = ADJUST,
          .help = "A read is answered at once, without the line, when all it asks for was read by anybody "
                  "within this time and nothing was written to that unit since; 0: every request goes to the "
                  "device." },
        { SHARE, 0, "max_clients", INT, MEMBER(share, max_clients), RANGE(1, 32), .deflt = "8",
          .change = ADJUST, .help = "Connections at a time; more are closed at once." },
        { SHARE, 0, "max_requests", INT, MEMBER(share, max_requests), RANGE(1, 64), .deflt = "16",
          .change = ADJUST,
          .help = "Requests of one connection that wait; further ones are answered with exception 6." },
        { SHARE, 0, "idle_timeout_s", INT, MEMBER(share, idle_timeout_s), RANGE(1, 86400), .deflt = "300",
          .change = ADJUST,
          .help = "A connection without a request, or that takes no reply, so long is closed." },
        { SHARE, 0, "request_timeout_ms", INT, MEMBER(share, request_timeout_ms), RANGE(10, 60000),
          .deflt = "1000", .change = ADJUST,
          .help = "A request whose turn on the line has not come until then is answered with exception 6. "
                  "Best "
                  "a little less than masters wait." },
        { SHARE, 0, "response_timeout_ms", INT, MEMBER(share, response_timeout_ms), RANGE(10, 60000),
          .deflt = "500", .change = ADJUST,
          .help = "For units that are no device of this bus; devices have their own." },
        { SHARE, 0, "unit_map", TEXT, MEMBER(share, unit_map), .deflt = "\"\"", .change = ADJUST,
          .help = "Units that masters call differently, as in \"101:1,110-119:10\": who asks for 101 gets 1, "
                  "for "
                  "110 to 119 gets 10 to 19." },
        { SHARE, 0, "allow", &schema_list, .arg = SCHEMA_ALLOW, .flags = SCHEMA_STRUCTURE,
          .help = "What masters may ask for, one group for each kind of them. A request is carried out when "
                  "one group whose address fits allows all of it. Without this list: everything, from this "
                  "machine." },

        /* ---- allow of a share ---- */
        { ALLOW, 0, "address", TEXT, MEMBER(allow, address), .flags = SCHEMA_REQUIRED, .change = ADJUST,
          .example = "\"192.0.2.0/24\"",
          .help = "Of the masters: an IPv4 or IPv6 address or network. \"0.0.0.0/0\" is all of IPv4, "
                  "\"::/0\" "
                  "everybody. Who fits no group is not let in." },
        { ALLOW, 0, "units", TEXT, MEMBER(allow, units), .deflt = "\"1-247\"; \"0-255\" on tcp:// ports",
          .flags = SCHEMA_COMPUTED, .change = ADJUST, .example = "\"1,2,5-18\"",
          .help = "Unit ids, as masters call them. 0 writes to all devices at once. Others: exception 10." },
        { ALLOW, 0, "functions", TEXT, MEMBER(allow, functions),
          .deflt = "\"1-127\"; with registers, those that name them: \"1-6,15,16,22,23\"",
          .flags = SCHEMA_COMPUTED, .change = ADJUST, .example = "\"1-4\"",
          .help = "Function codes. \"1-4\" only reads. Others: exception 1." },
        { ALLOW, 0, "registers", TEXT, MEMBER(allow, registers), .deflt = "\"0-65535\"",
          .flags = SCHEMA_COMPUTED, .change = ADJUST, .example = "\"0-99,1000-1999\"",
          .help = "Registers and coils, counted from 0, that requests may touch. Others: exception 2." },
};

const size_t schema_n_keys = ARRAY_SIZE(schema_keys);

const char *schema_section_name(enum schema_section section)
{
        static const char *const names[SCHEMA_SECTIONS] = {
                "the file", "gateway", "bus",      "device", "point", "label", "link",
                "tls",      "broker",  "listener", "tls",    "share", "allow",
        };

        return names[section];
}

const struct schema_key *schema_find(enum schema_section section, const char *name)
{
        for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                if (schema_stands_in(k, section) && strcmp(k->name, name) == 0)
                        return k;
        }
        return NULL;
}

/* How far a name is from a key: one that begins with the other is near, as "baudrate" is to "baud". */
static unsigned schema_distance(const char *key, const char *name)
{
        size_t n = MBGATE_MIN(strlen(key), strlen(name));

        return n >= 3 && strncmp(key, name, n) == 0 ? 1 : text_distance(key, name);
}

const char *schema_suggest(enum schema_section section, const char *name)
{
        unsigned best = 1 + (unsigned)strlen(name) / 3; /* farther is another word */
        const char *found = NULL;

        for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                unsigned distance = schema_stands_in(k, section) ? schema_distance(k->name, name) : best + 1;

                if (distance < best || (distance == best && !found)) {
                        best = distance;
                        found = k->name;
                }
        }
        return found;
}

bool schema_is_idle(const struct schema_key *k, const void *object)
{
        const struct conf_bus *bus = object;
        const struct conf_point *point = object;

        if (k->flags & SCHEMA_SERIAL)
                return bus->kind != CONF_PORT_SERIAL;
        if (k->flags & SCHEMA_PACED)
                return bus->kind == CONF_PORT_TCP;
        if (k->flags & SCHEMA_BETWEEN && point->device->send_interval_s > 0)
                return true;
        return k->flags & SCHEMA_ON_CHANGE && point->publish == CONF_PUBLISH_ALWAYS;
}

/* A default as the tree that a file with it would give. */
static struct tree schema_default_tree(const char *text, char buffer[64])
{
        size_t n = strlen(text);

        if (*text == '"') {
                memcpy(buffer, text + 1, n - 2);
                buffer[n - 2] = '\0';
                return (struct tree){ .kind = TREE_TEXT, .text = buffer };
        }
        if (*text == 't' || *text == 'f')
                return (struct tree){ .kind = TREE_BOOL, .b = *text == 't' };
        if (strchr(text, '.'))
                return (struct tree){ .kind = TREE_REAL, .r = strtod(text, NULL) };
        return (struct tree){ .kind = TREE_INT, .i = strtoll(text, NULL, 10) };
}

int schema_set_defaults(struct loader *l, enum schema_section section, void *object)
{
        for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                char buffer[64];
                struct tree value;
                int r;

                if (k->section != section || !k->deflt || (k->flags & (SCHEMA_COMPUTED | SCHEMA_STRUCTURE)))
                        continue;
                value = schema_default_tree(k->deflt, buffer);
                r = k->type->set(l, k, &value, object);
                if (r < 0)
                        return r;
        }
        return 0;
}

enum conf_change schema_compare(enum schema_section section, const void *a, const void *b)
{
        enum conf_change change = CONF_SAME;

        for (const struct schema_key *k = schema_keys; k < schema_keys + schema_n_keys; k++) {
                if (k->section == section && k->type->equal && !k->type->equal(k, a, b))
                        change = MBGATE_MAX(change, k->change);
        }
        return change;
}
