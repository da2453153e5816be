// SPDX-License-Identifier: MIT
/*
 * message.c: HTTP/1 from bytes and to bytes.
 *
 * If two programs read the same bytes differently, a body for the one is the
 * next request for the other (request smuggling). So this parser is strict: it
 * accepts what RFC 9112 lets a sender send, and refuses what another parser
 * might read in another way, in responses and in requests:
 *
 *   - lines end with CR LF. A CR or LF alone, which ends a line for some
 *     parsers, and all other control characters are refused, in values too;
 *   - no folded lines, and no space before the colon: some parsers see a field
 *     there, and others none;
 *   - Content-Length is digits, once. Equal repetitions are refused, too: they
 *     come from two programs that do not know of one another;
 *   - Transfer-Encoding is `chunked`, once, in HTTP/1.1, and never beside a
 *     Content-Length. Requests of coil allow no other coding. In a request
 *     there is no HTAB in either field;
 *   - no body in a CONNECT: some parsers read it as the body, and others as the
 *     first bytes of the tunnel;
 *   - a chunk size is hexadecimal digits, then `;` or CR LF, and chunk data is
 *     followed by CR LF and by nothing else. White space is allowed before the
 *     `;` (BWS), and in a response before CR LF: some servers pad the size.
 *
 * There is one exception, which is common and harmless: a status line may end
 * after the number, without the space and the reason.
 *
 * A client that talks directly to one server may be less strict: no proxy reads
 * the same bytes. limits->lenient accepts in responses, as RFC 9112 allows: a
 * line that ends with LF alone; a folded line, whose line ends count as white
 * space; white space before the colon; a Content-Length that is repeated with
 * an equal value; and Transfer-Encoding in HTTP/1.0 or beside a Content-Length,
 * which it overrides. After the last two the connection is not kept.
 *
 * The scanner of heads goes from left to right and can stop after any byte:
 *
 *   response  START -> REASON -----------.
 *   request   START -> TARGET -> VERSION -+-> LINE -> NAME -> SPACE -> VALUE
 *                                              |  ^                      |
 *                                             END '----------------------'
 *
 * It goes on where it stopped. Only parts of fixed length, a version or a
 * status, are read again until they are whole.
 *
 * Invariant: the result depends on the bytes and not on how they were cut. An
 * error is found at the first byte that proves it; in a value that may be
 * folded, when the next line does not continue it. This holds for the limits,
 * too: each line must end before its wall, and a line that reaches the wall is
 * an error whether more bytes have come or not.
 *
 * Bodies have a state machine of their own (body_step), which reads framing
 * byte by byte. Payload, and parts of the framing that may be long, are skipped
 * as blocks.
 */
#include "message.h"

#include <coil/error.h>
#include <errno.h>
#include <limits.h>

const struct coili_http_limits coili_http_limits_default = {
    .head = 65536,
    .trailers = 8192,
    .line = 8190,
    .chunk_line = 1024,
    .fields = 128,
};

const char *coili_http_fault_text(int fault)
{
    // One string, not an array: pointers would have to be relocated.
    static const char words[] =
#define COILI_HTTP_FAULT(name, text) text "\0"
        COILI_HTTP_FAULTS(COILI_HTTP_FAULT);
#undef COILI_HTTP_FAULT
    const char *at = words;

    if (fault < 0 || fault >= COILI_HTTP_FAULT_COUNT)
        return "";
    while (fault-- > 0)
        at += strlen(at) + 1;
    return at;
}

static int fault_error(enum coili_http_fault fault)
{
    switch (fault) {
    case COILI_HTTP_FAULT_LINE_LONG:
    case COILI_HTTP_FAULT_HEAD_LARGE:
    case COILI_HTTP_FAULT_FIELDS_MANY:
    case COILI_HTTP_FAULT_CHUNK_LINE_LONG:
    case COILI_HTTP_FAULT_CHUNK_NOISE:
    case COILI_HTTP_FAULT_TRAILERS_LARGE:
        return COIL_ELIMIT;
    case COILI_HTTP_FAULT_TRUNCATED:
        return COIL_EINCOMPLETE;
    default:
        return COIL_EPROTOCOL;
    }
}

/* --- Characters ----------------------------------------------------------*/

enum {
    IS_TOKEN = 1,   // methods and field names
    IS_VALUE = 2,   // values and reasons: HTAB and bytes above 127 too
    IS_TARGET = 4,  // visible ASCII but '#': a fragment is never sent
    IS_HOST = 8     // a host and a port, as RFC 3986 spells them
};

#define v IS_VALUE
#define t (IS_VALUE | IS_TARGET)
#define h (IS_VALUE | IS_TARGET | IS_HOST)
#define n (IS_VALUE | IS_TOKEN)
#define m (IS_VALUE | IS_TARGET | IS_TOKEN)
#define A (IS_VALUE | IS_TARGET | IS_TOKEN | IS_HOST)
static const uint8_t classes[256] = {
    0, 0, 0, 0, 0, 0, 0, 0, 0, v, 0, 0, 0, 0, 0, 0,  // HTAB
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,  //
    v, A, t, n, A, A, A, A, h, h, A, A, h, A, A, t,  //  !"#$%&'()*+,-./
    A, A, A, A, A, A, A, A, A, A, h, h, t, h, t, t,  // 0123456789:;<=>?
    t, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A,  // @ABCDEFGHIJKLMNO
    A, A, A, A, A, A, A, A, A, A, A, h, t, h, m, A,  // PQRSTUVWXYZ[\]^_
    m, A, A, A, A, A, A, A, A, A, A, A, A, A, A, A,  // `abcdefghijklmno
    A, A, A, A, A, A, A, A, A, A, A, t, m, t, A, 0,  // pqrstuvwxyz{|}~
    v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v,  // obs-text
    v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v,  //
    v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v,  //
    v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v,  //
    v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v,  //
    v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v,  //
    v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v,  //
    v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v   //
};
#undef v
#undef t
#undef h
#undef n
#undef m
#undef A

static bool is(char c, int class)
{
    return classes[(unsigned char)c] & class;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t';
}

static const char *skip_space(const char *at, const char *end)
{
    while (at < end && is_space(*at))
        at++;
    return at;
}

/* White space in a value, which may be folded. */
static bool is_white(char c)
{
    return is_space(c) || c == '\r' || c == '\n';
}

static const char *skip(const char *at, const char *end, int class)
{
    while (at < end && is(*at, class))
        at++;
    return at;
}

/* The first byte of a loaded word that is not 0; or an earlier one. */
static int first_byte(uint64_t word)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    return __builtin_ctzll(word) / 8;
#else
    (void)word;
    return 0;
#endif
}

/*
 * skip(IS_VALUE), eight bytes at a time, since most bytes of a head are in
 * values. In the subtractions a byte below 0x20, and a DEL that has become 0,
 * borrow and set their top bit. They may set that of later bytes, too, but never
 * of an earlier one, so the first is exact. From there skip() looks at the bytes
 * one by one: it accepts a HTAB and stops at the others.
 */
static const char *skip_value(const char *at, const char *end)
{
    const uint64_t ones = UINT64_MAX / 255;

    while (end - at >= 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);

        uint64_t low = word - ones * 0x20;
        uint64_t del = (word ^ ones * 0x7f) - ones;
        uint64_t stops = (low | del) & ~word & ones * 0x80;
        if (stops) {
            at += first_byte(stops);
            break;
        }
        at += 8;
    }
    return skip(at, end, IS_VALUE);
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_same(char a, char b)
{
    return a == b || lower(a) == lower(b);
}

bool coili_http_same(struct coili_http_text a, struct coili_http_text b)
{
    size_t i = 0;

    if (a.len != b.len)
        return false;
    while (i < a.len && is_same(a.at[i], b.at[i]))
        i++;
    return i == a.len;
}

/* Cut the first item off a comma-separated list; false once it is empty. */
static bool next_item(struct coili_http_text *list,
                      struct coili_http_text *item)
{
    if (!list->len)
        return false;

    const char *at = list->at, *end = at + list->len;
    const char *comma = memchr(at, ',', list->len);
    list->at = comma ? comma + 1 : end;
    list->len = (size_t)(end - list->at);
    if (comma)
        end = comma;

    while (at < end && is_white(*at))
        at++;
    while (at < end && is_white(end[-1]))
        end--;
    *item = (struct coili_http_text){ at, (size_t)(end - at) };
    return true;
}

/* --- Heads: what the fields mean -----------------------------------------*/

enum {
    SEEN_HOST = 1,
    SEEN_LENGTH = 2,
    SEEN_CODING = 4,
    SEEN_CLOSE = 8,
    SEEN_KEEP_ALIVE = 16,
    SEEN_UPGRADE = 32,   // the field
    SEEN_SWITCH = 64,    // `upgrade` in Connection
    SEEN_KEEP_TIME = 128 // `timeout` in Keep-Alive
};

/* The value must be digits only, and fit into an int64_t. */
static enum coili_http_fault read_length(struct coili_http_text value,
                                         int64_t *length)
{
    *length = 0;
    if (!value.len)
        return COILI_HTTP_FAULT_LENGTH;
    for (size_t i = 0; i < value.len; i++) {
        int digit = value.at[i] - '0';
        if (digit < 0 || digit > 9)
            return COILI_HTTP_FAULT_LENGTH;
        if (*length > (INT64_MAX - digit) / 10)
            return COILI_HTTP_FAULT_LENGTH_OVERFLOW;
        *length = *length * 10 + digit;
    }
    return COILI_HTTP_FAULT_NONE;
}

static enum coili_http_fault note_length(struct coili_http_head *head,
                                         struct coili_http_text value)
{
    int64_t length;
    enum coili_http_fault fault;

    if (head->seen & SEEN_LENGTH && !head->lenient)
        return COILI_HTTP_FAULT_LENGTH_TWICE;
    fault = read_length(value, &length);
    if (fault)
        return fault;
    if (head->seen & SEEN_LENGTH && head->length != length)
        return COILI_HTTP_FAULT_LENGTH_TWICE;
    head->seen |= SEEN_LENGTH;
    head->length = length;
    return COILI_HTTP_FAULT_NONE;
}

/* "5" or, if the head is lenient, "5, 5". */
static enum coili_http_fault note_lengths(struct coili_http_head *head,
                                          struct coili_http_text value)
{
    struct coili_http_text item;
    enum coili_http_fault fault;

    if (!head->lenient || !memchr(value.at, ',', value.len))
        return note_length(head, value);
    if (value.at[value.len - 1] == ',')
        return COILI_HTTP_FAULT_LENGTH;
    do {
        next_item(&value, &item);
        fault = note_length(head, item);
    } while (!fault && value.len);
    return fault;
}

static enum coili_http_fault note_coding(struct coili_http_head *head,
                                         struct coili_http_text value)
{
    if (head->seen & SEEN_CODING)
        return COILI_HTTP_FAULT_CODING_TWICE;
    if (!coili_http_text_is(value, "chunked"))
        return COILI_HTTP_FAULT_CODING;
    head->seen |= SEEN_CODING;
    return COILI_HTTP_FAULT_NONE;
}

static void note_connection(struct coili_http_head *head,
                            struct coili_http_text value)
{
    struct coili_http_text item;

    while (next_item(&value, &item)) {
        if (coili_http_text_is(item, "close"))
            head->seen |= SEEN_CLOSE;
        else if (coili_http_text_is(item, "keep-alive"))
            head->seen |= SEEN_KEEP_ALIVE;
        else if (coili_http_text_is(item, "upgrade"))
            head->seen |= SEEN_SWITCH;
    }
}

/*
 * "timeout=5, max=100": how long the peer keeps an idle connection. Unknown
 * parameters are skipped. The shortest of several time-outs is used.
 */
static void note_keep_alive(struct coili_http_head *head,
                            struct coili_http_text value)
{
    static const char timeout[] = "timeout=";
    const size_t n = sizeof timeout - 1;
    struct coili_http_text item;

    while (next_item(&value, &item)) {
        struct coili_http_text name = { item.at, n };
        uint32_t seconds = 0;
        size_t i = n;

        if (item.len <= n || !coili_http_text_is(name, timeout))
            continue;
        for (; i < item.len && item.at[i] >= '0' && item.at[i] <= '9'; i++)
            if (seconds < 100000000)
                seconds = seconds * 10 + (uint32_t)(item.at[i] - '0');
        if (i == item.len &&
            (!(head->seen & SEEN_KEEP_TIME) || seconds < head->keep_seconds)) {
            head->keep_seconds = seconds;
            head->seen |= SEEN_KEEP_TIME;
        }
    }
}

static enum coili_http_fault note_host(struct coili_http_head *head,
                                       struct coili_http_text value)
{
    const char *end = value.at + value.len;

    if (head->status)
        return COILI_HTTP_FAULT_NONE;
    if (head->seen & SEEN_HOST)
        return COILI_HTTP_FAULT_HOST_TWICE;
    if (skip(value.at, end, IS_HOST) != end)
        return COILI_HTTP_FAULT_HOST;
    head->seen |= SEEN_HOST;
    return COILI_HTTP_FAULT_NONE;
}

/*
 * HTAB is white space around a value, but not in every parser: with "chunked"
 * and a HTAB llhttp 8.1 reads the body until the peer closes. So no HTAB is
 * accepted in the fields of a request that decide the framing.
 */
static bool has_tab(const struct coili_http_head *head,
                    const struct coili_http_field *field)
{
    uint32_t colon = field->name + field->name_len;

    return !head->status &&
           memchr(head->bytes + colon, '\t', head->line - colon);
}

/*
 * Note a field that means something for the message. Comparing the length first
 * is enough for most others.
 */
static enum coili_http_fault note_field(struct coili_http_head *head,
                                        const struct coili_http_field *field)
{
    struct coili_http_text name = coili_http_name(head, field);
    struct coili_http_text value = coili_http_value(head, field);

    switch (name.len) {
    case sizeof "Host" - 1:
        if (coili_http_text_is(name, "Host"))
            return note_host(head, value);
        break;
    case sizeof "Upgrade" - 1:
        // Without a protocol's name a request asks for no upgrade.
        if (coili_http_text_is(name, "Upgrade") && (value.len || head->status))
            head->seen |= SEEN_UPGRADE;
        break;
    case sizeof "Connection" - 1:
        if (coili_http_text_is(name, "Connection"))
            note_connection(head, value);
        else if (coili_http_text_is(name, "Keep-Alive"))
            note_keep_alive(head, value);
        break;
    case sizeof "Content-Length" - 1:
        if (coili_http_text_is(name, "Content-Length"))
            return has_tab(head, field) ? COILI_HTTP_FAULT_LENGTH
                                        : note_lengths(head, value);
        break;
    case sizeof "Transfer-Encoding" - 1:
        if (coili_http_text_is(name, "Transfer-Encoding"))
            return has_tab(head, field) ? COILI_HTTP_FAULT_CODING
                                        : note_coding(head, value);
        break;
    default:
        break;
    }
    return COILI_HTTP_FAULT_NONE;
}

static bool is_connect(struct coili_http_text method)
{
    return method.len == 7 && !memcmp(method.at, "CONNECT", 7);
}

static enum coili_http_fault check_framing(struct coili_http_head *head)
{
    bool old = head->seen & SEEN_CODING && !head->minor;
    bool both = head->seen & SEEN_CODING && head->seen & SEEN_LENGTH;

    if (head->lenient && (old || both)) {
        head->seen |= SEEN_CLOSE;
        head->seen &= (uint8_t)~SEEN_LENGTH;
    } else if (old) {
        return COILI_HTTP_FAULT_CODING_OLD;
    } else if (both) {
        return COILI_HTTP_FAULT_CODING_LENGTH;
    }
    if (!head->status && head->minor && !(head->seen & SEEN_HOST))
        return COILI_HTTP_FAULT_HOST_MISSING;
    if (is_connect(coili_http_method(head)) &&
        head->seen & (SEEN_CODING | SEEN_LENGTH))
        return COILI_HTTP_FAULT_CONNECT_BODY;
    return COILI_HTTP_FAULT_NONE;
}

/* 101 without the name of a protocol in Upgrade switches to none. */
static bool is_upgrade(const struct coili_http_head *head,
                       enum coili_http_to to)
{
    const uint8_t both = SEEN_UPGRADE | SEEN_SWITCH;

    if (!head->status)
        return (head->seen & both) == both ||
               is_connect(coili_http_method(head));
    if (to == COILI_HTTP_TO_CONNECT)
        return head->status / 100 == 2;
    return head->status == 101 && head->seen & SEEN_UPGRADE;
}

/* Responses that have no body, whatever their fields are. */
static bool is_bodiless(const struct coili_http_head *head,
                        enum coili_http_to to)
{
    return to == COILI_HTTP_TO_HEAD || head->upgrade || head->status < 200 ||
           head->status == 204 || head->status == 304;
}

/* RFC 9112 6.3. */
static enum coili_http_body_kind body_kind(const struct coili_http_head *head,
                                           enum coili_http_to to)
{
    if (head->status && is_bodiless(head, to))
        return COILI_HTTP_BODY_NONE;
    if (head->seen & SEEN_CODING)
        return COILI_HTTP_BODY_CHUNKED;
    if (head->seen & SEEN_LENGTH)
        return COILI_HTTP_BODY_LENGTH;
    return head->status ? COILI_HTTP_BODY_CLOSE : COILI_HTTP_BODY_NONE;
}

static bool is_kept_alive(const struct coili_http_head *head)
{
    if (head->seen & SEEN_CLOSE || head->body == COILI_HTTP_BODY_CLOSE)
        return false;
    if (head->status && head->upgrade)
        return false;
    return head->minor || head->seen & SEEN_KEEP_ALIVE;
}

/* All fields have been read: what follows from them for the message. */
static void derive(struct coili_http_head *head, enum coili_http_to to)
{
    if (!(head->seen & SEEN_LENGTH))
        head->length = -1;
    if (!(head->seen & SEEN_KEEP_TIME))
        head->keep_seconds = COILI_HTTP_KEEP_UNTOLD;
    head->upgrade = is_upgrade(head, to);
    head->body = (uint8_t)body_kind(head, to);
    head->keep_alive = is_kept_alive(head);
}

/* --- Heads: the scanner --------------------------------------------------*/

enum {
    AT_START,
    AT_TARGET,
    AT_VERSION,
    AT_REASON,
    AT_LINE,
    AT_NAME,
    AT_COLON,
    AT_SPACE,
    AT_VALUE,
    AT_END,
    BROKEN
};

/*
 * The state of one call. A step of the scanner returns 1: go on; 0: more bytes
 * are needed; or an error.
 */
struct scan {
    struct coili_http_head *head;
    const struct coili_http_limits *limits;
    enum coili_http_to to;
    uint32_t len;
    uint32_t wall;    // the offset before which this line must end
    const char *end;  // of the bytes, or the wall if that comes first
};

static int refuse(struct coili_http_head *head, enum coili_http_fault fault)
{
    head->phase = BROKEN;
    head->fault = (uint8_t)fault;
    return fault_error(fault);
}

/* The scanner is at s->end. At the wall no further bytes can help. */
static int run_out(const struct scan *s)
{
    if (s->len < s->wall)
        return 0;
    return refuse(s->head, s->wall == s->limits->head
                               ? COILI_HTTP_FAULT_HEAD_LARGE
                               : COILI_HTTP_FAULT_LINE_LONG);
}

static void set_wall(struct scan *s)
{
    uint32_t line = s->head->line, most = s->limits->line + 2u;

    s->wall = s->limits->head;
    if (s->wall - line > most)
        s->wall = line + most;
    s->end = s->head->bytes + (s->len < s->wall ? s->len : s->wall);
}

static const char *here(const struct scan *s)
{
    return s->head->bytes + s->head->at;
}

/* The bytes before `at` are scanned. */
static void move(struct scan *s, const char *at)
{
    s->head->at = (uint32_t)(at - s->head->bytes);
}

/* The fault of a byte that is not allowed in a value, and is no CR. */
static enum coili_http_fault line_fault(char c)
{
    return c == '\n' ? COILI_HTTP_FAULT_BARE_LF : COILI_HTTP_FAULT_CONTROL;
}

/* True if the byte may end a line. */
static bool is_line_end(const struct scan *s, char c)
{
    return c == '\r' || (c == '\n' && s->head->lenient);
}

/* The scanner is after the last byte of a line: there must be CR LF. */
static int end_line(struct scan *s)
{
    const char *at = here(s);

    if (!is_line_end(s, *at))
        return refuse(s->head, line_fault(*at));
    if (*at == '\r' && s->end - at < 2)
        return run_out(s);
    if (*at == '\r' && *++at != '\n')
        return refuse(s->head, COILI_HTTP_FAULT_BARE_CR);
    move(s, at + 1);
    s->head->line = s->head->at;
    s->head->phase = AT_LINE;
    set_wall(s);
    return 1;
}

/* The fault of a byte that neither continues a field name nor ends it. */
static enum coili_http_fault name_fault(char c, bool lenient)
{
    if (is_space(c))
        return COILI_HTTP_FAULT_NAME_SPACE;
    if (c == '\r' || (c == '\n' && lenient))
        return COILI_HTTP_FAULT_NO_COLON;
    return is(c, IS_VALUE) ? COILI_HTTP_FAULT_NAME : line_fault(c);
}

/*
 * Note the last field if that was left for later: to a lenient reader the next
 * line may continue the value, and only the whole value means something.
 */
static enum coili_http_fault note_last(struct coili_http_head *head)
{
    if (!head->lenient || !head->count)
        return COILI_HTTP_FAULT_NONE;
    return note_field(head, &head->fields[head->count - 1]);
}

/* Read the empty line that ends the head. */
static int end_head(struct scan *s)
{
    int r = end_line(s);
    if (r <= 0)
        return r;

    enum coili_http_fault fault = note_last(s->head);
    if (!fault)
        fault = check_framing(s->head);
    if (fault)
        return refuse(s->head, fault);
    derive(s->head, s->to);
    s->head->phase = AT_END;
    return 1;
}

/* The first byte tells whether the line is a field or the end of the head. */
static int read_line(struct scan *s)
{
    struct coili_http_head *head = s->head;
    const char *at = here(s);

    if (at == s->end)
        return run_out(s);
    if (is_line_end(s, *at))
        return end_head(s);
    if (is_space(*at) && head->lenient && head->count > 0) {
        head->count--; /* its value goes on */
        head->phase = AT_VALUE;
        return 1;
    }
    if (is_space(*at))
        return refuse(head, COILI_HTTP_FAULT_FOLDED);
    enum coili_http_fault fault = note_last(head);
    if (fault)
        return refuse(head, fault);
    if (head->count == s->limits->fields)
        return refuse(head, COILI_HTTP_FAULT_FIELDS_MANY);
    head->fields[head->count].name = head->at;
    head->phase = AT_NAME;
    return 1;
}

/* The name ends at the colon, with no space before it. */
static int read_name(struct scan *s)
{
    struct coili_http_head *head = s->head;
    struct coili_http_field *field = &head->fields[head->count];
    const char *at = skip(here(s), s->end, IS_TOKEN);

    move(s, at);
    if (at == s->end)
        return run_out(s);
    bool padded = head->lenient && is_space(*at);
    if (*at != ':' && !padded)
        return refuse(head, name_fault(*at, head->lenient));
    if (head->at == field->name)
        return refuse(head, COILI_HTTP_FAULT_NAME);
    field->name_len = (uint16_t)(head->at - field->name);
    if (padded) {
        head->phase = AT_COLON;
        return 1;
    }
    head->at++;
    head->phase = AT_SPACE;
    return 1;
}

/* A lenient reader accepts white space before the colon, but nothing else. */
static int read_colon(struct scan *s)
{
    const char *at = skip_space(here(s), s->end);

    move(s, at);
    if (at == s->end)
        return run_out(s);
    if (*at != ':')
        return refuse(s->head, name_fault(*at, s->head->lenient));
    s->head->at++;
    s->head->phase = AT_SPACE;
    return 1;
}

static int read_space(struct scan *s)
{
    struct coili_http_head *head = s->head;
    const char *at = skip_space(here(s), s->end);

    move(s, at);
    if (at == s->end)
        return run_out(s);
    head->fields[head->count].value = head->at;
    head->phase = AT_VALUE;
    return 1;
}

/*
 * A value that began on an earlier line may begin with that line's end. It is
 * not noted yet, since the next line may continue it.
 */
static int end_lenient_value(struct scan *s, const char *start, const char *end)
{
    struct coili_http_head *head = s->head;
    struct coili_http_field *field = &head->fields[head->count];

    while (start < end && is_white(*start))
        start++;
    if (end - start > UINT16_MAX) /* folded again and again */
        return refuse(head, COILI_HTTP_FAULT_LINE_LONG);
    field->value = (uint32_t)(start - head->bytes);
    field->value_len = (uint16_t)(end - start);
    head->count++;
    return 1;
}

/* The value ends at CR LF; white space before that is cut off. */
static int read_value(struct scan *s)
{
    struct coili_http_head *head = s->head;
    struct coili_http_field *field = &head->fields[head->count];
    const char *start = head->bytes + field->value;
    const char *at = skip_value(here(s), s->end);

    move(s, at);
    if (at == s->end)
        return run_out(s);
    int r = end_line(s);
    if (r <= 0)
        return r;

    while (at > start && is_white(at[-1]))
        at--;
    if (head->lenient)
        return end_lenient_value(s, start, at);
    field->value_len = (uint16_t)(at - start);
    enum coili_http_fault fault = note_field(head, field);
    if (fault)
        return refuse(head, fault);
    head->count++;
    return 1;
}

/* From the phase in which the last call stopped. */
static int read_fields(struct scan *s)
{
    struct coili_http_head *head = s->head;
    int r = 1;

    while (r > 0 && head->phase != AT_END) {
        if (head->phase == AT_LINE)
            r = read_line(s);
        if (r > 0 && head->phase == AT_NAME)
            r = read_name(s);
        if (r > 0 && head->phase == AT_COLON)
            r = read_colon(s);
        if (r > 0 && head->phase == AT_SPACE)
            r = read_space(s);
        if (r > 0 && head->phase == AT_VALUE)
            r = read_value(s);
    }
    return r;
}

/* Read the version at `at`. The error is `fault` if it is not even "HTTP/". */
static int read_version(struct scan *s, const char *at,
                        enum coili_http_fault fault)
{
    static const char expected[] = "HTTP/1.";

    for (int i = 0; expected[i]; i++, at++) {
        if (at == s->end)
            return run_out(s);
        if (*at != expected[i])
            return refuse(s->head, i < 5 ? fault : COILI_HTTP_FAULT_VERSION);
    }
    if (at == s->end)
        return run_out(s);
    if (*at != '0' && *at != '1')
        return refuse(s->head, COILI_HTTP_FAULT_VERSION);
    s->head->minor = *at == '1';
    return 1;
}

/* "HTTP/1.1 200" has a fixed length: it is read again until it is whole. */
static int read_status(struct scan *s)
{
    const char *at = s->head->bytes;
    int status = 0;

    int r = read_version(s, at, COILI_HTTP_FAULT_NOT_HTTP);
    if (r <= 0)
        return r;
    at += sizeof "HTTP/1.1" - 1;
    if (at == s->end)
        return run_out(s);
    if (*at++ != ' ')
        return refuse(s->head, COILI_HTTP_FAULT_VERSION);
    for (int i = 0; i < 3; i++, at++) {
        if (at == s->end)
            return run_out(s);
        if (*at < '0' + !i || *at > '9')
            return refuse(s->head, COILI_HTTP_FAULT_STATUS);
        status = status * 10 + (*at - '0');
    }
    if (at == s->end)
        return run_out(s);
    if (*at != ' ' && !is_line_end(s, *at))
        return refuse(s->head, COILI_HTTP_FAULT_STATUS);
    move(s, at);
    s->head->status = (uint16_t)status;
    s->head->phase = AT_REASON;
    return 1;
}

static int read_reason(struct scan *s)
{
    const char *start = s->head->bytes + sizeof "HTTP/1.1 200";
    const char *at = skip_value(here(s), s->end);

    move(s, at);
    if (at == s->end)
        return run_out(s);
    s->head->reason_len = (uint16_t)(at > start ? at - start : 0);
    return end_line(s);
}

static int read_method(struct scan *s)
{
    struct coili_http_head *head = s->head;
    const char *at = skip(here(s), s->end, IS_TOKEN);

    move(s, at);
    if (at == s->end)
        return run_out(s);
    if (*at != ' ' || !head->at)
        return refuse(head, COILI_HTTP_FAULT_METHOD);
    head->method_len = (uint16_t)head->at;
    head->target = ++head->at;
    head->phase = AT_TARGET;
    return 1;
}

/* "http://host:80/path?query", for a proxy; without a user (RFC 9110 4.2.4). */
static bool is_absolute(const char *at, const char *end)
{
    const char *start = at;

    while (at < end && lower(*at) >= 'a' && lower(*at) <= 'z')
        at++;
    if (at == start || end - at < 3 || memcmp(at, "://", 3) != 0)
        return false;
    const char *host = at + 3;
    at = skip(host, end, IS_HOST);
    return at > host && (at == end || *at == '/' || *at == '?');
}

/*
 * One of the four forms of RFC 9112 3.2. In others two parsers could see two
 * different hosts.
 */
static bool is_target(struct coili_http_text method,
                      struct coili_http_text target)
{
    const char *at = target.at, *end = at + target.len;

    if (!target.len || skip(at, end, IS_TARGET) != end)
        return false;
    if (is_connect(method))
        return skip(at, end, IS_HOST) == end;
    if (*at == '*')
        return target.len == 1;
    return *at == '/' || is_absolute(at, end);
}

/* A line that ends after the target is HTTP/0.9, which has no head. */
static int read_target(struct scan *s)
{
    struct coili_http_head *head = s->head;
    const char *at = skip(here(s), s->end, IS_TARGET);

    move(s, at);
    if (at == s->end)
        return run_out(s);
    if (*at == '\r')
        return refuse(head, COILI_HTTP_FAULT_VERSION);
    head->target_len = (uint16_t)(head->at - head->target);
    if (*at != ' ' || !is_target(coili_http_method(head),
                                 coili_http_target(head)))
        return refuse(head, COILI_HTTP_FAULT_TARGET);
    head->at++;
    head->phase = AT_VERSION;
    return 1;
}

/* "HTTP/1.1" and CR LF: read again until they are whole, as a status is. */
static int read_request_version(struct scan *s)
{
    int r = read_version(s, here(s), COILI_HTTP_FAULT_VERSION);
    if (r <= 0)
        return r;

    const char *at = here(s) + sizeof "HTTP/1.1" - 1;
    if (at == s->end)
        return run_out(s);
    if (*at != '\r')
        return refuse(s->head, *at == '\n' ? COILI_HTTP_FAULT_BARE_LF
                                           : COILI_HTTP_FAULT_VERSION);
    if (s->end - at < 2)
        return run_out(s);
    move(s, at);
    return end_line(s);
}

static int read_status_line(struct scan *s)
{
    int r = 1;

    if (s->head->phase == AT_START)
        r = read_status(s);
    if (r > 0 && s->head->phase == AT_REASON)
        r = read_reason(s);
    return r;
}

static int read_request_line(struct scan *s)
{
    int r = 1;

    if (s->head->phase == AT_START)
        r = read_method(s);
    if (r > 0 && s->head->phase == AT_TARGET)
        r = read_target(s);
    if (r > 0 && s->head->phase == AT_VERSION)
        r = read_request_version(s);
    return r;
}

static void begin(struct scan *s, const char *bytes, size_t len)
{
    if (!s->limits)
        s->limits = &coili_http_limits_default;
    s->head->bytes = bytes;
    s->len = len < s->limits->head ? (uint32_t)len : s->limits->head;
    set_wall(s);
}

int coili_http_response_parse(struct coili_http_head *head,
                              const struct coili_http_limits *limits,
                              enum coili_http_to to, const char *bytes,
                              size_t len)
{
    struct scan s = { .head = head, .limits = limits, .to = to };

    if (head->phase == BROKEN)
        return fault_error(head->fault);
    begin(&s, bytes, len);
    head->lenient = s.limits->lenient;
    int r = read_status_line(&s);
    if (r > 0)
        r = read_fields(&s);
    return r > 0 ? (int)head->at : r;
}

int coili_http_request_parse(struct coili_http_head *head,
                             const struct coili_http_limits *limits,
                             const char *bytes, size_t len)
{
    struct scan s = { .head = head, .limits = limits };

    if (head->phase == BROKEN)
        return fault_error(head->fault);
    begin(&s, bytes, len);
    int r = read_request_line(&s);
    if (r > 0)
        r = read_fields(&s);
    return r > 0 ? (int)head->at : r;
}

/* --- Fields --------------------------------------------------------------*/

const struct coili_http_field *
coili_http_find(const struct coili_http_head *head, const char *name,
                const struct coili_http_field *after)
{
    const struct coili_http_field *end = head->fields + head->count;
    const struct coili_http_field *field = after ? after + 1 : head->fields;
    struct coili_http_text text = coili_http_text(name);

    for (; field < end; field++)
        if (coili_http_same(coili_http_name(head, field), text))
            return field;
    return NULL;
}

bool coili_http_list_has(struct coili_http_text list, const char *token)
{
    struct coili_http_text item;

    while (next_item(&list, &item))
        if (coili_http_text_is(item, token))
            return true;
    return false;
}

bool coili_http_field_has(const struct coili_http_head *head, const char *name,
                          const char *token)
{
    const struct coili_http_field *field = NULL;

    while ((field = coili_http_find(head, name, field)))
        if (coili_http_list_has(coili_http_value(head, field), token))
            return true;
    return false;
}

/* --- Bodies --------------------------------------------------------------*/

/* The phases before IN_CHUNK are framing; then payload, and the two ends. */
enum {
    IN_SIZE, // the first digit
    IN_DIGITS,
    IN_PADDING, // white space behind them
    IN_EXTENSION,
    IN_SIZE_LF,
    IN_CHUNK_CR,
    IN_CHUNK_LF,
    IN_TRAILER, // the first byte of a line
    IN_NAME,
    IN_VALUE,
    IN_VALUE_LF,
    IN_END_LF,
    IN_CHUNK,
    IN_LENGTH,
    IN_CLOSE,
    IN_NOTHING,
    IN_ERROR
};

/*
 * The most bytes of framing in excess that a whole body may have. Endless small
 * chunks with long extensions are an attack. But a peer may send one byte per
 * chunk, so for each chunk 16 bytes and twice the size of its data are free.
 */
#define NOISE_MAX 16384

void coili_http_body_start(struct coili_http_body *body,
                           const struct coili_http_head *head)
{
    static const uint8_t phases[] = {
        [COILI_HTTP_BODY_NONE] = IN_NOTHING,
        [COILI_HTTP_BODY_LENGTH] = IN_LENGTH,
        [COILI_HTTP_BODY_CHUNKED] = IN_SIZE,
        [COILI_HTTP_BODY_CLOSE] = IN_CLOSE,
    };

    *body = (struct coili_http_body){ .phase = phases[head->body],
                                      .answer = head->status != 0 };
    if (head->body == COILI_HTTP_BODY_LENGTH)
        body->left = (uint64_t)head->length;
    if (body->phase == IN_LENGTH && !body->left)
        body->phase = IN_NOTHING;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum coili_http_fault read_digit(struct coili_http_body *body, char c)
{
    int digit = hex(c);

    if (digit < 0)
        return COILI_HTTP_FAULT_CHUNK_SIZE;
    if (body->left >> 59)
        return COILI_HTTP_FAULT_CHUNK_OVERFLOW;
    body->left = body->left << 4 | (unsigned)digit;
    body->phase = IN_DIGITS;
    return COILI_HTTP_FAULT_NONE;
}

static enum coili_http_fault end_size(struct coili_http_body *body)
{
    uint64_t noise = (uint64_t)body->noise + body->line;
    uint64_t paid = 16 + 2 * (body->left < NOISE_MAX ? body->left : NOISE_MAX);

    body->noise = noise > paid ? (uint32_t)(noise - paid) : 0;
    if (body->noise > NOISE_MAX)
        return COILI_HTTP_FAULT_CHUNK_NOISE;
    body->phase = body->left ? IN_CHUNK : IN_TRAILER;
    body->line = 0;
    return COILI_HTTP_FAULT_NONE;
}

/* `c` must be `expected`: then `phase` comes next. */
static enum coili_http_fault expect(struct coili_http_body *body, char c,
                                    char expected, uint8_t phase,
                                    enum coili_http_fault fault)
{
    if (c != expected)
        return fault;
    body->phase = phase;
    return COILI_HTTP_FAULT_NONE;
}

/* CR, or a LF alone if that may end a line: then `phase` or `next` follows. */
static enum coili_http_fault end_of_line(struct coili_http_body *body, char c,
                                         bool lenient, uint8_t phase,
                                         uint8_t next,
                                         enum coili_http_fault fault)
{
    if (c != '\r' && !(c == '\n' && lenient))
        return fault;
    body->phase = c == '\r' ? phase : next;
    return COILI_HTTP_FAULT_NONE;
}

/* The line of a chunk size ends, or its last byte is refused. */
static enum coili_http_fault size_line(struct coili_http_body *body, char c,
                                       bool lenient,
                                       enum coili_http_fault fault)
{
    if (c == '\n' && lenient)
        return end_size(body);
    return expect(body, c, '\r', IN_SIZE_LF, fault);
}

/* Another digit, white space behind the digits, or what follows the size. */
static enum coili_http_fault after_digit(struct coili_http_body *body, char c,
                                         bool lenient)
{
    if (body->phase == IN_DIGITS && hex(c) >= 0)
        return read_digit(body, c);
    if (c == ';' || is_space(c)) {
        body->phase = c == ';' ? IN_EXTENSION : IN_PADDING;
        return COILI_HTTP_FAULT_NONE;
    }
    if (body->phase == IN_PADDING && !body->answer)
        return COILI_HTTP_FAULT_CHUNK_SIZE;
    return size_line(body, c, lenient, COILI_HTTP_FAULT_CHUNK_SIZE);
}

/* Read one byte of framing. `lenient`: a LF alone ends a line. */
static enum coili_http_fault body_step(struct coili_http_body *body, char c,
                                       bool lenient)
{
    switch (body->phase) {
    case IN_SIZE:
        return read_digit(body, c);
    case IN_DIGITS:
    case IN_PADDING:
        return after_digit(body, c, lenient);
    case IN_EXTENSION:
        return is(c, IS_VALUE) ? COILI_HTTP_FAULT_NONE
                               : size_line(body, c, lenient, line_fault(c));
    case IN_SIZE_LF:
        return c == '\n' ? end_size(body) : COILI_HTTP_FAULT_BARE_CR;
    case IN_CHUNK_CR:
        return end_of_line(body, c, lenient, IN_CHUNK_LF, IN_SIZE,
                           COILI_HTTP_FAULT_CHUNK_END);
    case IN_CHUNK_LF:
        return expect(body, c, '\n', IN_SIZE, COILI_HTTP_FAULT_CHUNK_END);
    case IN_TRAILER:
        if (is(c, IS_TOKEN)) {
            body->phase = IN_NAME;
            return COILI_HTTP_FAULT_NONE;
        }
        return end_of_line(body, c, lenient, IN_END_LF, IN_NOTHING,
                           is_space(c) ? COILI_HTTP_FAULT_FOLDED
                                       : name_fault(c, lenient));
    case IN_NAME:
        return is(c, IS_TOKEN)
                   ? COILI_HTTP_FAULT_NONE
                   : expect(body, c, ':', IN_VALUE, name_fault(c, lenient));
    case IN_VALUE:
        return is(c, IS_VALUE) ? COILI_HTTP_FAULT_NONE
                               : end_of_line(body, c, lenient, IN_VALUE_LF,
                                             IN_TRAILER, line_fault(c));
    case IN_VALUE_LF:
        return expect(body, c, '\n', IN_TRAILER, COILI_HTTP_FAULT_BARE_CR);
    default:
        return expect(body, c, '\n', IN_NOTHING, COILI_HTTP_FAULT_BARE_CR);
    }
}

/*
 * Read framing up to the next payload or the end of the body. body->line counts
 * all bytes between the data of two chunks; then all bytes of the trailers.
 */
static const char *read_framing(struct coili_http_body *body,
                                const struct coili_http_limits *limits,
                                const char *at, const char *end)
{
    while (at < end && body->phase < IN_CHUNK) {
        bool trailers = body->phase >= IN_TRAILER;
        uint32_t room = (trailers ? limits->trailers : limits->chunk_line) -
                        body->line;
        enum coili_http_fault fault;

        if (body->phase == IN_EXTENSION || body->phase == IN_VALUE) {
            const char *stop = end - at > (ptrdiff_t)room ? at + room : end;
            const char *next = skip_value(at, stop);

            body->line += (uint32_t)(next - at);
            room -= (uint32_t)(next - at);
            at = next;
            if (at == end)
                break;
        }
        if (!room)
            fault = trailers ? COILI_HTTP_FAULT_TRAILERS_LARGE
                             : COILI_HTTP_FAULT_CHUNK_LINE_LONG;
        else {
            body->line++;
            fault = body_step(body, *at++, limits->lenient && body->answer);
        }
        if (fault) {
            body->phase = IN_ERROR;
            body->fault = (uint8_t)fault;
        }
    }
    return at;
}

/* The payload that starts at `at` becomes the piece. */
static int give_payload(struct coili_http_body *body, const char *at,
                        const char *end, struct coili_http_piece *piece)
{
    size_t len = (size_t)(end - at);

    if (!len)
        return COILI_HTTP_MORE;
    if (body->phase != IN_CLOSE) {
        if (len > body->left)
            len = (size_t)body->left;
        body->left -= len;
        if (!body->left)
            body->phase = body->phase == IN_CHUNK ? IN_CHUNK_CR : IN_NOTHING;
    }
    piece->data = at;
    piece->len = len;
    piece->taken += len;
    return COILI_HTTP_DATA;
}

/* First the framing, if the body is at one; then its phase tells the result. */
int coili_http_body_next(struct coili_http_body *body,
                         const struct coili_http_limits *limits,
                         const char *bytes, size_t len,
                         struct coili_http_piece *piece)
{
    const char *end = bytes + len;
    const char *at = read_framing(
        body, limits ? limits : &coili_http_limits_default, bytes, end);

    *piece = (struct coili_http_piece){ .taken = (size_t)(at - bytes) };
    switch (body->phase) {
    case IN_CHUNK:
    case IN_LENGTH:
    case IN_CLOSE:
        return give_payload(body, at, end, piece);
    case IN_NOTHING:
        return COILI_HTTP_END;
    case IN_ERROR:
        return fault_error(body->fault);
    default:
        return COILI_HTTP_MORE;
    }
}

bool coili_http_body_done(const struct coili_http_body *body)
{
    return body->phase == IN_NOTHING;
}

int coili_http_body_closed(struct coili_http_body *body)
{
    if (body->phase == IN_CLOSE)
        body->phase = IN_NOTHING;
    if (body->phase == IN_NOTHING)
        return 0;
    if (body->phase != IN_ERROR) {
        body->phase = IN_ERROR;
        body->fault = COILI_HTTP_FAULT_TRUNCATED;
    }
    return fault_error(body->fault);
}

/* --- The writer ----------------------------------------------------------*/

static bool is_all(struct coili_http_text text, int class)
{
    const char *end = text.at + text.len;

    return skip(text.at, end, class) == end;
}

static bool is_reserved(struct coili_http_text name)
{
    return coili_http_text_is(name, "Host") ||
           coili_http_text_is(name, "Content-Length") ||
           coili_http_text_is(name, "Transfer-Encoding");
}

static enum coili_http_fault check_pair(const struct coili_http_pair *pair)
{
    struct coili_http_text value = pair->value;

    if (!pair->name.len || !is_all(pair->name, IS_TOKEN))
        return COILI_HTTP_FAULT_NAME;
    if (is_reserved(pair->name))
        return COILI_HTTP_FAULT_FIELD_RESERVED;

    const char *end = value.at + value.len;
    const char *at = skip_value(value.at, end);
    if (at < end)
        return *at == '\r' ? COILI_HTTP_FAULT_BARE_CR : line_fault(*at);
    return COILI_HTTP_FAULT_NONE;
}

static enum coili_http_fault check_body(const struct coili_http_request *r)
{
    if (is_connect(r->method) && r->body != COILI_HTTP_BODY_NONE)
        return COILI_HTTP_FAULT_CONNECT_BODY;
    switch (r->body) {
    case COILI_HTTP_BODY_NONE:
        return COILI_HTTP_FAULT_NONE;
    case COILI_HTTP_BODY_LENGTH:
        return r->length < 0 ? COILI_HTTP_FAULT_LENGTH : COILI_HTTP_FAULT_NONE;
    case COILI_HTTP_BODY_CHUNKED:
        return r->old ? COILI_HTTP_FAULT_CODING_OLD : COILI_HTTP_FAULT_NONE;
    default:
        return COILI_HTTP_FAULT_CODING;
    }
}

/* True for a query without a path: the writer adds the '/'. */
static bool is_query(struct coili_http_text target)
{
    return target.len && *target.at == '?';
}

static enum coili_http_fault check_target(const struct coili_http_request *r)
{
    bool good = is_query(r->target) ? !is_connect(r->method) &&
                                          is_all(r->target, IS_TARGET)
                                    : is_target(r->method, r->target);

    return good ? COILI_HTTP_FAULT_NONE : COILI_HTTP_FAULT_TARGET;
}

static enum coili_http_fault check_request(const struct coili_http_request *r)
{
    if (!r->method.len || !is_all(r->method, IS_TOKEN))
        return COILI_HTTP_FAULT_METHOD;
    if (check_target(r))
        return COILI_HTTP_FAULT_TARGET;
    if (!r->host.len || !is_all(r->host, IS_HOST))
        return COILI_HTTP_FAULT_HOST;
    for (size_t i = 0; i < r->count; i++) {
        enum coili_http_fault fault = check_pair(&r->fields[i]);
        if (fault)
            return fault;
    }
    return check_body(r);
}

/*
 * Output that is counted, and written as far as it fits. `len` is at most
 * INT_MAX.
 */
struct out {
    char *buf;
    size_t size;
    size_t len;
};

static void put(struct out *out, struct coili_http_text text)
{
    if (text.len > INT_MAX - out->len)
        text.len = INT_MAX - out->len;
    else if (text.len && out->size >= out->len + text.len)
        memcpy(out->buf + out->len, text.at, text.len);
    out->len += text.len;
}

#define PUT(out, literal) \
    put((out), (struct coili_http_text){ (literal), sizeof(literal) - 1 })

static void put_number(struct out *out, int64_t number)
{
    char digits[20], *end = digits + sizeof digits, *at = end;

    do
        *--at = (char)('0' + number % 10);
    while (number /= 10);
    put(out, (struct coili_http_text){ at, (size_t)(end - at) });
}

static void put_framing(struct out *out, const struct coili_http_request *r)
{
    if (r->body == COILI_HTTP_BODY_CHUNKED)
        PUT(out, "Transfer-Encoding: chunked\r\n");
    if (r->body == COILI_HTTP_BODY_LENGTH) {
        PUT(out, "Content-Length: ");
        put_number(out, r->length);
        PUT(out, "\r\n");
    }
}

/* The request was checked before. */
static void put_request(struct out *out, const struct coili_http_request *r)
{
    put(out, r->method);
    PUT(out, " ");
    if (is_query(r->target))
        PUT(out, "/");
    put(out, r->target);
    put(out, coili_http_text(r->old ? " HTTP/1.0\r\nHost: "
                                    : " HTTP/1.1\r\nHost: "));
    put(out, r->host);
    PUT(out, "\r\n");
    for (size_t i = 0; i < r->count; i++) {
        put(out, r->fields[i].name);
        PUT(out, ": ");
        put(out, r->fields[i].value);
        PUT(out, "\r\n");
    }
    put_framing(out, r);
    PUT(out, "\r\n");
}

int coili_http_request_write(struct coili_http_request *request, char *buf,
                             size_t len)
{
    struct out out = { .buf = buf, .size = len };
    enum coili_http_fault fault = check_request(request);

    if (!fault) {
        put_request(&out, request);
        if (out.len == INT_MAX)
            fault = COILI_HTTP_FAULT_HEAD_LARGE;
    }
    request->fault = (uint8_t)fault;
    return fault ? -EINVAL : (int)out.len;
}

size_t coili_http_chunk_line_write(char buf[COILI_HTTP_CHUNK_LINE_MAX],
                                   uint64_t size)
{
    char digits[16], *end = digits + sizeof digits, *at = end;

    do
        *--at = "0123456789abcdef"[size & 15];
    while (size >>= 4);
    size_t len = (size_t)(end - at);
    memcpy(buf, at, len);
    memcpy(buf + len, "\r\n", 2);
    return len + 2;
}
