// SPDX-License-Identifier: MIT
/*
 * url.c: the parts of an http or https URL, and what a reference means in it.
 *
 * A URL is dangerous if the program that checks it and the program that follows
 * it see different hosts. Here every form with which this has happened is
 * refused; nothing is guessed:
 *
 *   http://good\@evil/     a browser ends the host at the backslash
 *   http://good@b@evil/    the first or the last '@'?
 *   http://2130706433/     inet_aton() and getaddrinfo() take these, 127.1 and
 *   http://0177.0.0.1/     0x7f.1 for 127.0.0.1
 *   http://go%6fd/         one program decodes it, the other looks it up as it
 *                          is
 *   http://g<o-umlaut>d/   there are several Unicode mappings: the caller
 *                          chooses one and writes xn--...
 *   http://a<TAB>b/        browsers remove the TAB
 *
 * The parts are not changed: nothing is encoded or decoded, and dot segments
 * are not removed. aiohttp encodes anew, and so breaks signed URLs. A reference
 * comes from a server and not from the program, and what it means is defined by
 * an algorithm that removes dot segments: so coil_url_resolve() does that, and
 * encodes the bytes that no URL may have.
 */
#include <coil/url.h>

#include <arpa/inet.h>
#include <string.h>

/* Each text names the fault and, where it can, the cure. */
const char *coil_url_fault_text(int fault)
{
    switch (fault) {
    case COIL_URL_FAULT_NONE:
        return "nothing is wrong";
    case COIL_URL_FAULT_LONG:
        return "the URL is longer than 65535 bytes";
    case COIL_URL_FAULT_SCHEME:
        return "the URL does not start with http:// or https://";
    case COIL_URL_FAULT_CONTROL:
        return "a control character in the URL";
    case COIL_URL_FAULT_SPACE:
        return "a space in the URL: write it as %20";
    case COIL_URL_FAULT_NON_ASCII:
        return "a character that is not ASCII in the URL: percent-encode it";
    case COIL_URL_FAULT_USER:
        return "the part before '@' is malformed: percent-encode it";
    case COIL_URL_FAULT_HOST_EMPTY:
        return "the host is missing";
    case COIL_URL_FAULT_HOST:
        return "the host is malformed";
    case COIL_URL_FAULT_HOST_NON_ASCII:
        return "the host is not ASCII: write it in its xn-- form";
    case COIL_URL_FAULT_HOST_PERCENT:
        return "a percent sign in the host";
    case COIL_URL_FAULT_HOST_NUMBER:
        return "the host ends in a number but is no address like 192.0.2.1";
    case COIL_URL_FAULT_HOST_LONG:
        return "the host is longer than DNS allows";
    case COIL_URL_FAULT_BRACKETS:
        return "the host is not an IPv6 address in brackets";
    case COIL_URL_FAULT_PORT:
        return "the port is not a number from 1 to 65535";
    default:
        return "";
    }
}

/* --- Characters ----------------------------------------------------------*/

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_hex(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f');
}

static bool is_alnum(char c)
{
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'z');
}

/* The first `c`, or `end`. */
static const char *find(const char *at, const char *end, char c)
{
    const char *found = memchr(at, c, (size_t)(end - at));

    return found ? found : end;
}

/* --- The parts, from left to right ---------------------------------------*/

static struct coil_url_part part(const char *at, const char *end)
{
    return (struct coil_url_part){ at, (size_t)(end - at) };
}

/* No part may have these. Bytes above 127 are for the check of each part. */
static enum coil_url_fault check_text(const char *at, const char *end)
{
    for (; at < end; at++) {
        unsigned char c = (unsigned char)*at;

        if (c == ' ')
            return COIL_URL_FAULT_SPACE;
        if (c < ' ' || c == 0x7f)
            return COIL_URL_FAULT_CONTROL;
    }
    return COIL_URL_FAULT_NONE;
}

/* Result: the byte after "http://" or "https://"; NULL for other schemes. */
static const char *read_scheme(struct coil_url *url, const char *at,
                               const char *end)
{
    static const char https[] = "https", slashes[] = "://";
    size_t n = 0;

    while (n < 5 && at < end && lower(*at) == https[n])
        at++, n++;
    if (n < 4 || end - at < 3 || memcmp(at, slashes, 3) != 0)
        return NULL;
    url->tls = n == 5;
    url->port = url->tls ? 443 : 80;
    return at + 3;
}

/* The userinfo of RFC 3986, without '@'. A NUL was refused before. */
static bool is_userinfo(const char *at, const char *end)
{
    for (; at < end; at++) {
        if (*at == '%') {
            if (end - at < 3 || !is_hex(at[1]) || !is_hex(at[2]))
                return false;
        } else if (!is_alnum(*at) && !strchr("-._~!$&'()*+,;=:", *at)) {
            return false;
        }
    }
    return true;
}

static enum coil_url_fault read_userinfo(struct coil_url *url, const char *at,
                                         const char *end)
{
    const char *colon = find(at, end, ':');

    if (!is_userinfo(at, end))
        return COIL_URL_FAULT_USER;
    url->user = part(at, colon);
    if (colon < end)
        url->password = part(colon + 1, end);
    return COIL_URL_FAULT_NONE;
}

static bool is_address(int family, const char *at, const char *end)
{
    unsigned char address[16];
    char text[INET6_ADDRSTRLEN] = "";
    size_t len = (size_t)(end - at);

    if (len >= sizeof text)
        return false;
    memcpy(text, at, len);
    return inet_pton(family, text, address) == 1;
}

/* Read "[::1]" at `*at`, and set `*at` to the byte after it. */
static enum coil_url_fault read_ipv6(struct coil_url *url, const char **at,
                                     const char *end)
{
    const char *open = *at + 1, *close = find(open, end, ']');

    if (close == end || !is_address(AF_INET6, open, close))
        return COIL_URL_FAULT_BRACKETS;
    if (close + 1 < end && close[1] != ':')
        return COIL_URL_FAULT_BRACKETS;
    url->host = part(open, close);
    url->host_kind = COIL_URL_IPV6;
    *at = close + 1;
    return COIL_URL_FAULT_NONE;
}

static enum coil_url_fault check_label(const char *at, const char *end)
{
    if (at == end)
        return COIL_URL_FAULT_HOST;
    if (end - at > 63)
        return COIL_URL_FAULT_HOST_LONG;
    for (; at < end; at++) {
        if (*at == '%')
            return COIL_URL_FAULT_HOST_PERCENT;
        if ((unsigned char)*at > 0x7f)
            return COIL_URL_FAULT_HOST_NON_ASCII;
        if (!is_alnum(*at) && *at != '-' && *at != '_')
            return COIL_URL_FAULT_HOST;
    }
    return COIL_URL_FAULT_NONE;
}

/* A number of inet_aton(): decimal, octal or hexadecimal, also only "0x". */
static bool is_number(const char *at, const char *end)
{
    bool hexadecimal = end - at >= 2 && *at == '0' && lower(at[1]) == 'x';

    if (hexadecimal)
        at += 2;
    while (at < end && (hexadecimal ? is_hex(*at) : is_digit(*at)))
        at++;
    return at == end;
}

/* Some resolvers take a name that ends in a number for an address. */
static enum coil_url_fault check_name(struct coil_url *url, const char *at,
                                      const char *end)
{
    const char *start = at, *label;
    enum coil_url_fault fault;

    for (;;) {
        label = at;
        at = find(at, end, '.');
        fault = check_label(label, at);
        if (fault)
            return fault;
        if (at == end)
            break;
        at++;
    }
    if (end - start > 253)
        return COIL_URL_FAULT_HOST_LONG;
    if (!is_number(label, end))
        return COIL_URL_FAULT_NONE;
    if (url->rooted || !is_address(AF_INET, start, end))
        return COIL_URL_FAULT_HOST_NUMBER;
    url->host_kind = COIL_URL_IPV4;
    return COIL_URL_FAULT_NONE;
}

static enum coil_url_fault read_name(struct coil_url *url, const char **at,
                                     const char *end)
{
    const char *start = *at, *stop = find(start, end, ':');

    *at = stop;
    if (stop > start && stop[-1] == '.') {
        url->rooted = true;
        stop--;
    }
    if (start == stop)
        return COIL_URL_FAULT_HOST_EMPTY;
    url->host = part(start, stop);
    return check_name(url, start, stop);
}

/* Read ":8080", ":" or nothing. Zeros in front change nothing. */
static enum coil_url_fault read_port(struct coil_url *url, const char *at,
                                     const char *end)
{
    uint32_t port = 0;

    if (end - at <= 1)
        return COIL_URL_FAULT_NONE;
    while (++at < end) {
        if (!is_digit(*at))
            return COIL_URL_FAULT_PORT;
        port = port * 10 + (uint32_t)(*at - '0');
        if (port > 65535)
            return COIL_URL_FAULT_PORT;
    }
    if (!port)
        return COIL_URL_FAULT_PORT;
    url->port = (uint16_t)port;
    return COIL_URL_FAULT_NONE;
}

/* The last '@' ends the userinfo; read_userinfo() refuses any other. */
static enum coil_url_fault read_authority(struct coil_url *url,
                                          const char *start, const char *end)
{
    enum coil_url_fault fault = COIL_URL_FAULT_NONE;
    const char *at = end;

    while (at > start && at[-1] != '@')
        at--;
    if (at > start)
        fault = read_userinfo(url, start, at - 1);
    if (!fault)
        fault = at < end && *at == '[' ? read_ipv6(url, &at, end)
                                       : read_name(url, &at, end);
    if (!fault)
        fault = read_port(url, at, end);
    return fault;
}

static enum coil_url_fault read_target(struct coil_url *url, const char *at,
                                       const char *end)
{
    const char *stop = find(at, end, '#'), *query = find(at, stop, '?');
    static const char root[] = "/";

    for (const char *c = at; c < stop; c++)
        if ((unsigned char)*c > 0x7f)
            return COIL_URL_FAULT_NON_ASCII;
    url->path = at < query ? part(at, query) : part(root, root + 1);
    if (query < stop)
        url->query = part(query + 1, stop);
    url->target = at < stop ? part(at, stop) : url->path;
    return COIL_URL_FAULT_NONE;
}

/* The authority ends at the first '/', '?' or '#'; the target follows. */
static enum coil_url_fault parse(struct coil_url *url, const char *text,
                                 size_t len)
{
    const char *end = text + len;

    if (len > COIL_URL_BYTES_MAX)
        return COIL_URL_FAULT_LONG;

    enum coil_url_fault fault = check_text(text, end);
    if (fault)
        return fault;
    const char *host = read_scheme(url, text, end);
    if (!host)
        return COIL_URL_FAULT_SCHEME;
    const char *at = host;
    while (at < end && *at != '/' && *at != '?' && *at != '#')
        at++;
    fault = read_authority(url, host, at);
    return fault ? fault : read_target(url, at, end);
}

int coil_url_parse(struct coil_url *url, const char *text, size_t len)
{
    struct coil_url parsed = { .port = 0 };

    if (parse(&parsed, text, len))
        return COIL_EURL;
    *url = parsed;
    return 0;
}

enum coil_url_fault coil_url_check(const char *text, size_t len)
{
    struct coil_url parsed = { .port = 0 };

    return parse(&parsed, text, len);
}

/* --- The origin ----------------------------------------------------------*/

/* COIL_URL_ORIGIN_BYTES_MAX is enough for all that coil_url_parse() accepts. */
static char *put(char *at, const char *bytes, size_t len)
{
    memcpy(at, bytes, len);
    return at + len;
}

static char *put_host(char *at, const struct coil_url *url)
{
    if (url->host_kind == COIL_URL_IPV6)
        *at++ = '[';
    at = put(at, url->host.at, url->host.len);
    if (url->host_kind == COIL_URL_IPV6)
        *at++ = ']';
    return at;
}

static char *put_port(char *at, const struct coil_url *url)
{
    char digits[5], *end = digits + sizeof digits, *digit = end;
    unsigned port = url->port;

    if (port == (url->tls ? 443 : 80))
        return at;
    do
        *--digit = (char)('0' + port % 10);
    while (port /= 10);
    *at++ = ':';
    return put(at, digit, (size_t)(end - digit));
}

size_t coil_url_authority(const struct coil_url *url,
                          char buf[COIL_URL_ORIGIN_BYTES_MAX])
{
    char *at = put_port(put_host(buf, url), url);

    *at = '\0';
    return (size_t)(at - buf);
}

size_t coil_url_origin(const struct coil_url *url,
                       char buf[COIL_URL_ORIGIN_BYTES_MAX])
{
    char *at = url->tls ? put(buf, "https://", 8) : put(buf, "http://", 7);

    at = put_host(at, url);
    if (url->rooted)
        *at++ = '.';
    at = put_port(at, url);
    *at = '\0';
    for (char *c = buf; c < at; c++)
        *c = lower(*c);
    return (size_t)(at - buf);
}

bool coil_url_same_origin(const struct coil_url *a, const struct coil_url *b)
{
    if (a->tls != b->tls || a->port != b->port || a->rooted != b->rooted ||
        a->host_kind != b->host_kind || a->host.len != b->host.len)
        return false;
    for (size_t i = 0; i < a->host.len; i++)
        if (lower(a->host.at[i]) != lower(b->host.at[i]))
            return false;
    return true;
}

/* --- References ----------------------------------------------------------*/

/* A reference, taken apart as RFC 3986 5.2.2 does; a part may be absent. */
struct reference {
    struct coil_url_part scheme;    /* with its ':' */
    struct coil_url_part authority; /* with the "//" before it */
    struct coil_url_part path;      /* never absent; may be empty */
    struct coil_url_part query;     /* with its '?' */
    struct coil_url_part fragment;  /* with its '#' */
};

/* The first byte at which a part ends, or `end`. */
static const char *find_any(const char *at, const char *end, const char *ends)
{
    while (at < end && (!*at || !strchr(ends, *at)))
        at++;
    return at;
}

/* Result: the byte after "scheme:"; `at` if there is no scheme. */
static const char *skip_scheme(const char *at, const char *end)
{
    const char *c = at;

    if (c == end || !is_alnum(*c) || is_digit(*c))
        return at;
    while (c < end && (is_alnum(*c) || (*c && strchr("+-.", *c))))
        c++;
    return c < end && *c == ':' ? c + 1 : at;
}

static struct reference take_apart(const char *at, const char *end)
{
    struct reference r = { .path = { at, 0 } };
    const char *stop = skip_scheme(at, end);

    if (stop > at)
        r.scheme = part(at, stop);
    at = stop;
    if (end - at >= 2 && at[0] == '/' && at[1] == '/') {
        stop = find_any(at + 2, end, "/?#");
        r.authority = part(at, stop);
        at = stop;
    }
    stop = find_any(at, end, "?#");
    r.path = part(at, stop);
    at = stop;
    stop = find(at, end, '#');
    if (at < stop)
        r.query = part(at, stop);
    if (stop < end)
        r.fragment = part(stop, end);
    return r;
}

/* Output that stops at its end; `full` if something did not fit. */
struct text {
    char *at, *end;
    bool full;
};

static void append(struct text *to, struct coil_url_part bytes)
{
    if (bytes.len > (size_t)(to->end - to->at)) {
        to->full = true;
        return;
    }
    if (bytes.len > 0)
        to->at = put(to->at, bytes.at, bytes.len);
}

/* Append with the bytes encoded that no URL may have. */
static void append_encoded(struct text *to, struct coil_url_part bytes)
{
    static const char digits[] = "0123456789ABCDEF";

    for (size_t i = 0; i < bytes.len; i++) {
        unsigned char c = (unsigned char)bytes.at[i];
        char encoded[3] = { '%', digits[c >> 4], digits[c & 15] };
        bool is_raw = c != ' ' && c <= 0x7f;

        append(to, is_raw ? part(bytes.at + i, bytes.at + i + 1)
                          : part(encoded, encoded + 3));
    }
}

static bool is_dots(const char *at, const char *end, ptrdiff_t n)
{
    return end - at == n && *at == '.' && at[n - 1] == '.';
}

/*
 * RFC 3986 5.2.4, in place, for a path that starts with '/'. A dot segment at
 * the end leaves its slash. Result: the new end of the path.
 */
static char *remove_dot_segments(char *path, char *end)
{
    char *to = path;

    for (const char *at = path, *stop; at < end; at = stop) {
        const char *name = at + 1;
        bool one, two;

        stop = find(name, end, '/');
        one = is_dots(name, stop, 1);
        two = is_dots(name, stop, 2);
        while (two && to > path && *--to != '/')
            continue;
        if (!one && !two) {
            memmove(to, at, (size_t)(stop - at));
            to += stop - at;
        } else if (stop == end) {
            *to++ = '/';
        }
    }
    return to;
}

/* The path up to its last '/', with it: what a relative path follows. */
static struct coil_url_part directory(struct coil_url_part path)
{
    static const char root[] = "/";

    while (path.len > 0 && path.at[path.len - 1] != '/')
        path.len--;
    return path.len > 0 ? path : part(root, root + 1);
}

/* From the first part on that the reference has, all parts are its own. */
static void resolve(struct text *to, const struct reference *base,
                    const struct reference *r)
{
    bool own_authority = r->scheme.at || r->authority.at;
    bool own_path = own_authority || r->path.len > 0;
    bool is_relative = !own_authority && own_path && *r->path.at != '/';

    append(to, r->scheme.at ? r->scheme : base->scheme);
    append(to, own_authority ? r->authority : base->authority);
    char *path = to->at;
    if (is_relative)
        append(to, directory(base->path));
    if (own_path)
        append_encoded(to, r->path);
    else
        append(to, base->path);
    if (own_path && to->at > path && *path == '/')
        to->at = remove_dot_segments(path, to->at);
    if (own_path || r->query.at)
        append_encoded(to, r->query);
    else
        append(to, base->query);
    append_encoded(to, r->fragment);
}

int64_t coil_url_resolve(const char *base, size_t base_len,
                         const char *reference, size_t reference_len, char *buf,
                         size_t size)
{
    struct text to = { .at = buf, .end = buf + size };

    if (coil_url_check(base, base_len))
        return COIL_EURL;
    struct reference from = take_apart(base, base + base_len);
    struct reference r = take_apart(reference, reference + reference_len);
    resolve(&to, &from, &r);
    if (to.full || to.at == to.end)
        return COIL_ELIMIT;
    *to.at = '\0';
    return to.at - buf;
}
