// SPDX-License-Identifier: MIT
/*
 * name.c: whom a certificate speaks for.
 *
 * RFC 9525: only the subject alternative names count, each of its own kind. An
 * IP address is an iPAddress of the same length, never a DNS name that looks
 * alike. "*" stands for one whole label, the first, and something like *.com
 * speaks for nobody. Programs that were more generous were led to believe that
 * x*.a.test, *.com, or a common name beside other names meant their host.
 *
 * Name constraints are for what an authority may sign. A wildcard is within
 * permitted names if all that it stands for is, and it is excluded if anything
 * that it may stand for is (RUSTSEC-2026-0099 is the first half forgotten).
 * Constraints of other kinds than DNS and IP are not checked, so a certificate
 * that they could concern is refused.
 */
#include "name.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

#define DNS_NAME COILI_DER_CONTEXT(2)
#define DIRECTORY_NAME COILI_DER_CONTEXT_OF(4)
#define IP_ADDRESS COILI_DER_CONTEXT(7)

static unsigned char lower(unsigned char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned char)(c | 0x20) : c;
}

/* --- The host ------------------------------------------------------------*/

/* RFC 3492, 6.1. */
static uint32_t adapt_bias(uint32_t delta, uint32_t points, bool first)
{
    delta = first ? delta / 700 : delta / 2;
    delta += delta / points;
    uint32_t k = 0;
    for (; delta > 455; k += 36)
        delta /= 35;
    return k + 36 * delta / (delta + 38);
}

static char punycode_digit(uint32_t digit)
{
    return (char)(digit < 26 ? 'a' + digit : '0' + digit - 26);
}

/* Append one number in the variable-length form of RFC 3492. */
static bool append_number(char *out, size_t *len, size_t size, uint32_t number,
                          uint32_t bias)
{
    for (uint32_t k = 36;; k += 36) {
        uint32_t t = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;
        if (*len == size)
            return false;
        if (number < t) {
            out[(*len)++] = punycode_digit(number);
            return true;
        }
        out[(*len)++] = punycode_digit(t + (number - t) % (36 - t));
        number = (number - t) / (36 - t);
    }
}

/*
 * A label of code points as "xn--...", RFC 3492, 6.3. It has 63 at most, so the
 * search for the next larger one may be the simple one, and nothing overflows.
 */
static bool encode_label(const uint32_t *points, size_t n, char *out,
                         size_t *len, size_t size)
{
    static const char prefix[] = "xn--";
    if (size < 5)
        return false;
    memcpy(out, prefix, 4);
    *len = 4;
    uint32_t done = 0;
    for (size_t i = 0; i < n; i++)
        if (points[i] < 0x80) {
            if (*len == size)
                return false;
            out[(*len)++] = (char)lower((unsigned char)points[i]);
            done++;
        }
    uint32_t basic = done, next = 0x80, delta = 0, bias = 72;
    if (basic > 0) {
        if (*len == size)
            return false;
        out[(*len)++] = '-';
    }
    while (done < n) {
        uint32_t least = UINT32_MAX;
        for (size_t i = 0; i < n; i++)
            if (points[i] >= next && points[i] < least)
                least = points[i];
        delta += (least - next) * (done + 1);
        next = least;
        for (size_t i = 0; i < n; i++) {
            delta += points[i] < next;
            if (points[i] != next)
                continue;
            if (!append_number(out, len, size, delta, bias))
                return false;
            bias = adapt_bias(delta, done + 1, done == basic);
            delta = 0;
            done++;
        }
        delta++;
        next++;
    }
    return true;
}

/* One code point of UTF-8, in its shortest form. Result: its bytes; 0: none. */
static size_t read_utf8(const unsigned char *at, size_t len, uint32_t *point)
{
    static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
    if (at[0] < 0x80) {
        *point = at[0];
        return 1;
    }
    size_t n = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || n > len)
        return 0;
    uint32_t value = at[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (at[i] & 0x3f);
    }
    if (value < least[n] || value > 0x10ffff ||
        (value >= 0xd800 && value <= 0xdfff))
        return 0;
    *point = value;
    return n;
}

static bool is_label_byte(unsigned char c)
{
    c = lower(c);
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_';
}

/* Append one label to host->name, in lower case or as xn--. */
static bool append_label(struct coili_host *host, const unsigned char *label,
                         size_t len)
{
    char *out = host->name + host->len;
    size_t size = sizeof host->name - 1 - host->len, used = 0, n = 0;
    uint32_t points[63];
    bool ascii = true;
    for (size_t i = 0; i < len; n++) {
        if (n == 63)
            return false;
        size_t taken = read_utf8(label + i, len - i, &points[n]);
        if (taken == 0 || (taken == 1 && !is_label_byte(label[i])))
            return false;
        ascii = ascii && taken == 1;
        i += taken;
    }
    if (size > 63)
        size = 63;
    if (n == 0 || (ascii && n > size))
        return false;
    if (!ascii && !encode_label(points, n, out, &used, size))
        return false;
    for (; ascii && used < n; used++)
        out[used] = (char)lower((unsigned char)points[used]);
    host->len += used;
    return true;
}

bool coili_host_parse(struct coili_host *host, const char *text)
{
    *host = (struct coili_host){ .is_ip = true };
    if (inet_pton(AF_INET, text, host->ip) == 1) {
        host->ip_len = 4;
        return true;
    }
    if (inet_pton(AF_INET6, text, host->ip) == 1) {
        host->ip_len = 16;
        return true;
    }
    host->is_ip = false;
    const unsigned char *at = (const unsigned char *)text, *last = at;
    for (;;) {
        size_t len = strcspn((const char *)at, ".");
        last = at;
        if (!append_label(host, at, len))
            return false;
        at += len;
        if (at[0] == '\0' || at[1] == '\0')
            break;
        if (host->len + 1 >= sizeof host->name)
            return false;
        host->name[host->len++] = '.';
        at++;
    }
    host->name[host->len] = '\0';
    /* A last label of digits is half an address for some resolvers: 127.1 */
    return strspn((const char *)last, "0123456789") <
           strcspn((const char *)last, ".");
}

/* --- Names ---------------------------------------------------------------*/

static bool same_text(struct coili_der text, const char *other, size_t len)
{
    if (text.len != len)
        return false;
    for (size_t i = 0; i < len; i++)
        if (lower(text.at[i]) != lower((unsigned char)other[i]))
            return false;
    return true;
}

static bool is_wildcard(struct coili_der name)
{
    return name.len > 2 && name.at[0] == '*' && name.at[1] == '.';
}

/* A view without its first `n` bytes. */
static struct coili_der behind(struct coili_der view, size_t n)
{
    return (struct coili_der){ view.at + n, view.len - n };
}

static bool dns_speaks_for(struct coili_der name, const char *host, size_t len)
{
    if (!is_wildcard(name))
        return same_text(name, host, len);
    const char *dot = memchr(host, '.', len);
    if (!dot)
        return false;
    size_t rest = len - (size_t)(dot + 1 - host);
    return memchr(dot + 1, '.', rest) &&
           same_text(behind(name, 2), dot + 1, rest);
}

bool coili_cert_speaks_for(const struct coili_cert *cert,
                           const struct coili_host *host)
{
    struct coili_der rest = cert->alt_names, name;
    unsigned tag;
    while (rest.len > 0 && coili_der_take_any(&rest, &tag, &name)) {
        if (host->is_ip ? tag == IP_ADDRESS &&
                              coili_der_is(name, host->ip, host->ip_len)
                        : tag == DNS_NAME &&
                              dns_speaks_for(name, host->name, host->len))
            return true;
    }
    return false;
}

/* Append what fits, and keep the text ended. Result: false if it did not. */
static bool append(char *text, size_t size, size_t *len, const char *more,
                   size_t n)
{
    if (n >= size - *len)
        return false;
    memcpy(text + *len, more, n);
    *len += n;
    text[*len] = '\0';
    return true;
}

/* ", " and the name; all or nothing. */
static bool append_name(char *text, size_t size, size_t *len, unsigned tag,
                        struct coili_der name)
{
    char address[INET6_ADDRSTRLEN];
    const char *more = (const char *)name.at;
    size_t n = name.len, before = *len;
    if (tag == IP_ADDRESS) {
        more = inet_ntop(name.len == 4 ? AF_INET : AF_INET6, name.at, address,
                         sizeof address);
        n = strlen(address);
    }
    if (append(text, size, len, ", ", before > 0 ? 2 : 0) &&
        append(text, size, len, more, n))
        return true;
    *len = before;
    text[before] = '\0';
    return false;
}

/* "and 3 more": at most 5 digits, as a certificate has at most 64 KB. */
static void append_count(char *text, size_t size, size_t *len, size_t n)
{
    char digits[8];
    size_t at = sizeof digits;
    for (; n > 0 && at > 0; n /= 10)
        digits[--at] = (char)('0' + n % 10);
    if (append(text, size, len, " and ", 5) &&
        append(text, size, len, digits + at, sizeof digits - at))
        append(text, size, len, " more", 5);
}

void coili_cert_names_text(const struct coili_cert *cert, char *text,
                           size_t size)
{
    enum { NAMES_MAX = 8, COUNT_BYTES = 20 };
    struct coili_der rest = cert->alt_names, name;
    size_t len = 0, n = 0, more = 0;
    unsigned tag;
    text[0] = '\0';
    while (rest.len > 0 && coili_der_take_any(&rest, &tag, &name)) {
        if (tag != DNS_NAME && tag != IP_ADDRESS)
            continue;
        if (more > 0 || n == NAMES_MAX ||
            !append_name(text, size - COUNT_BYTES, &len, tag, name))
            more++;
        else
            n++;
    }
    if (n == 0 && more == 0)
        append(text, size, &len, "no name", 7);
    else if (n == 0)
        append(text, size, &len, "names that are too long", 23);
    else if (more > 0)
        append_count(text, size, &len, more);
}

/* --- Constraints ---------------------------------------------------------*/

/* True if `name` is `base` or below it; below it, if `base` begins with a dot. */
static bool is_within(struct coili_der name, struct coili_der base)
{
    if (base.len == 0)
        return true;
    if (name.len < base.len)
        return false;
    size_t front = name.len - base.len;
    if (!same_text(behind(name, front), (const char *)base.at, base.len))
        return false;
    return base.at[0] == '.' ? front > 0
                             : front == 0 || name.at[front - 1] == '.';
}

/* *.a.test may stand for x.a.test, so that excludes it. */
static bool may_be_within(struct coili_der name, struct coili_der base)
{
    if (is_within(name, base))
        return true;
    if (!is_wildcard(name) || base.len == 0)
        return false;
    const unsigned char *dot = memchr(base.at, '.', base.len);
    return dot && dot > base.at &&
           same_text(behind(name, 1), (const char *)dot,
                     base.len - (size_t)(dot - base.at));
}

/* An address and a mask of the same length. */
static bool ip_is_within(struct coili_der ip, struct coili_der base)
{
    if (base.len != 2 * ip.len)
        return false;
    for (size_t i = 0; i < ip.len; i++)
        if ((ip.at[i] ^ base.at[i]) & base.at[ip.len + i])
            return false;
    return true;
}

/* An empty name of a constraint is all names; what coil does not read is no
 * DNS name or address. */
static bool is_sound(unsigned tag, struct coili_der base)
{
    if (tag == IP_ADDRESS)
        return base.len == 8 || base.len == 32;
    for (size_t i = 0; tag == DNS_NAME && i < base.len; i++)
        if (base.at[i] <= ' ' || base.at[i] >= 0x7f || base.at[i] == '*')
            return false;
    return true;
}

/* What the constraints of one list say about one name. */
struct findings {
    bool any;    /* there is one of its kind */
    bool within; /* it is within one */
};

static enum coili_constraint_result look(struct coili_der list, unsigned tag,
                                         struct coili_der name, bool excluding,
                                         unsigned *budget,
                                         struct findings *found)
{
    struct coili_der subtree, base;
    unsigned kind;
    *found = (struct findings){ false, false };
    while (list.len > 0) {
        if (!coili_der_take(&list, COILI_DER_SEQUENCE, &subtree) ||
            !coili_der_take_any(&subtree, &kind, &base))
            return COILI_CONSTRAINT_UNKNOWN;
        if (*budget == 0)
            return COILI_CONSTRAINT_COSTLY;
        --*budget;
        if (kind != tag)
            continue;
        found->any = true;
        if (tag == IP_ADDRESS)
            found->within = found->within || ip_is_within(name, base);
        else if (tag != DNS_NAME)
            return COILI_CONSTRAINT_UNKNOWN;
        else if (excluding)
            found->within = found->within || may_be_within(name, base);
        else
            found->within = found->within || is_within(name, base);
    }
    return COILI_CONSTRAINT_KEPT;
}

/* One name, of whatever kind. */
static enum coili_constraint_result check_name(const struct coili_cert *ca,
                                               unsigned tag,
                                               struct coili_der name,
                                               unsigned *budget)
{
    struct findings permitted, excluded;
    enum coili_constraint_result result = look(ca->excluded, tag, name, true,
                                               budget, &excluded);
    if (result == COILI_CONSTRAINT_KEPT)
        result = look(ca->permitted, tag, name, false, budget, &permitted);
    if (result != COILI_CONSTRAINT_KEPT)
        return result;
    if (excluded.within || (permitted.any && !permitted.within))
        return COILI_CONSTRAINT_BROKEN;
    return COILI_CONSTRAINT_KEPT;
}

/* The constraints themselves: malformed ones, and those for subjects. */
static bool are_known(struct coili_der list)
{
    struct coili_der subtree, base;
    unsigned kind;
    while (list.len > 0)
        if (!coili_der_take(&list, COILI_DER_SEQUENCE, &subtree) ||
            !coili_der_take_any(&subtree, &kind, &base) ||
            kind == DIRECTORY_NAME || !is_sound(kind, base))
            return false;
    return true;
}

enum coili_constraint_result
coili_constraints_check(const struct coili_cert *authority,
                        const struct coili_cert *cert, unsigned *budget)
{
    if (!authority->permitted.at && !authority->excluded.at)
        return COILI_CONSTRAINT_KEPT;
    if (!are_known(authority->permitted) || !are_known(authority->excluded))
        return COILI_CONSTRAINT_UNKNOWN;
    struct coili_der rest = cert->alt_names, name;
    unsigned tag;
    while (rest.len > 0) {
        if (!coili_der_take_any(&rest, &tag, &name))
            return COILI_CONSTRAINT_UNKNOWN;
        enum coili_constraint_result result = check_name(authority, tag, name,
                                                         budget);
        if (result != COILI_CONSTRAINT_KEPT)
            return result;
    }
    return COILI_CONSTRAINT_KEPT;
}
