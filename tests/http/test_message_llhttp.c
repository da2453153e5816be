// SPDX-License-Identifier: MIT
// labels: core
/*
 * test_message_llhttp.c: two parsers, one reading.
 *
 * Smuggling needs two programs that read the same bytes differently. Here is
 * another program: llhttp 8.1, node's parser, as Debian packages it, in its
 * strict mode. Whatever ours accepts, llhttp must accept, and find the same
 * fields, the same payload and the same end. What ours refuses is not asked:
 * llhttp 8.1 takes more, which is why it is not our parser.
 *
 * Where the two differ and ours is right stands in is_known_refusal() and
 * forgive().
 *
 * Without llhttp (package node-llhttp) the cases are skipped.
 */
#include "test.h"

#include "http/message.h"

#include <coil/error.h>
#include <stdio.h>
#include <string.h>

#if defined __has_include
#if __has_include(<llhttp.h>)
#define HAVE_LLHTTP 1
#endif
#endif

#ifndef HAVE_LLHTTP

TEST(message_is_read_as_llhttp_reads_it)
{
    SKIP("no llhttp: install node-llhttp");
}

TEST(message_changed_at_random_is_read_as_llhttp_reads_it)
{
    SKIP("no llhttp: install node-llhttp");
}

#else

#include <llhttp.h>

#if !LLHTTP_STRICT_MODE
#error "llhttp must be compiled with LLHTTP_STRICT_MODE=1, and so its users"
#endif

enum kind { RESPONSE, TO_HEAD, TO_CONNECT, REQUEST };

/* What a parser made of the bytes. */
struct reading {
    enum { REFUSED, CUT_SHORT, WHOLE } end;
    bool in_body;     // the head was whole
    bool keep_alive;
    bool upgrade;
    int minor;
    int status;
    size_t taken;
    size_t len;
    char text[2048];  // [name=value]... and then the payload
    const char *why;
};

static void add(struct reading *r, const char *bytes, size_t len)
{
    CHECK(r->len + len < sizeof r->text);
    memcpy(r->text + r->len, bytes, len);
    r->len += len;
}

/* --- Ours -----------------------------------------------------------------*/

static void read_body(struct reading *r, const struct coili_http_head *head,
                      const char *bytes, size_t len)
{
    struct coili_http_body body;
    struct coili_http_piece piece;
    int n;

    coili_http_body_start(&body, head);
    do {
        n = coili_http_body_next(&body, NULL, bytes + r->taken, len - r->taken,
                                 &piece);
        r->taken += piece.taken;
        if (n == COILI_HTTP_DATA)
            add(r, piece.data, piece.len);
    } while (n == COILI_HTTP_DATA);

    // As if the peer closed behind these bytes.
    if (n == COILI_HTTP_MORE && !coili_http_body_closed(&body))
        n = COILI_HTTP_END;
    r->end = n < 0 ? REFUSED : n == COILI_HTTP_END ? WHOLE : CUT_SHORT;
    r->why = coili_http_fault_text(body.fault);
}

static void read_ours(struct reading *r, enum kind kind, const char *bytes,
                      size_t len)
{
    struct coili_http_field fields[128];
    struct coili_http_head head = { .fields = fields };
    int n;

    memset(r, 0, sizeof *r);
    if (kind == REQUEST)
        n = coili_http_request_parse(&head, NULL, bytes, len);
    else
        n = coili_http_response_parse(&head, NULL, (enum coili_http_to)kind,
                                      bytes, len);
    r->why = coili_http_fault_text(head.fault);
    r->end = n < 0 ? REFUSED : CUT_SHORT;
    if (n <= 0)
        return;

    struct coili_http_text first =
        kind == REQUEST ? coili_http_target(&head) : coili_http_reason(&head);
    add(r, first.at, first.len);
    for (int i = 0; i < head.count; i++) {
        struct coili_http_text name = coili_http_name(&head, &fields[i]);
        struct coili_http_text value = coili_http_value(&head, &fields[i]);

        add(r, "[", 1);
        add(r, name.at, name.len);
        add(r, "=", 1);
        add(r, value.at, value.len);
    }
    add(r, "]", 1);
    r->minor = head.minor;
    r->status = head.status;
    r->keep_alive = head.keep_alive;
    r->upgrade = head.upgrade;
    r->taken = (size_t)n;
    read_body(r, &head, bytes, len);
}

/* --- llhttp's -------------------------------------------------------------*/

struct oracle {
    llhttp_t parser;  // first: callbacks get it
    struct reading *r;
    enum kind kind;
    bool done;
};

static struct oracle *oracle_of(llhttp_t *parser)
{
    return (struct oracle *)(void *)parser;
}

static int on_text(llhttp_t *parser, const char *at, size_t len)
{
    if (!oracle_of(parser)->r->in_body)
        add(oracle_of(parser)->r, at, len);
    return 0;
}

static int on_field(llhttp_t *parser, const char *at, size_t len)
{
    struct oracle *o = oracle_of(parser);

    if (o->r->in_body)
        return 0;
    add(o->r, "[", 1);
    add(o->r, at, len);
    add(o->r, "=", 1);
    return 0;
}

/* llhttp leaves the white space behind a value; the RFC does not count it. */
static int on_value_complete(llhttp_t *parser)
{
    struct reading *r = oracle_of(parser)->r;

    if (oracle_of(parser)->r->in_body)
        return 0;
    while (r->text[r->len - 1] == ' ' || r->text[r->len - 1] == '\t')
        r->len--;
    return 0;
}

/* That some answers have no body is for llhttp's caller to say. */
static int on_head(llhttp_t *parser)
{
    struct oracle *o = oracle_of(parser);
    int status = parser->status_code;

    add(o->r, "]", 1);
    o->r->in_body = true;
    o->r->minor = parser->http_minor;
    o->r->status = o->kind == REQUEST ? 0 : status;
    o->r->upgrade = parser->upgrade;
    o->r->keep_alive = llhttp_should_keep_alive(parser);
    if (o->kind == TO_CONNECT && status / 100 == 2) {
        o->r->upgrade = true;
        return 2;
    }
    if (o->kind != REQUEST &&
        (o->kind == TO_HEAD || status < 200 || status == 204 || status == 304))
        return 1;
    return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len)
{
    add(oracle_of(parser)->r, at, len);
    return 0;
}

static int on_done(llhttp_t *parser)
{
    struct oracle *o = oracle_of(parser);

    o->done = true;
    if (o->kind == TO_HEAD)  // only now llhttp knows it
        o->r->keep_alive = llhttp_should_keep_alive(parser);
    return HPE_PAUSED;
}

static void read_theirs(struct reading *r, enum kind kind, const char *bytes,
                        size_t len)
{
    struct oracle o = { .r = r, .kind = kind };
    llhttp_settings_t settings;

    memset(r, 0, sizeof *r);
    llhttp_settings_init(&settings);
    settings.on_url = on_text;
    settings.on_status = on_text;
    settings.on_header_field = on_field;
    settings.on_header_value = on_text;
    settings.on_header_value_complete = on_value_complete;
    settings.on_headers_complete = on_head;
    settings.on_body = on_body;
    settings.on_message_complete = on_done;
    llhttp_init(&o.parser, kind == REQUEST ? HTTP_REQUEST : HTTP_RESPONSE,
                &settings);

    llhttp_errno_t err = llhttp_execute(&o.parser, bytes, len);
    const char *stop = llhttp_get_error_pos(&o.parser);
    r->taken = err == HPE_OK || !stop ? len : (size_t)(stop - bytes);
    if (err == HPE_OK && !o.done && r->in_body && len)
        (void)llhttp_finish(&o.parser);
    r->why = llhttp_get_error_reason(&o.parser);
    r->end = o.done ? WHOLE : err == HPE_OK ? CUT_SHORT : REFUSED;
}

/* --- Both -----------------------------------------------------------------*/

/* To us any token is a method. llhttp has a list: SOURCE is not for HTTP. */
static bool is_their_method(const char *bytes)
{
#define METHOD(number, name, text) \
    if (!strncmp(bytes, #text " ", sizeof #text)) \
        return strcmp(#text, "SOURCE") != 0;
    HTTP_METHOD_MAP(METHOD)
#undef METHOD
    return false;
}

/* Refusals of llhttp that ours need not share. */
static bool is_known_refusal(const char *bytes, size_t len,
                             const struct reading *theirs)
{
    const char *why = theirs->why ? theirs->why : "";

    if (theirs->end != REFUSED)
        return false;
    // It reads trailers like fields of the head. We must not, and drop them.
    if (theirs->in_body && (strstr(why, "Content-Length") ||
                            strstr(why, "Transfer-Encoding")))
        return true;
    // We only look that an extension stays on its line, and drop it, and let
    // the size of a response's chunk be padded.
    return strstr(why, "chunk") &&
           (memchr(bytes, ';', len) || memmem(bytes, len, " \r", 2) ||
            memmem(bytes, len, "\t\r", 2));
}

/*
 * llhttp takes no HTAB around the values of these: it refuses a length, and
 * does not see a coding.
 */
static bool has_framing_tab(const char *bytes, size_t len)
{
    const char *line = bytes, *end = bytes + len, *lf;

    for (; (lf = memchr(line, '\n', (size_t)(end - line))); line = lf + 1)
        if (memchr(line, '\t', (size_t)(lf - line)) &&
            (!strncasecmp(line, "Content-Length", 14) ||
             !strncasecmp(line, "Transfer-Encoding", 17)))
            return true;
    return false;
}

/* Verdicts on what may follow where ours is right, or the more careful one. */
static void forgive(const char *bytes, size_t len, const struct reading *ours,
                    struct reading *theirs)
{
    // What follows an upgrade is not HTTP, so nothing is kept alive.
    if (ours->status && ours->upgrade)
        theirs->keep_alive = false;
    // A 101 that names a protocol has switched to it, even if Connection does
    // not say so: the bytes that follow are not a response.
    if (ours->status == 101)
        theirs->upgrade = ours->upgrade;
    // In HTTP/1.0 keep-alive wins over close in llhttp.
    if (!ours->minor && !ours->keep_alive)
        theirs->keep_alive = false;
    // llhttp knows no HTAB between the items of Connection.
    if (memchr(bytes, '\t', len)) {
        theirs->keep_alive = ours->keep_alive;
        theirs->upgrade = ours->upgrade;
    }
}

static bool is_same(const struct reading *a, const struct reading *b)
{
    return a->end == b->end && a->keep_alive == b->keep_alive &&
           a->upgrade == b->upgrade && a->minor == b->minor &&
           a->status == b->status && a->taken == b->taken &&
           a->len == b->len && !memcmp(a->text, b->text, a->len);
}

static void explain(const char *who, const struct reading *r)
{
    printf("# %s: end %d (%s), taken %zu, 1.%d %d, alive %d, upgrade %d, "
           "\"%.*s\"\n", who, (int)r->end, r->why ? r->why : "", r->taken,
           r->minor, r->status, r->keep_alive, r->upgrade, (int)r->len,
           r->text);
}

/* True if ours accepted the bytes. */
static bool compare(enum kind kind, const char *bytes, size_t len)
{
    struct reading ours, theirs;

    read_ours(&ours, kind, bytes, len);
    if (ours.end == REFUSED)
        return false;
    if (ours.end == WHOLE && kind == REQUEST && !is_their_method(bytes))
        return true;
    read_theirs(&theirs, kind, bytes, len);
    if (is_known_refusal(bytes, len, &theirs) ||
        (kind != REQUEST && has_framing_tab(bytes, len)))
        return ours.end == WHOLE;
    forgive(bytes, len, &ours, &theirs);

    // A message that is cut short for us must not be whole for them; they may
    // see sooner that it is none.
    bool good = ours.end == WHOLE ? is_same(&ours, &theirs)
                                  : theirs.end != WHOLE;
    if (!good) {
        printf("# %.*s\n", (int)len, bytes);
        explain("ours", &ours);
        explain("llhttp", &theirs);
    }
    CHECK(good);
    return ours.end == WHOLE;
}

struct sample {
    enum kind kind;
    const char *bytes;
    size_t len;
};

#define SAMPLE(kind, literal) { kind, (literal), sizeof(literal) - 1 }
#define OK "HTTP/1.1 200 OK\r\n"
#define GET "GET / HTTP/1.1\r\nHost: a\r\n"

static const struct sample samples[] = {
    SAMPLE(RESPONSE, OK "\r\nuntil the end"),
    SAMPLE(RESPONSE, OK "Content-Length: 5\r\n\r\nhelloHTTP/1.1 200"),
    SAMPLE(RESPONSE, OK "Server: x\r\nContent-Length: 0\r\n"
                        "Connection: keep-alive, close\r\n\r\nrest"),
    SAMPLE(RESPONSE, OK "Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n"
                        "5\r\nhello\r\na;b=c\r\n0123456789\r\n0\r\nA: b\r\n"
                        "\r\nrest"),
    SAMPLE(RESPONSE, "HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n"
                     "Content-Length: 3\r\n\r\nabc"),
    SAMPLE(RESPONSE, "HTTP/1.0 404 Not Found\r\nA: b\r\n\r\nabc"),
    SAMPLE(RESPONSE, "HTTP/1.1 204 No Content\r\nA:\r\n\r\n"),
    SAMPLE(RESPONSE, "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n"),
    SAMPLE(RESPONSE, "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"),
    SAMPLE(RESPONSE, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n"
                     "Connection: Upgrade\r\n\r\n\x81\x01"),
    SAMPLE(RESPONSE, "HTTP/1.1 500\r\nContent-Length: 1\r\n\r\n!"),
    SAMPLE(TO_HEAD, OK "Content-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\n"),
    SAMPLE(TO_HEAD, OK "Transfer-Encoding: chunked\r\n\r\n"),
    SAMPLE(TO_CONNECT, OK "\r\n\x16\x03\x01"),
    SAMPLE(TO_CONNECT, "HTTP/1.1 407 Proxy\r\nContent-Length: 2\r\n\r\nno"),
    SAMPLE(REQUEST, GET "\r\nGET / HTTP/1.1\r\n"),
    SAMPLE(REQUEST, "GET /a/b?c=d&e=%20 HTTP/1.0\r\n\r\n"),
    SAMPLE(REQUEST, "HEAD http://a/b HTTP/1.1\r\nHost: a\r\n\r\n"),
    SAMPLE(REQUEST, "OPTIONS * HTTP/1.1\r\nHost: a:80\r\n"
                    "Connection: close\r\n\r\n"),
    SAMPLE(REQUEST, "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03"),
    SAMPLE(REQUEST, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
                    "\r\nhiGET"),
    SAMPLE(REQUEST, "PUT /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked"
                    "\r\nExpect: 100-continue\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET"),
    SAMPLE(REQUEST, GET "Upgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
                        "\x81\x01"),
};

enum { SAMPLES = sizeof samples / sizeof *samples };

TEST(message_is_read_as_llhttp_reads_it)
{
    for (int i = 0; i < SAMPLES; i++) {
        test_note("sample %d", i);
        CHECK(compare(samples[i].kind, samples[i].bytes, samples[i].len));
        for (size_t n = 0; n < samples[i].len; n++)
            compare(samples[i].kind, samples[i].bytes, n);
    }
}

/* xorshift: the same bytes on every machine. */
static uint32_t random_below(uint32_t *state, size_t limit)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state % (uint32_t)limit;
}

/* Replace `cut` bytes at `at` by others. */
static size_t splice(char *bytes, size_t len, size_t at, size_t cut,
                     const char *by, size_t by_len)
{
    if (cut > len - at)
        cut = len - at;
    memmove(bytes + at + by_len, bytes + at + cut, len - at - cut);
    memcpy(bytes + at, by, by_len);
    return len - cut + by_len;
}

static const char *const words[] = {
    "\r\n", "\r", "\n", " ", "\t", ":", ",", ";", "=", "\"", "0", "5", "a", "F",
    "\x01", "\x7f", "\x80", "\r\n ", "\r\n\r\n", "0\r\n\r\n", "/", "?", "#",
    "Content-Length: 5\r\n", "Content-Length: 0\r\n", "content-length:1\r\n",
    "Transfer-Encoding: chunked\r\n", "Transfer-Encoding:\tCHUNKED \r\n",
    "Transfer-Encoding: gzip, chunked\r\n", "Connection: close\r\n",
    "Connection: keep-alive\r\n", "Connection: x, Upgrade ,close\r\n",
    "Connection:\tupgrade\t,\tkeep-alive\t\r\n", "Connection:\r\n",
    "Upgrade: h2c\r\n", "Host: b\r\n", "X: y\r\n", "X:\r\n", ", close",
    ",keep-alive", ";a=b", ";a=\"b c\"", ";", "HTTP/1.0", "HTTP/1.1",
    "1\r\nx\r\n", "close", "chunked", "100", "204", "304", "101", "200 ",
};

/* Where a line starts: there whole fields fit. */
static size_t line_start(const char *bytes, size_t len, size_t at)
{
    while (at < len && bytes[at] != '\n')
        at++;
    return at < len ? at + 1 : len;
}

static size_t change(char *bytes, size_t len, uint32_t *seed)
{
    size_t at = random_below(seed, len + 1);
    const char *word = words[random_below(seed, sizeof words / sizeof *words)];
    char copy[16];

    if (strlen(word) > 4)
        at = line_start(bytes, len, at);
    switch (random_below(seed, 4)) {
    case 0:
        return splice(bytes, len, at, 1, "", 0);
    case 1:
        return splice(bytes, len, at, strlen(word), word, strlen(word));
    case 2: {
        size_t from = random_below(seed, len - sizeof copy);

        memcpy(copy, bytes + from, sizeof copy);
        return splice(bytes, len, at, 0, copy,
                      1 + random_below(seed, sizeof copy));
    }
    default:
        return splice(bytes, len, at, 0, word, strlen(word));
    }
}

TEST(message_changed_at_random_is_read_as_llhttp_reads_it)
{
    uint32_t seed = 2463534242u;
    int count = test_is_slow() ? 20000 : 400000, accepted = 0;
    char bytes[512];

    for (int i = 0; i < count; i++) {
        const struct sample *s = &samples[i % SAMPLES];
        size_t len = s->len;

        memcpy(bytes, s->bytes, len);
        for (uint32_t n = 1 + random_below(&seed, 3); n; n--)
            if (len > 16)
                len = change(bytes, len, &seed);
        test_note("change %d of sample %d", i, i % SAMPLES);
        accepted += compare(s->kind, bytes, len);
    }
    // Otherwise nothing was compared.
    CHECK(accepted > count / 20);
}

#endif
